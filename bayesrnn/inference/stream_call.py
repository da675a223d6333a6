"""How a stream calls its model: whether it takes a state, what one observation is, what it returns per step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference.carried import CarriedReader, carries_state, check_same
from bayesrnn.inference.nested import map_leaves
from bayesrnn.inference.outputs import OutputDistribution, as_distributions, distributions_of, parameters, point
from bayesrnn.inference.stream_reader import StreamReader


@dataclass(frozen=True)
class Form:
    """How a model is called in a stream.

    Attributes:
        carried: Whether its layers' states are carried for it; else it takes and returns its state.
        observation: Dimensions of a single observation of each row.
        per_step: Which outputs have a dimension of steps.
    """

    carried: bool
    observation: int
    per_step: list[bool]


@dataclass(frozen=True)
class StreamCall:
    """A model with the number of its rows and where they are; its passes here are deterministic."""

    model: nn.Module
    rows: int
    batch_dim: int
    likelihood: Callable[[Any], Any] | None

    def distributions(self, output: Any) -> Any:
        """Return an output as a structure of distributions; what is returned bare is meant as a point."""
        return as_distributions(output, self.likelihood or _points)

    def window(self, x: Tensor) -> Tensor:
        """Return one observation of each row as a window of one step."""
        with_features = x.unsqueeze(-1) if x.is_floating_point() and x.dim() == 1 else x
        return with_features.unsqueeze(1 - self.batch_dim)

    def check_rows(self, window: Tensor) -> None:
        """Refuse a window of other rows."""
        if window.dim() < 2 or window.shape[self.batch_dim] != self.rows:
            given = f"{window.shape[self.batch_dim]} rows" if window.dim() > 1 else f"shape {tuple(window.shape)}"
            raise ValueError(
                f"the stream has {self.rows} rows, but what came has {given}. Every step continues the same rows; for "
                "other sequences make another Stream, and check batch_dim."
            )

    def form(self, x: Tensor) -> Form:
        """Run the model on the first `x` to see what it takes: one observation if it can, else a window."""
        single = x.dim() == 1 or (x.dim() == 2 and x.is_floating_point())
        tried = [(self.window(x), x.dim())] if single else []
        tried += [(x, x.dim() - 1)] if x.dim() > 1 else []
        problem: Exception | None = None
        for window, observation in tried:
            self.check_rows(window)
            try:
                carried = not carries_state(self.model, self.model(window))
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                problem = problem or error
                continue
            return Form(carried, observation, self._per_step(window, carried))
        raise problem  # type: ignore[misc]

    def check_two(self, first: Tensor, second: Tensor) -> None:
        """Refuse a model whose layers' states, carried from window to window, do not give what the whole gives."""
        reader = CarriedReader(self.model, [], batch_dim=self.batch_dim)
        outputs = [self._outputs(reader, window) for window in (first, second)]
        check_same(self._outputs(self._reader(True), torch.cat([first, second], 1 - self.batch_dim)), outputs[1])

    def _reader(self, carried: bool) -> StreamReader:
        return (CarriedReader if carried else StreamReader)(self.model, [], batch_dim=self.batch_dim)

    def _outputs(self, reader: StreamReader, window: Tensor) -> list[OutputDistribution]:
        """Return what the next window gives, (1, B, ...) each."""
        result = self.distributions(reader.output(None, window, 0))
        reader.go_on()
        return distributions_of(result, 1, self.rows, self.batch_dim)

    def _per_step(self, window: Tensor, carried: bool) -> list[bool]:
        """Return which outputs have a dimension that grows with the window."""
        longer = torch.cat([window, window], 1 - self.batch_dim)
        short, long = (
            [parameters(d)[0].shape for d in self._outputs(self._reader(carried), some)] for some in (window, longer)
        )
        steps = window.shape[1 - self.batch_dim]
        return [len(a) > 2 and (a[2], b[2]) == (steps, 2 * steps) for a, b in zip(short, long)]


def _points(output: Any) -> Any:
    """Return the tensors of an output as predictions without noise."""
    return map_leaves(lambda leaf: point(leaf) if isinstance(leaf, Tensor) else leaf, output)
