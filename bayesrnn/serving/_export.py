"""`export`: write a model as a graph of plain operators, deterministic or with its masks as inputs."""

import logging
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice, check_whole
from bayesrnn._files import atomic_write
from bayesrnn.likelihoods.validation import unvalidated
from bayesrnn.nn.copying import copied
from bayesrnn.serving import sampler
from bayesrnn.serving.tracing import Graph, MaskInput, check_exportable, dynamic_shapes, examples, find_masks

_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
_LOGGERS = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer")  # what they say helps no user


def export(
    model: nn.Module,
    example: Any,
    path: str | os.PathLike[str],
    format: Literal["onnx", "torch"] = "onnx",
    masks: bool = False,
    *,
    batch_dim: int = 0,
) -> Path:
    """Write a model to a file that runs without this library, for any number of rows and steps.

    With `masks=False` the graph is the deterministic pass. With `masks=True` the masks are inputs of it, named by layer
    and site, and `NAME_masks.py` beside the graph samples them with numpy only: the same bits as `predict` for the same
    seed, draws and sequences. Given draws x rows, with the inputs repeated for every draw, the graph returns what each
    draw says.

    The outputs of a distribution are its parameters (`loc`, `scale`, ...); other outputs are `output`, or numbered.

    Args:
        model: A module with layers of this library, whose `forward` takes tensors.
        example: Its inputs: a tensor, or a tuple of tensors (with lengths, if it is to take them); at least two steps.
        path: The file, such as `model.onnx` or `model.pt2`.
        format: "onnx", which needs the packages `onnx` and `onnxscript`; or "torch", for `torch.export.load`.
        masks: Whether masks are inputs.
        batch_dim: Dimension of the rows in inputs of two dimensions and more; steps are the other of the first two.

    Returns:
        The path of the graph.

    Raises:
        ValueError: If masks are of weights or have learned rates; if the model fixes the number of rows or steps, as a
            loop over the steps in its own `forward` does; if it holds no masks to be inputs; or the example is too
            short.
        ModuleNotFoundError: If a package that writes ONNX is missing.

    Example:
        >>> import bayesrnn as br, tempfile
        >>> model = br.nn.LSTM(3, 8, dropout=0.25, batch_first=True)
        >>> path = br.export(model, torch.zeros(2, 5, 3), tempfile.mkdtemp() + "/model.pt2", format="torch")
        >>> torch.export.load(path).module()(torch.zeros(7, 9, 3))["output_0"].shape
        torch.Size([7, 9, 8])
    """
    check_choice(format, "format", _SUFFIXES)
    check_whole(batch_dim, "batch_dim", 0)
    check_exportable(model, masks=masks)
    path, suffix = Path(path), _SUFFIXES[format]
    if path.suffix != suffix:
        raise ValueError(f"a file of format {format!r} ends in {suffix!r}, but {str(path)!r} was given.")
    if format == "onnx":
        _check_packages()
    copy = copied(model).eval().requires_grad_(False)
    inputs = examples(example, batch_dim)
    asked = find_masks(copy, inputs, batch_dim) if masks else {}
    graph = Graph(copy, list(asked))
    neutral = {name: mask.neutral(*_sizes(inputs, batch_dim)) for name, mask in asked.items()}
    program = _traced(graph, inputs, neutral, dynamic_shapes(inputs, asked, batch_dim))
    _check_other_sizes(graph, program, inputs, asked, batch_dim)
    if format == "torch":
        atomic_write(path, lambda target: torch.export.save(program, target))
    else:
        _write_onnx(program, path, graph.input_names(len(inputs)), list(graph(*inputs, masks=neutral or None)))
    if asked:
        atomic_write(path.with_name(f"{path.stem}_masks.py"), _sampler_code(asked))
    return path


def _check_packages() -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"format='onnx' needs the packages onnx and onnxscript, but {missing[0]} is not installed. Install them "
            "(pip install onnx onnxscript), or use format='torch'."
        )


