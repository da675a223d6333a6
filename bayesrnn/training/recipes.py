"""How a language model is trained, as data: learning rates, optimizers, averages of weights, the papers' recipes."""

import math
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from bayesrnn._checks import as_number, check_choice, check_flag, check_number, check_whole


def _check_instance(value: Any, name: str, kinds: tuple[type, ...], *, none: bool = False) -> None:
    """Refuse what is no object of one of the classes."""
    if isinstance(value, kinds) or (none and value is None):
        return
    names = [kind.__name__ for kind in kinds]
    legal = " or ".join([*(f"{name}(...)" for name in names), *(["None"] if none else [])])
    raise TypeError(f"{name} must be {legal}, but {value!r} was given. They are in bayesrnn.training.recipes.")


@dataclass(frozen=True)
class StepDecay:
    r"""$\eta_e = \eta / f^{\max(e - n, 0)}$ in epoch e = 1, 2, ...: constant for n epochs, then divided by f.

    Args:
        rate: First learning rate.
        constant: Epochs n at the first rate.
        factor: Divisor f, at least 1.
    """

    rate: float = 1.0
    constant: int = 7
    factor: float = 1.2

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", "a learning rate above 0", 0.0, math.inf, above=True)
        check_whole(self.constant, "constant", 0)
        fix = " It is what the rate is divided by: for a rate that is multiplied by 0.8 give 1 / 0.8 = 1.25."
        check_number(self.factor, "factor", "a divisor of at least 1", 1.0, math.inf, fix=fix)

    def at(self, epoch: int, progress: float) -> float:
        """Return the rate in `epoch`, counted from 0."""
        return self.rate / self.factor ** max(epoch + 1 - self.constant, 0)


@dataclass(frozen=True)
class Cosine:
    r"""$\eta\,(1 + \cos \pi p)/2$ at the share p of the training, after a linear rise over `warmup`."""

    rate: float = 1e-3
    warmup: float = 0.02
    final: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", "a learning rate above 0", 0.0, math.inf, above=True)
        fix = " It is a share of all steps, not a number of them."
        check_number(self.warmup, "warmup", "a share of the training in [0, 1)", 0.0, 1.0, fix=fix)
        check_number(self.final, "final", "a learning rate of at least 0", 0.0, math.inf)

    def at(self, epoch: int, progress: float) -> float:
        """Return the rate when the share `progress` of all steps is done."""
        if progress < self.warmup:
            return self.rate * max(progress / self.warmup, 1e-3)
        share = (progress - self.warmup) / (1.0 - self.warmup)
        return self.final + (self.rate - self.final) * 0.5 * (1.0 + math.cos(math.pi * share))


