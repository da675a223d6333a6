"""How the distributions of draws become one: a temperature of each, power means, and a temperature after the mean."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import as_number, check_choice

_NAMES = {"arithmetic": 1.0, "geometric": 0.0}
_SMALL, _SMALLEST, _LARGEST = 0.1, 1e-9, 1e30  # below the second one it is the geometric mean to rounding


@dataclass(frozen=True)
class Averaging:
    r"""The normalized power mean of the draws' distributions, to the power of an inverse temperature.

    $p(v) \propto \bigl(\frac1S \sum_s p_s(v)^a\bigr)^{1/(a \tau)}$; at a = 0 the geometric mean, $\frac1\tau \frac1S
    \sum_s \log p_s(v)$ in logarithms.

    Attributes:
        power: a; 1 is the arithmetic mean, 0 the geometric one.
        temperature: $\tau$.
        of_draws: The temperature that divides each draw's logits beforehand.

    Example:
        >>> logs = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]]).log()
        >>> geometric = Averaging(0.0, 1.0)
        >>> geometric.distribution(geometric.add(None, logs), 2).exp()
        tensor([[0.5000, 0.5000]])
    """

    power: float = 1.0
    temperature: float = 1.0
    of_draws: float = 1.0

    @classmethod
    def of(cls, average: Any, temperature: float = 1.0, temperature_of: str = "mean") -> "Averaging":
        """Return the averaging of a name or a power, with a temperature of the draws or of their mean.

        Raises:
            ValueError: If it is neither "arithmetic" nor "geometric" nor a number from -1e30 to 1e30, or
                `temperature_of` is neither "draws" nor "mean".
        """
        after = check_choice(temperature_of, "temperature_of", ("draws", "mean")) == "mean"
        temperatures = (temperature, 1.0) if after else (1.0, temperature)
        power = None if isinstance(average, str) else as_number(average)
        if power is None:
            return cls(_NAMES[check_choice(average, "average", _NAMES)], *temperatures)
        if not abs(power) <= _LARGEST:
            raise ValueError(
                f"average must be 'arithmetic', 'geometric' or the power of a mean (1 is arithmetic, 0 geometric), "
                f"between {-_LARGEST:g} and {_LARGEST:g}, but {average!r} was given."
            )
        return cls(float(power) if abs(power) >= _SMALLEST else 0.0, *temperatures)

    @property
    def plain(self) -> bool:
        """Whether it is the arithmetic mean of the probabilities: single tokens can be averaged by themselves."""
        return self.power == 1.0 and self.temperature == 1.0

    def add(self, total: Tensor | None, logs: Tensor) -> Tensor:
        """Add the draws with log probabilities (S, ..., V) to the sum over draws, and return it."""
        if self.power == 0.0:
            return logs.sum(0) if total is None else total.add_(logs.sum(0))
        exact = logs if abs(self.power) >= _SMALL else logs.double()  # the sum's logarithm is divided by the power
        new = (self.power * exact).logsumexp(0)
        return new if total is None else torch.logaddexp(total, new)

    def distribution(self, total: Tensor, count: int) -> Tensor:
        """Return the log probabilities (..., V) of the mean over so many draws, normalized."""
        scale = count if self.power == 0.0 else self.power
        return torch.log_softmax(total / (scale * self.temperature), -1).float()
