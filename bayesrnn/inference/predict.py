"""`predict`: the posterior predictive of any torch module that contains layers with masks."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn._checks import check_choice, check_seed, check_whole
from bayesrnn.inference.audit import AuditWarning, audit
from bayesrnn.inference.budget import rows_at_once
from bayesrnn.inference.engine import Job, chunk_rows, numbers
from bayesrnn.inference.guard import undisturbed
from bayesrnn.inference.laws import Law, Point, join, point
from bayesrnn.inference.points import PointLaw
from bayesrnn.inference.structure import check_rows, map_leaves
from bayesrnn.masks import BLOCK, stream
from bayesrnn.nn.masked import masked_modules
from bayesrnn.predictive import ContinuousPredictive, Origin, Predictive

__all__ = ["predict"]


def predict(
    model: nn.Module,
    *inputs: Any,
    draws: int = 100,
    seed: int = 0,
    sampling: str = "stratified",
    sharing: str = "sequence",
    likelihood: Callable[[Any], Any] | None = None,
    tolerance: float | None = None,
    batch_dim: int = 0,
    precision: str | None = None,
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
    max_memory: int | None = None,
    keep_draws: bool = True,
    progress: bool = False,
) -> Any:
    r"""Return the predictive that averages over Monte Carlo dropout draws.

    $p(y \mid x) = \frac1S \sum_s p(y \mid x, z_s)$ with masks $z_s$ that depend on (seed, draw, sequence, site, unit)
    only, so that the draws of a sequence are the same whatever the batch, its order, chunks or device.

    Args:
        model: Any torch module that holds layers of `bayesrnn.nn`.
        *inputs: What the model takes: tensors, packed sequences, tuples or dicts of them.
        draws: How many draws S, at least 2.
        seed: Seed of the masks.
        sampling: "stratified" (blocks of 16 draws cover each unit evenly) or "independent".
        sharing: "sequence" for masks of its own for each sequence, or "pass": a draw is one function for all rows.
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        tolerance: Stop when the Monte Carlo standard error is below it; `draws` is then the ceiling.
        batch_dim: Dimension of the rows in the inputs: 0, or 1 for time-first tensors.
        precision: "bf16" for bfloat16 products with float32 state.
        sequence_ids: Whole numbers that name the sequences; 0, 1, 2, ... if not given.
        lengths: Steps of each row, handed to the model as `lengths=`.
        max_memory: Bytes that one pass may use; a share of what is free if not given.
        keep_draws: Whether to keep every draw's law (quantiles need it) or means and variances only.
        progress: Whether to show a progress bar.

    Returns:
        A `Predictive`, or a structure of them if the model returns a structure.

    Raises:
        ValueError: If nothing in the model is stochastic, inputs differ in rows, or an output is NaN.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 3.

    Example:
        >>> from bayesrnn.nn import LSTM
        >>> layer = LSTM(3, 8, dropout=0.25, batch_first=True)
        >>> predict(layer, torch.zeros(2, 5, 3), draws=16, likelihood=lambda out: point(out[0][:, -1])).mean.shape
        torch.Size([2, 8])
    """
    check_whole(draws, "draws", 2)
    check_seed(seed)
    check_choice(sharing, "sharing", ("sequence", "pass"))
    check_choice(str(batch_dim), "batch_dim", ("0", "1"))
    _check_model(model)
    rows = check_rows(inputs, batch_dim)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    job = Job(
        model,
        inputs,
        {} if lengths is None else {"lengths": torch.as_tensor(lengths)},
        stream(sampling, seed),
        _ids(sequence_ids, rows).to(device),
        likelihood,
        sharing == "pass",
        batch_dim,
    )
    at_once = rows_at_once(model, inputs, batch_dim, max_memory)
    one_by_one = job.shared or any(
        place.site == "weight" for module in masked_modules(model).values() for place in module.placements().values()
    )
    block = BLOCK if sampling == "stratified" else 1
    parts: list[list[Law]] = []
    structure: Any = None
    with undisturbed(model):
        for part in chunk_rows(rows, at_once):
            size = part.stop - part.start
            step = 1 if one_by_one else max(at_once // size, 1)
            if step > BLOCK:
                step -= step % BLOCK
            laws = []
            for start in range(0, draws, step):
                structure, found = job.run(numbers(start, min(start + step, draws), device), part)
                laws.append(found)
            parts.append([join(column, 0) for column in zip(*laws, strict=True)])
    whole = iter([join(column, 1) for column in zip(*parts, strict=True)])
    origin = Origin(draws, seed, sampling, block, job.ids.cpu())
    return map_leaves(lambda _: _predictive(next(whole), origin), structure)


def _predictive(law: Law, origin: Origin) -> Predictive:
    if isinstance(law, Point):
        return ContinuousPredictive(PointLaw(law.value), origin)
    assert isinstance(law, Distribution)
    return Predictive.from_draws(
        law, seed=origin.seed, sampling=origin.sampling, block_size=origin.block_size, sequence_ids=origin.sequence_ids
    )


def _check_model(model: nn.Module) -> None:
    found = audit(model)
    if not found.active:
        looks = "\n".join(f"  {item.module or 'the model'} ({item.kind}): {item.reason}" for item in found.warnings)
        raise ValueError(
            "nothing in this model is stochastic at test time, so all draws would be equal and the epistemic variance "
            "zero. Build it with bayesrnn.nn.LSTM/GRU/RNN/Embedding/Dropout and a rate above 0, or turn its torch layers "
            f"into ours with bayesrnn.convert(model, dropout=0.25).\n{looks or '  It has no dropout of any kind.'}"
        )
    for item in found.warnings:
        warnings.warn(f"{item.module or 'the model'} ({item.kind}): {item.reason}", AuditWarning, stacklevel=3)


def _ids(sequence_ids: Iterable[int] | Tensor | None, rows: int) -> Tensor:
    if sequence_ids is None:
        return torch.arange(rows)
    ids = torch.as_tensor(sequence_ids if isinstance(sequence_ids, Tensor) else list(sequence_ids))
    if ids.shape != (rows,) or ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(
            f"sequence_ids must hold one whole number for each of the {rows} rows, but {ids.dtype} of shape "
            f"{tuple(ids.shape)} was given."
        )
    return ids.long()
