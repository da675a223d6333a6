"""Options of a fit."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from bayesrnn.schemes import Scheme


@dataclass(frozen=True)
class Options:
    """Options of a fit.

    Attributes:
        horizon: Steps ahead.
        seasons: Steps of each season; None for what the time step suggests.
        hidden_size, num_layers: Of the network.
        schemes: Its masks; of several those that are better in the validation span.
        likelihoods: Of several the one that is better in the validation span, with the masks chosen before.
        epochs: Passes over the windows; None for as many as 600 steps make.
        learning_rate: Highest step size.
        seed: Of weights and masks.
        progress: Whether to show bars.
        checkpoint: Folder where each training keeps its state, so that a fit which was stopped goes on.
        context: Steps that the network reads; None for two seasons, 24 to 96.
        holidays: Country whose holidays are features; None for none.
    """

    horizon: int
    seasons: tuple[int, ...] | None
    hidden_size: int
    num_layers: int
    schemes: tuple[Scheme, ...]
    likelihoods: tuple[str, ...]
    epochs: int | None
    learning_rate: float
    seed: int
    progress: bool
    checkpoint: Path | None = None
    context: int | None = None
    holidays: str | None = None

    def state_folder(self, scheme: Scheme, likelihood: str, last: bool) -> Path | None:
        """Return where one of the trainings of a fit keeps its state."""
        text = json.dumps([scheme.to_dict(), likelihood, last]).encode()
        name = hashlib.blake2b(text, digest_size=6).hexdigest()
        return None if self.checkpoint is None else self.checkpoint / name
