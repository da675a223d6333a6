"""One encoder-decoder, trained an epoch at a time: a killed training goes on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical

import bayesrnn as br
from bayesrnn._files import atomic_write
from evaluation.translation.sentences import PADDING, TokenPairs, Vocabulary, batches


@dataclass(frozen=True)
class Settings:
    """How a network is made, trained and read."""

    units: int = 256
    embedding: int = 256
    layers: int = 1
    vocabulary: int = 4000
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    constant: float = 0.4  # share of the epochs before the learning rate falls to 0 in a straight line
    beam: int = 5
    draws: int = 16
    scored: int = 1000  # test sentences

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def factor(self, epoch: int) -> float:
        """Factor of the learning rate in an epoch."""
        return min(1.0, (1 - epoch / self.epochs) / (1 - self.constant))


def schemes() -> dict[str, br.schemes.Scheme]:
    """The compared schemes; their rates are not tuned."""
    return {
        "none": br.schemes.none(),
        "zaremba": br.schemes.zaremba(input=0.3, output=0.3),
        "gal": br.schemes.gal(word=0.1, input=0.2, hidden=0.2, output=0.3, gates="tied"),
    }


def loss(distribution: Categorical, target: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the tokens that are no padding, nats."""
    inside = target != PADDING
    logs = distribution.logits.gather(-1, target[..., None])[..., 0]
    return -logs[inside].mean()


def run_name(scheme: str, seed: int, settings: Settings) -> str:
    """Return the name of a network's files."""
    return f"{scheme}-{settings.epochs}epochs-seed{seed}"


def trained(
    scheme: str, seed: int, settings: Settings, parts: dict[str, TokenPairs], vocabulary: Vocabulary, folder: Path
) -> tuple[br.models.EncoderDecoder, Any]:
    """Return the network with its best validation weights and the history of its training.

    Raises:
        ValueError: If the folder holds a network of another vocabulary.
    """
    name = run_name(scheme, seed, settings)
    _same_vocabulary(folder / name, vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = br.models.EncoderDecoder(
            vocabulary.size, None, settings.embedding, settings.units, settings.layers, dropout=schemes()[scheme]
        )
    history = br.fit(
        net,
        batches(parts["train"], settings.batch, shuffled=True),
        batches(parts["validation"], settings.batch, shuffled=False),
        loss=loss,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        schedule=settings.factor,
        checkpoint=folder / name,
        seed=seed,
        progress=False,
    )
    return net, history


def _same_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    note = folder.with_suffix(".vocabulary")
    if note.is_file():
        known = json.loads(note.read_text(encoding="utf-8"))["digest"]
        if known != vocabulary.digest:
            raise ValueError(
                f"{folder.name} was trained with another vocabulary ({known}, now {vocabulary.digest}), whose tokens "
                "are other words. Give another folder with --checkpoints, or the vocabulary it was trained with."
            )
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(note, json.dumps({"digest": vocabulary.digest, "size": vocabulary.size}))