def _traced(graph: Graph, inputs: tuple[Tensor, ...], masks: dict[str, Tensor], shapes: dict[str, Any]) -> Any:
    if not hasattr(torch.compiler, "is_exporting"):
        raise ValueError(f"export needs a newer torch than {torch.__version__}, which cannot trace a loop over steps.")
    torch.compiler.reset()  # what was compiled before would be compared with these sizes, and fix them
    try:
        with unvalidated(), torch.no_grad():
            return torch.export.export(
                graph, inputs, {"masks": masks} if masks else {}, dynamic_shapes=shapes, strict=False
            )
    except Exception as error:
        raise ValueError(
            f"{type(graph.model).__name__} cannot be written as a graph for any number of rows and steps: "
            f"{_first_lines(error)} Likely the model's own code loops over the steps (nn.LSTMCell in a loop), reads a "
            "size or a value as a Python number (len(x) in the place of x.shape[0]), or packs sequences. Use a "
            "recurrent layer that is given all steps at once, with lengths as a tensor."
        ) from error


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:400]}".rstrip(".") + "."


def _sizes(inputs: tuple[Tensor, ...], batch_dim: int) -> tuple[int, int]:
    """Return the rows and the steps of inputs."""
    widest = max(inputs, key=Tensor.dim)
    return widest.shape[batch_dim], widest.shape[1 - batch_dim] if widest.dim() > 1 else 1


def _check_other_sizes(
    graph: Graph, program: Any, inputs: tuple[Tensor, ...], masks: dict[str, MaskInput], batch_dim: int
) -> None:
    """Refuse a graph that says something else than the model for other rows and steps than the example's."""
    rows, steps = _sizes(inputs, batch_dim)
    for other_rows, other_steps in ((1, steps), (rows + 3, steps + 2), (rows, max(steps - 1, 1))):
        changed = tuple(_resized(x, other_rows, other_steps, (rows, steps), batch_dim) for x in inputs)
        generator = torch.Generator().manual_seed(0)
        drawn = {name: mask.random(other_rows, other_steps, generator) for name, mask in masks.items()}
        given = {"masks": drawn} if drawn else {}
        try:
            with unvalidated(), torch.no_grad():
                want = graph(*changed, **given)
        except Exception:  # the model itself takes no such input, as a forecaster of a fixed window
            continue
        try:
            got = program.module()(*changed, **given)
            same = all(torch.allclose(got[k], want[k], rtol=1e-3, atol=1e-4, equal_nan=True) for k in want)
        except Exception as error:
            raise ValueError(_fixed(other_rows, other_steps, _first_lines(error))) from error
        if not same:
            raise ValueError(_fixed(other_rows, other_steps, "Its numbers differ from the model's."))


def _fixed(rows: int, steps: int, why: str) -> str:
    return (
        f"the graph is not right for {rows} rows of {steps} steps: {why} The model's code turns the size of the "
        "example into a number that stays (such as range(x.shape[1]), or int(lengths.max())): use tensor operations in "
        "its place."
    )


def _resized(x: Tensor, rows: int, steps: int, sizes: tuple[int, int], batch_dim: int) -> Tensor:
    """Repeat or cut the rows and the steps of an example; lengths are cut at the steps."""
    if x.dim() == 1:
        whole = not x.is_floating_point() and bool((x <= sizes[1]).all())
        x = x.repeat(-(-rows // len(x)))[:rows]
        return x.clamp(max=steps) if whole else x
    wanted = list(x.shape)
    wanted[batch_dim] = rows
    if x.shape[1 - batch_dim] == sizes[1]:
        wanted[1 - batch_dim] = steps
    repeated = x.repeat([-(-w // s) for w, s in zip(wanted, x.shape)])
    return repeated[tuple(slice(w) for w in wanted)]


def _write_onnx(program: Any, path: Path, inputs: list[str], outputs: list[str]) -> None:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = torch.onnx.export(program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False)
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
    if written is None:
        raise RuntimeError("torch.onnx.export returned no program.")
    atomic_write(path, lambda target: written.save(target, external_data=False))


def _sampler_code(masks: dict[str, MaskInput]) -> str:
    """Return the numpy sampler with the list of this graph's masks."""
    rows = ",\n".join(f"    {name!r}: {mask.described()!r}" for name, mask in masks.items())
    code = Path(sampler.__file__).read_text(encoding="utf-8")
    empty = "SITES: dict[str, dict[str, Any]] = {}"
    return code.replace(empty, f"SITES: dict[str, dict[str, Any]] = {{\n{rows},\n}}")
