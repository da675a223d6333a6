"""Passes of predictions that are recorded on a CUDA device and played back: one launch instead of thousands."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference.context import has_hooks
from bayesrnn.inference.nested import leaves, map_leaves
from bayesrnn.inference.outputs import Point, map_distribution, parameters
from bayesrnn.inference.recorded_masks import DrawnMasks, NotedMasks, UnlikeMasksError
from bayesrnn.likelihoods.validation import unvalidated, validate
from bayesrnn.masks import Binding, MaskSite, MaskSource
from bayesrnn.nn.cuda_graph import Recorded, invisible_state
from bayesrnn.nn.devices import to_be_played_back

_DEVICES = ("cuda",)
_MOST = 8  # recordings that a block holds at once: each keeps the memory of a pass

Run = Callable[[MaskSource | None, Any, Any], Any]
"""From masks, inputs and options to the structure of distributions."""


@contextmanager
def recorded_passes() -> Iterator[None]:
    """Within the block, record the passes of `predict` on a CUDA device, and play them back.

    The fifth pass of the same shape is recorded as a CUDA graph. For each later one, masks are drawn as ever and copied
    with the inputs to where the graph reads them: one launch in the place of thousands. Results are those of the plain
    pass to rounding; the first playback is compared with one. A pass is recorded anew for other shapes, networks,
    likelihoods (give the same object each time), rates, attributes or replaced weights; changed weights are seen. What
    cannot be recorded runs as ever: inputs or lengths on the CPU, masks of words, `control="linear"`, hooks, streams.

    What the Python code of a model does besides computing, such as counting its calls, happens only in passes that
    are not played back. Recordings are dropped at the end of the block; until then no other thread may use the device.

    Example:
        >>> from bayesrnn.inference import predict
        >>> from bayesrnn.nn import LSTM
        >>> layer, series = LSTM(3, 8, dropout=0.25).eval(), torch.randn(4, 5, 6, 3)
        >>> likelihood = lambda out: Point(out[0][-1])
        >>> with recorded_passes():
        ...     means = [predict(layer, x, batch_dim=1, likelihood=likelihood).mean for x in series]
    """
    token = _open.set(_Recordings())
    try:
        yield
    finally:
        _open.reset(token)


def played(
    run: Run,
    model: nn.Module,
    likelihood: Callable[[Any], Any] | None,
    source: MaskSource | None,
    inputs: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Return what `run(source, inputs, options)` returns: from a recording, within `recorded_passes`."""
    held = _open.get()
    kinds = None if held is None else _kinds((inputs, options))
    if held is None or kinds is None or not (source is None or type(source) is Binding):
        return run(source, inputs, options)
    if model in held.refused or has_hooks(model):
        return run(source, inputs, options)
    masks = None if source is None else (source.draws.numel(), source.sequences.numel(), source.shared)
    one = held.of((model, likelihood, kinds, masks, _state(model)))
    result = one.play(run, source, inputs, options)
    if one.refused:
        held.refused.add(model)
    return result


