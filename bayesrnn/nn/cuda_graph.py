"""A training step or a prediction recorded once as a CUDA graph and played back: one launch instead of thousands."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.nn.devices import to_be_played_back
from bayesrnn.nn.masked import masked_modules

_WARM = 3  # calls before the recording, in which libraries choose kernels and allocate memory


class Recorded:
    """A function whose CUDA kernels are recorded as one graph after a few calls and then played back.

    The function must launch the same kernels at every call: no value is read on the host and nothing is copied from the
    CPU. Random numbers come from torch's global state at each call, as without a recording. What it reads besides its
    inputs must stay at the same address. Calls whose inputs differ from the first call in shape, dtype or device, or
    are not on a CUDA device, run without the recording; so does every call after a recording that failed, with a
    warning.

    The function may leave gradients in `parameters`. Each call overwrites the outputs of the one before.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        parameters: list[torch.nn.Parameter],
        what: str = "training step",
    ) -> None:
        self.function, self.parameters, self.what = function, parameters, what
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._gradients: list[Tensor | None] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream: torch.cuda.Stream | None = None
        self._calls = 0
        self.failed = False

    @property
    def plays(self) -> bool:
        """Whether there is a recording."""
        return self._graph is not None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the function."""
        if self.failed or not inputs or any(value.device.type != "cuda" for value in inputs):
            return self.function(*inputs)
        if self._stream is None:
            self._inputs = tuple(value.clone() for value in inputs)
            self._stream = torch.cuda.Stream(inputs[0].device)
        for a, b in zip(inputs, self._inputs, strict=True):
            if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
                return self.function(*inputs)
        for recorded, value in zip(self._inputs, inputs, strict=True):
            recorded.copy_(value)
        self._calls += 1
        with torch.cuda.device(self._inputs[0].device):
            if self._calls <= _WARM:
                return self._aside(self._stream)
            graph = self._graph or self._record(self._stream)
            if graph is None:
                return self.function(*inputs)
            graph.replay()
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._outputs

    def _aside(self, aside: torch.cuda.Stream) -> tuple[Tensor, ...]:
        """Compute without a recording, in the stream that the recording will use."""
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), to_be_played_back():
            outputs = self.function(*self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        return outputs

    def _record(self, aside: torch.cuda.Stream) -> torch.cuda.CUDAGraph | None:
        """Record the function; return None where that is not possible."""
        self._forget_gradients()
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # puts the stream back where the graph's exit fails
                torch.cuda.graph(graph, stream=aside),
                to_be_played_back(),
            ):
                outputs = self.function(*self._inputs)
        except RuntimeError as error:
            self.failed = True
            self._forget_gradients()
            _leave_capture(self._inputs[0].device)
            reason = str(error).strip().split("\n")[0][:200]
            warnings.warn(
                f"the {self.what} cannot be recorded as a CUDA graph ({reason}). It goes on without: the same "
                "numbers, several times slower.",
                stacklevel=3,
            )
            return None
        self._graph, self._outputs = graph, outputs
        self._gradients = [parameter.grad for parameter in self.parameters]
        return graph

    def _forget_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def _leave_capture(device: torch.device) -> None:
    """Give the device's generator a state outside of any recording, after one that failed."""
    generators = torch.cuda.default_generators
    if len(generators):
        generator = generators[device.index or 0]
        generator.graphsafe_set_state(generator.clone_state())


def invisible_state(model: nn.Module) -> list[Any]:
    """Return the state that a recorded graph cannot see: rates, hooks, frozen weights. Record anew when it changes."""
    hooks = [
        (name, *map(len, (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)))
        for name, m in model.named_modules()
    ]
    layers = masked_modules(model).items()
    rates = [
        (name, sorted(m.declared().items()), [r for r in m.rates.values() if isinstance(r, float)])
        for name, m in layers
    ]
    frozen = [p.requires_grad for p in model.parameters()]
    return [hooks, rates, frozen, torch.get_float32_matmul_precision()]
