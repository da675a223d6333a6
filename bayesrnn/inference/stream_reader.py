"""A model that reads a stream window by window, many draws at once, each with a state of its own."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from bayesrnn.inference.nested import Rows, replicate, values
from bayesrnn.masks import Binding
from bayesrnn.nn.masked import bound


class StreamReader:
    """A model, its draws in chunks, and the state that each chunk carries from window to window.

    The model is called as ``model(window)`` first and as ``model(window, state)`` afterwards, and must return
    ``(output, state)``. States move on with `go_on` only: a window that failed may be read again.

    Args:
        model: A module with masked layers.
        chunks: The masks of each chunk of draws.
        lifetime: "stream" for masks that stay, "window" for new ones in each window.
        batch_dim: Dimension of the rows in a window.
    """

    returns = "(output, state)"

    def __init__(
        self, model: nn.Module, chunks: Sequence[Binding], lifetime: str = "stream", batch_dim: int = 0
    ) -> None:
        self.model, self.chunks, self.lifetime, self.batch_dim = model, chunks, lifetime, batch_dim
        self.states: dict[int | None, Any] = {}
        self._next: dict[int | None, Any] = {}

    def output(self, place: int | None, window: Tensor, start: int, index: int = 0) -> Any:
        """Return what the chunk at `place` says of window number `index`, which begins at step `start`.

        The place None is the deterministic pass, which has a state of its own.

        Raises:
            TypeError: If the model does not return (output, state).
        """
        binding = None if place is None else self.chunks[place]
        if binding is not None:
            window = values(replicate(Rows(window, self.batch_dim), binding.draws.numel()))
            binding = binding.window(start, index, self.lifetime)
        with nullcontext() if binding is None else bound(self.model, binding):
            result = self.call(window, self.states.get(place))
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"a model that reads a stream must return {self.returns}, but it returned a {type(result).__name__}. "
                "Return the state beside the output, and take it as second argument."
            )
        output, self._next[place] = result
        return output

    def go_on(self) -> None:
        """Take the states after the last window as those before the next one."""
        self.states = dict(self._next)

    def call(self, window: Tensor, state: Any) -> Any:
        """Return (output, state) of the model."""
        return self.model(window) if state is None else self.model(window, state)