@dataclass(frozen=True)
class SGD:
    r"""$w \leftarrow (1 - \lambda) w - \eta g$: the weight decay is decoupled and NOT multiplied by the learning rate.

    With `decay_follows_rate` it is: $w \leftarrow (1 - \eta \lambda) w - \eta g$, an L2 penalty that is not clipped.
    Where the rate falls to nothing, a decay that does not fall with it shrinks weights that no longer learn.

    Source: the authors' code of Gal & Ghahramani (2016); $\lambda = 10^{-7}$ there.
    """

    schedule: StepDecay | Cosine = field(default_factory=StepDecay)
    weight_decay: float = 0.0
    decay_follows_rate: bool = False

    def __post_init__(self) -> None:
        _check_instance(self.schedule, "schedule", (StepDecay, Cosine))
        check_number(self.weight_decay, "weight_decay", "a share in [0, 1) that the weights lose each step", 0.0, 1.0)
        check_flag(self.decay_follows_rate, "decay_follows_rate")


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101): the weight decay is decoupled and multiplied by the rate."""

    schedule: StepDecay | Cosine = field(default_factory=Cosine)
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        _check_instance(self.schedule, "schedule", (StepDecay, Cosine))
        check_number(self.weight_decay, "weight_decay", "a number of at least 0", 0.0, math.inf)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers in [0, 1), but {self.betas!r} was given.")
        betas = tuple(check_number(b, f"betas[{i}]", "a number in [0, 1)", 0.0, 1.0) for i, b in enumerate(self.betas))
        object.__setattr__(self, "betas", betas)


@dataclass(frozen=True)
class NonMonotoneAverage:
    r"""The mean of the weights of all steps since validation stalled: $v_t > \min(v_1, \dots, v_{t - n - 1})$.

    v is the validation loss of each epoch, n the `patience`. Needs validation text.

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

    The loss is the mean over rows of the sum over the steps of a window of -log p, nats; its gradient is clipped.

    Args:
        epochs: Passes over the text.
        optimizer: `SGD` or `AdamW`, with its schedule.
        batch_size: Parallel rows.
        window: Steps that are back-propagated through; the state goes on from window to window.
        clip: Largest norm of the gradient of all parameters.
        averaging: The average that is validated and used instead of the last weights, if any.
        keep: `last` weights (the papers) or the weights with the `best` validation (early stopping).
        precision: None, or "bf16" for bfloat16 factors in matrix products, where the processor has units for them.
        carry_state: Whether the state goes on from window to window.
        shift: Whether each epoch cuts the text into rows from another token, drawn from the seed: no two epochs then
            begin their rows and windows at the same words.

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
    shift: bool = False

    def __post_init__(self) -> None:
        check_whole(self.epochs, "epochs")
        check_whole(self.batch_size, "batch_size")
        check_whole(self.window, "window")
        check_choice(self.keep, "keep", ("last", "best"))
        check_flag(self.carry_state, "carry_state")
        check_flag(self.shift, "shift")
        check_choice(str(self.precision), "precision", ("None", "bf16"))
        _check_instance(self.optimizer, "optimizer", (SGD, AdamW))
        _check_instance(self.averaging, "averaging", (NonMonotoneAverage, ExponentialAverage), none=True)
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
        if isinstance(self.optimizer, AdamW):
            plain["optimizer"]["betas"] = list(self.optimizer.betas)
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


def defaults_of(part: Any) -> dict[str, Any]:
    """Return the defaults of a recipe, or of a part of one: what an older one has meant."""
    values: dict[str, Any] = {}
    for one in fields(part):
        value = getattr(part, one.name)
        if is_dataclass(value):
            values[one.name] = defaults_of(value)
        elif one.default is not MISSING:
            values[one.name] = one.default
    return values


def zaremba(size: str = "medium") -> Recipe:
    """Return the recipe of Zaremba et al. (2014), arXiv:1409.2329, for `small`, `medium` or `large` models."""
    recipes = {
        "small": Recipe(13, SGD(StepDecay(1.0, 5, 2.0)), window=20, clip=5.0),
        "medium": Recipe(39, SGD(StepDecay(1.0, 7, 1.2)), clip=5.0),
        "large": Recipe(55, SGD(StepDecay(1.0, 15, 1.15)), clip=10.0),
    }
    return recipes[check_choice(size, "size", recipes)]


def gal(size: str = "large") -> Recipe:
    """Return the recipe of Gal & Ghahramani (2016), arXiv:1512.05287, as their code runs it (both sizes)."""
    check_choice(size, "size", ("medium", "large"))
    return Recipe(55, SGD(StepDecay(1.0, 11, 1.15), weight_decay=1e-7), clip=10.0)


def one_cycle(epochs: int = 20) -> Recipe:
    """Return a recipe that converges in fewer epochs than the papers': SGD whose rate falls to nothing along a cosine.

    The rate rises over the first twentieth of the steps to 1, the first rate of both papers. The weights of the best
    validation are kept and not averaged: a rate that ends at nothing does that already.

    Source: Smith & Topin (2017), arXiv:1708.07120, for a rate of one rise and one fall.

    Example:
        >>> one_cycle(10).optimizer.schedule.at(0, 0.05)
        1.0
    """
    return Recipe(epochs, SGD(Cosine(1.0, warmup=0.05)), keep="best")