class _Pass:
    """A pass of one shape: noted the first time, then recorded and played back."""

    def __init__(self) -> None:
        self.recorded = Recorded(self._parameters, [], "prediction")
        self.asked: dict[tuple[str, str, tuple[int, ...]], MaskSite] = {}
        self.structure: Any = None  # of distributions, as the first pass returned it
        self.run: Any = None  # of the call under way, as the next two
        self.given: Any = None
        self.rows: int | None = None
        self.noted = self.compared = self.refused = False

    def play(self, run: Run, source: Binding | None, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what `run` returns."""
        if not self.noted:
            return self._note(run, source, inputs, options)
        masks = [source.at(name).mask(key, site) for (name, key, _), site in self.asked.items()] if source else []
        tensors = [leaf for _, leaf in leaves((inputs, options)) if isinstance(leaf, Tensor)]
        self.run, self.given, self.rows = run, (inputs, options), None if source is None else source.rows
        try:
            columns = self._compared([*tensors, *(mask for mask in masks if mask is not None)])
        except UnlikeMasksError:
            self.refused = True
            return run(source, inputs, options)
        finally:
            self.run, self.given = None, None  # what a call was given is not held
        self.refused |= self.recorded.failed
        values = iter(columns)
        structure = map_leaves(lambda leaf: _rebuilt(leaf, values), self.structure)
        for _, leaf in leaves(structure):
            validate(leaf, again=True)
        return structure

    def _note(self, run: Run, source: Binding | None, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run a pass, and note which masks it asks for and what it returns."""
        others: list[str] = []
        noted = None if source is None else NotedMasks(source, self.asked, others)
        with to_be_played_back():  # the same kernels as in a recording
            self.structure = run(noted, inputs, options)
        self.noted, self.refused = True, bool(others)
        return self.structure

    def _parameters(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of all distributions, given the tensors in the inputs and the masks."""
        flat = iter(tensors)
        inputs, options = map_leaves(lambda leaf: next(flat) if isinstance(leaf, Tensor) else leaf, self.given)
        source = None if self.rows is None else DrawnMasks(dict(zip(self.asked, flat, strict=True)), self.rows)
        with unvalidated():  # which would look at numbers
            structure = self.run(source, inputs, options)
        return tuple(p for _, leaf in leaves(structure) if leaf is not None for p in parameters(leaf))

    def _compared(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the parameters; the first that are played back are compared with a plain pass."""
        columns = [value.clone() for value in self.recorded(*tensors)]  # the next playback overwrites them
        if not self.recorded.plays or self.compared:
            return columns
        with to_be_played_back():
            plain = self._parameters(*tensors)
        self.compared = True
        if all(torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in zip(columns, plain, strict=True)):
            return columns
        self.refused = True
        warnings.warn(
            "a pass that was recorded as a CUDA graph and played back differs from the plain pass: the model decides "
            "something in Python from pass to pass, or has random numbers of its own. Its predictions go on without "
            "recordings.",
            stacklevel=2,
        )
        return list(plain)


def _rebuilt(leaf: Any, values: Iterator[Tensor]) -> Any:
    """Return a distribution with other parameters."""
    if leaf is None:
        return None
    return (
        replace(leaf, value=next(values)) if isinstance(leaf, Point) else map_distribution(leaf, lambda _: next(values))
    )


class _Recordings:
    """The recordings of a block, by everything that a graph cannot see."""

    def __init__(self) -> None:
        self.passes: dict[Any, _Pass] = {}
        self.refused: set[nn.Module] = set()

    def of(self, key: Any) -> _Pass:
        """Return the pass of a key, and drop those that were not used for longest."""
        self.passes[key] = self.passes.pop(key, _Pass())
        for old in list(self.passes)[:-_MOST]:
            del self.passes[old]
        return self.passes[key]


_open: ContextVar[_Recordings | None] = ContextVar("recordings", default=None)


def _kinds(structure: Any) -> tuple[Any, ...] | None:
    """Return what a graph takes for granted of inputs; None if it cannot read them."""
    kinds: list[Any] = []
    for path, leaf in leaves(structure):
        if isinstance(leaf, Tensor) and leaf.device.type in _DEVICES:
            kinds.append((path, leaf.shape, leaf.dtype, leaf.device))
        elif isinstance(leaf, bool | str | None):  # numbers are mostly lengths, which are copied to the device
            kinds.append((path, leaf))
        else:
            return None
    return tuple(kinds)


def _state(model: nn.Module) -> tuple[Any, ...]:
    """Return what a graph takes for granted of a model: numbers in attributes, addresses of tensors, settings."""
    held: list[Any] = [str(invisible_state(model))]
    held += [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _DEVICES]
    for module in model.modules():
        tensors = {**module._parameters, **module._buffers, **vars(module)}
        held += [(name, value.data_ptr()) for name, value in tensors.items() if isinstance(value, Tensor)]
        plain = {name: value for name, value in vars(module).items() if name != "calls"}
        held += [(name, value) for name, value in plain.items() if isinstance(value, bool | int | float | str | None)]
    return tuple(held)
