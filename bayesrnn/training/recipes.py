"""How a language model is trained, as data: learning rates, optimizers, averages of weights, the papers' recipes."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bayesrnn._checks import as_number, check_choice, check_whole
from bayesrnn.training.schedules import Cosine, StepDecay, check_instance, check_number

__all__ = [
    "SGD",
    "AdamW",
    "Cosine",
    "ExponentialAverage",
    "NonMonotoneAverage",
    "Recipe",
    "StepDecay",
    "gal",
    "one_cycle",
    "zaremba",
]


@dataclass(frozen=True)
class SGD:
    r"""$w \leftarrow (1 - \lambda) w - \eta g$: the weight decay is decoupled and NOT multiplied by the learning rate.

    Source: the authors' code of Gal & Ghahramani (2016); $\lambda = 10^{-7}$ there.
    """

    schedule: StepDecay | Cosine = field(default_factory=StepDecay)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_instance(self.schedule, "schedule", (StepDecay, Cosine))
        check_number(self.weight_decay, "weight_decay", "a share in [0, 1) that the weights lose each step", 0.0, 1.0)


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101): the weight decay is decoupled and multiplied by the rate."""

    schedule: StepDecay | Cosine = field(default_factory=Cosine)
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        check_instance(self.schedule, "schedule", (StepDecay, Cosine))
        check_number(self.weight_decay, "weight_decay", "a number of at least 0", 0.0, math.inf)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers in [0, 1), but {self.betas!r} was given.")
        for i, beta in enumerate(self.betas):
            check_number(beta, f"betas[{i}]", "a number in [0, 1)", 0.0, 1.0)


@dataclass(frozen=True)
class NonMonotoneAverage:
    r"""The mean of the weights of all steps since validation stalled: $v_t > \min(v_1, \dots, v_{t - n - 1})$.

    v is the validation loss of each epoch and n the `patience`: the epoch is compared with all before it but the last
    n. Needs validation text.

    Source: NT-ASGD of Merity et al. (2017), arXiv:1708.02182, Algorithm 1, and its authors' code.
    """

    patience: int = 5

    def __post_init__(self) -> None:
        check_whole(self.patience, "patience")


@dataclass(frozen=True)
class ExponentialAverage:
    r"""$\bar w \leftarrow \beta \bar w + (1 - \beta) w$ after each step, from the start, its bias removed."""

    decay: float = 0.999

    def __post_init__(self) -> None:
        fix = " At 1 the average would take in nothing."
        check_number(self.decay, "decay", "a number in [0, 1)", 0.0, 1.0, fix=fix)


@dataclass(frozen=True)
class Recipe:
    """Everything of a training that is not the model, the text or the seed.

    The loss is the mean over rows of the sum over the steps of a window of -log p, nats; the gradient of that is
    clipped.

    Args:
        epochs: Passes over the text.
        optimizer: `SGD` or `AdamW`, with its schedule.
        batch_size: Parallel rows.
        window: Steps that are back-propagated through; the state goes on from window to window.
        clip: Largest norm of the gradient of all parameters.
        averaging: The average that is validated and used instead of the last weights, if any.
        keep: `last` weights (the papers) or those of the `best` validation (early stopping).
        precision: None, or "bf16" for bfloat16 factors in matrix products, where the processor has units for them.
        carry_state: Whether the state goes on from window to window.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If the optimizer or the averaging is none of those here.
    """

    epochs: int
    optimizer: SGD | AdamW = SGD()
    batch_size: int = 20
    window: int = 35
    clip: float = 5.0
    averaging: NonMonotoneAverage | ExponentialAverage | None = None
    keep: str = "last"
    precision: str | None = None
    carry_state: bool = True

    def __post_init__(self) -> None:
        check_whole(self.epochs, "epochs")
        check_whole(self.batch_size, "batch_size")
        check_whole(self.window, "window")
        check_choice(self.keep, "keep", ("last", "best"))
        check_choice(str(self.precision), "precision", ("None", "bf16"))
        check_instance(self.optimizer, "optimizer", (SGD, AdamW))
        check_instance(self.averaging, "averaging", (NonMonotoneAverage, ExponentialAverage), none=True)
        if as_number(self.clip) is None:
            raise TypeError(f"clip must be a norm above 0 (infinite for none), but {self.clip!r} was given.")
        if not self.clip > 0:
            raise ValueError(f"clip is a norm and must be above 0 (infinite for none), but {self.clip} was given.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that two recipes share only if they are equal."""
        plain = asdict(self)
        plain["optimizer"]["name"] = type(self.optimizer).__name__
        plain["optimizer"]["schedule"]["name"] = type(self.optimizer.schedule).__name__
        if self.averaging is not None:
            plain["averaging"]["name"] = type(self.averaging).__name__
        if "betas" in plain["optimizer"]:
            plain["optimizer"]["betas"] = list(plain["optimizer"]["betas"])
        return plain

    def shortened(self, epochs: int) -> "Recipe":
        """Return the recipe squeezed into fewer epochs: the constant part shrinks with them, the end rate stays.

        Example:
            >>> zaremba("medium").shortened(13).optimizer.schedule.constant
            2
        """
        check_whole(epochs, "epochs")
        schedule = self.optimizer.schedule
        if isinstance(schedule, StepDecay):
            constant = max(round(schedule.constant * epochs / self.epochs), 1)
            decays = max(epochs - constant, 1)
            factor = schedule.factor ** (max(self.epochs - schedule.constant, 0) / decays)
            schedule = replace(schedule, constant=constant, factor=factor)
        return replace(self, epochs=epochs, optimizer=replace(self.optimizer, schedule=schedule))


def zaremba(size: str = "medium") -> Recipe:
    """Return the recipe of Zaremba et al. (2014), arXiv:1409.2329, for `small`, `medium` or `large` models."""
    recipes = {
        "small": Recipe(13, SGD(StepDecay(1.0, 5, 2.0)), window=20, clip=5.0),
        "medium": Recipe(39, SGD(StepDecay(1.0, 7, 1.2)), clip=5.0),
        "large": Recipe(55, SGD(StepDecay(1.0, 15, 1.15)), clip=10.0),
    }
    return recipes[check_choice(size, "size", recipes)]


def gal(size: str = "large") -> Recipe:
    """Return the recipe of Gal & Ghahramani (2016), arXiv:1512.05287, as their code runs it.

    The large one is their script's; the medium one takes the same, as the script for 1250 units does.
    """
    check_choice(size, "size", ("medium", "large"))
    return Recipe(55, SGD(StepDecay(1.0, 11, 1.15), weight_decay=1e-7), clip=10.0)


def one_cycle(epochs: int = 20) -> Recipe:
    """Return a recipe that converges in fewer epochs than the papers': SGD whose rate falls to nothing along a cosine.

    The rate rises over the first twentieth of the steps to 1, the first rate of both papers, and the weights of the
    best validation are kept. They are not averaged: a rate that ends at nothing does that already, and an average of
    the last thousand steps lags behind in a training that has not many thousands.

    Source: Smith & Topin (2017), arXiv:1708.07120, for a rate of one rise and one fall.

    Example:
        >>> one_cycle(10).optimizer.schedule.at(0, 0.05)
        1.0
    """
    return Recipe(epochs, SGD(Cosine(1.0, warmup=0.05)), keep="best")
