"""A step of training recorded once on a CUDA device and played back: one launch in the place of thousands."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from bayesrnn.nn.devices import to_be_played_back

__all__ = ["Recorded"]

_WARM = 3  # calls before the recording, in which libraries make their plans and their memory


class Recorded:
    """A function of tensors whose kernels are launched one by one at first, and as one CUDA graph from then on.

    The function must do the same kernels at every call: no look at a number, no copy from the CPU. Its random numbers
    are those of torch's global state at each call, as if it were not recorded. Shapes that differ from those of the
    first call, and inputs that are not on a CUDA device, are computed without a recording; so is everything after a
    recording that failed, with a warning.

    Args:
        function: From tensors to tensors. It may leave gradients in `parameters`, which are found there after a call.
        parameters: Whose gradients the function makes anew at every call.

    Returns (from a call):
        What the function returns. It is overwritten by the next call.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], parameters: list[torch.nn.Parameter]) -> None:
        self.function, self.parameters = function, parameters
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._gradients: list[Tensor | None] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0
        self._failed = False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the function."""
        if any(value.device.type != "cuda" for value in inputs):
            return self.function(*inputs)
        if not self._inputs:
            self._inputs = tuple(value.clone() for value in inputs)
        if [v.shape for v in inputs] != [v.shape for v in self._inputs]:
            return self.function(*inputs)
        for held, value in zip(self._inputs, inputs, strict=True):
            if held is not value:
                held.copy_(value)
        self._calls += 1
        if self._calls <= _WARM or (self._graph is None and not self._record()):
            return self._aside()
        assert self._graph is not None  # noqa: S101 (made by now)
        self._graph.replay()
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._outputs

    def _aside(self) -> tuple[Tensor, ...]:
        """Compute without a recording, in a stream of its own as a recording wants it."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), to_be_played_back():
            found = self.function(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        return found

    def _record(self) -> bool:
        """Record the function; return whether that was possible."""
        if self._failed:
            return False
        for parameter in self.parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph), to_be_played_back():
                self._outputs = self.function(*self._inputs)
        except RuntimeError as error:
            self._failed = True
            for parameter in self.parameters:
                parameter.grad = None
            reason = str(error).strip().split("\n")[0][:200]
            warnings.warn(
                f"the training step cannot be recorded as a CUDA graph ({reason}). It goes on without: the same "
                "numbers, several times slower.",
                stacklevel=2,
            )
            return False
        self._graph = graph
        self._gradients = [parameter.grad for parameter in self.parameters]
        return True
