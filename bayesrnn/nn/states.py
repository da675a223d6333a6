"""States as users pass them and as the recurrences carry them, and the checks of what enters a layer."""

import torch
from torch import Tensor

from bayesrnn.nn.kernels.cells import Cell, State

UserState = Tensor | tuple[Tensor, Tensor]
"""h, or (h, c), each (layers * directions, rows, H)."""


def as_state(state: object) -> State:
    """Return the tensors of a state as users pass it.

    Raises:
        TypeError: If there is anything but tensors.
    """
    values = state if isinstance(state, tuple | list) else (state,)
    if not all(isinstance(v, Tensor) for v in values):
        raise TypeError(f"the state must be a tensor or a tuple of tensors, but {type(state).__name__} was given.")
    return tuple(values)


def as_user(state: State) -> UserState:
    """Return a state as torch's layers do: h, or (h, c)."""
    return state[0] if len(state) == 1 else (state[0], state[1])


def initial(state: object, cell: Cell, shape: tuple[int, ...], like: Tensor, proj_size: int = 0) -> State:
    """Return the initial state: the given one if its shape is right, zeros without one.

    Args:
        state: What the user gave, or None.
        cell: The recurrence.
        shape: (layers * directions, rows, H), or (rows, H) for a cell.
        like: A tensor of the type and device of the state.
        proj_size: Features of h where they are projected; 0 for H.

    Raises:
        ValueError: If a tensor is missing or has another shape.
    """
    shapes = {name: (*shape[:-1], proj_size) if proj_size and name == "h" else shape for name in cell.states}
    if state is None:
        return tuple(like.new_zeros(size) for size in shapes.values())
    given = as_state(state)
    names = ", ".join(cell.states)
    if len(given) != len(cell.states):
        raise ValueError(f"the state of this {cell.name} is ({names}), but {len(given)} tensors were given.")
    for name, value in zip(cell.states, given, strict=True):
        if value.shape != shapes[name]:
            raise ValueError(_wrong_state(name, value, shapes[name]))
    return given


def _wrong_state(name: str, value: Tensor, shape: tuple[int, ...]) -> str:
    """Say what is wrong with a state: its rows are another batch's, or its shape."""
    stacked, of = len(shape) == 3, "layers * directions, rows, hidden"
    text = f"the state {name} must have shape {shape} ({of if stacked else 'rows, hidden'}), but "
    text += f"{tuple(value.shape)} was given. "
    if value.dim() == len(shape) and value.shape[-1] == shape[-1] and value.shape[:-2] == shape[:-2]:
        return text + (
            f"It has the {value.shape[-2]} rows of another batch: if the model keeps it between calls (self.hidden), "
            "reset the state to None or zeros before a new batch."
        )
    return text + ("It has no batch_first form: rows are always in the middle." if stacked else "")


def check_input(x: object, features: int, batch_first: bool, dtype: torch.dtype) -> Tensor:
    """Return `x` if a layer can read it.

    Raises:
        ValueError: On a wrong rank, size or type.
    """
    if not isinstance(x, Tensor) or x.dim() not in (2, 3):
        what = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"{type(x).__name__}"
        layout = "(rows, steps, features)" if batch_first else "(steps, rows, features)"
        raise ValueError(f"x must be {layout} or (steps, features) or a PackedSequence, but {what} was given.")
    if x.shape[-1] != features:
        raise ValueError(
            f"the last dimension of x must be the {features} input features, but x has shape {tuple(x.shape)}. "
            "For one feature use x.unsqueeze(-1)."
        )
    if 0 in x.shape[:-1]:
        raise ValueError(f"x holds no steps or no rows: its shape is {tuple(x.shape)}.")
    if x.dtype != dtype and not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        raise ValueError(
            f"x is {x.dtype} but the layer's parameters are {dtype}. Convert one of them: "
            f"x.to({dtype}), or layer.to(x.dtype)."
        )
    return x
