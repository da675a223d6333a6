"""`predict`: the posterior predictive of any torch module that contains layers with masks."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice, check_seed, check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.inference._audit import AuditWarning, audit
from bayesrnn.inference.assemble import assemble
from bayesrnn.inference.context import lower_products, undisturbed
from bayesrnn.inference.distributed import all_ranks
from bayesrnn.inference.ensemble import as_models, as_one, with_labels
from bayesrnn.inference.inputs import batches, rows_at_once
from bayesrnn.inference.job import Job
from bayesrnn.inference.linear.job import LinearJob
from bayesrnn.inference.linear.sources import check_control
from bayesrnn.inference.nested import map_leaves, sums, values
from bayesrnn.inference.outputs import Point
from bayesrnn.inference.passes import Part, Plan, collect_as_it_runs
from bayesrnn.masks import BLOCK, stream
from bayesrnn.nn.masked import masked_modules
from bayesrnn.predictive import DETERMINISTIC

_FULL = 64  # rows with which one draw at a time is no slower than many draws in one batch


class NoLikelihoodWarning(UserWarning):
    """A prediction has no distribution of the target: its intervals leave out the noise."""


_NO_NOISE = (
    "the model returned a plain tensor and no likelihood= was given, so the predictive knows the spread between draws "
    "only: its intervals leave out the noise of the target and are too narrow for it. Pass likelihood= (such as "
    "bayesrnn.likelihoods.gaussian for two outputs, or lambda mean: Normal(mean, sigma)); if the spread between draws "
    "is what you want, pass likelihood=bayesrnn.inference.point."
)


def predict(
    model: nn.Module | Sequence[nn.Module],
    *inputs: Any,
    draws: int = 100,
    seed: int = 0,
    sampling: str = "stratified",
    control: str | None = None,
    sharing: str = "sequence",
    likelihood: Callable[[Any], Any] | None = None,
    tolerance: float | None = None,
    batch_dim: int = 0,
    batch_dims: Sequence[int | None] | None = None,
    precision: str | None = None,
    rows_interact: str = "refuse",
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
    max_memory: int | None = None,
    keep_draws: bool = True,
    progress: bool = False,
) -> Any:
    r"""Return the predictive that averages over Monte Carlo dropout draws.

    $p(y \mid x) = \frac1S \sum_s p(y \mid x, z_s)$ with masks $z_s$ that depend on (seed, draw, sequence, site, unit)
    only, so that the draws of a sequence are the same whatever the batch, its order, chunks or device. The model's
    modes, buffers and torch's random state are left as they were, also when an exception passes through.

    With `draws=0` the result is the deterministic pass $p(y \mid x, \mathbb{E}[z])$, the standard dropout
    approximation: masks are off, the epistemic part and the Monte Carlo error are zero, and a model without any masks
    will do. Of a point prediction (no likelihood) no variance is left then.

    Of several networks, an ensemble, S draws of each are averaged, under the same masks: draw s of network m is what
    `predict` of only that network gives. The epistemic part is `between_masks` + `between_networks` then; for means
    $\frac1M \sum_m \mathrm{Var}_s f_{ms} + \mathrm{Var}_m \frac1S \sum_s f_{ms}$, for classes mutual information.

    Args:
        model: Any torch module that holds layers of `bayesrnn.nn`, which sees draws x rows as one batch; or a list of
            such modules.
        *inputs: What the model takes: tensors, packed sequences, tuples or dicts of them; or one DataLoader of them.
        draws: How many draws S of each network, at least 2; or 0 for the deterministic pass.
        seed: Seed of the masks.
        sampling: "stratified" (each block of 16 draws covers every unit evenly) or "independent".
        control: "linear": the part of each draw that is linear in its masks, whose mean and variance are known, takes
            the sampling error out of means and variances; one gradient per output, and a draw is worth 2 to 10 for the
            epistemic part. Draws are moved and widened to these moments, and the errors of all moments are in
            `standard_errors`. Masks must hold for a sequence. None: draws as they are.
        sharing: "sequence" for masks of its own for each sequence, or "pass": a draw is one function for all rows.
        likelihood: From the model's output to a torch Distribution; needless if the model returns one. A plain tensor
            without likelihood is a point prediction: its draws show only the epistemic variance, and the aleatoric
            is zero.
        tolerance: Rows stop taking draws once the standard error of their mean (for classes, of every probability) is
            at most this, in target units; `draws` is then the ceiling and `draws_per_row` says what each row took.
            Stopping biases the epistemic variance of independent draws (-7 % where rows stop at 16 to 32 draws, -2 % at
            80); stratified draws stay within 2 %. Without it, theirs is at most 1/(S - 1) too large.
        batch_dim: Dimension of the rows in the inputs: 0, or 1 for time-first tensors. An input in which it does not
            fit, such as the state (layers, rows, H) of a recurrent layer, may have the rows in dimension 0 or 1.
        batch_dims: Dimension of the rows in each input, where they differ; None for an input without rows.
        precision: "bf16" for bfloat16 products with float32 state, where the processor has units for them.
        rows_interact: What to do with a model that uses the rows of a batch jointly (a mean over rows, BatchNorm
            without running statistics), so that draws, which ride in the batch, would mix: "refuse" names the module;
            "allow" runs each draw by itself with all rows, and `max_memory` is not kept.
        sequence_ids: Whole numbers that name the sequences; 0, 1, 2, ... if not given.
        lengths: Steps of each row, handed to the model as `lengths=`.
        max_memory: Bytes that one pass may use; a share of what is free if not given. Results do not depend on it.
        keep_draws: Keep every draw's distribution, which quantiles and draws need; without, means and variances
            accumulate and memory does not grow with draws.
        progress: Whether to show a progress bar.

    Returns:
        A `Predictive` with rows first, or the model's structure (tuple, dict, ...) of them.

    Raises:
        TypeError: If the model is no torch module or list of them.
        ValueError: If nothing in the model is stochastic, draws are 1 or below 0, inputs differ in rows, the output has
            other rows than the input, it holds NaN, or the networks of an ensemble have different outputs.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 3.

    Example:
        >>> from bayesrnn.inference import point
        >>> from bayesrnn.nn import LSTM
        >>> layer = LSTM(3, 8, dropout=0.25, batch_first=True)
        >>> predict(layer, torch.zeros(2, 5, 3), draws=16, likelihood=lambda out: point(out[0][:, -1])).mean.shape
        torch.Size([2, 8])
    """
    check_arguments(draws, seed, sharing, tolerance, batch_dim)
    check_choice(rows_interact, "rows_interact", ("refuse", "allow"))
    models = as_models(model, "predict")
    for place, network in enumerate(models):
        check_model(network, draws, f"network {place} of this ensemble" if len(models) > 1 else "this model")
    model = as_one(models)
    if check_choice(str(control), "control", ("None", "linear")) == "linear" and draws:
        check_control(models)
    masks = stream(sampling, seed)
    if not draws:
        sampling, draws, keep_draws, tolerance = DETERMINISTIC, 1, True, None
    drawn = sampling != DETERMINISTIC
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    parts: list[Part] = []
    ids: list[Tensor] = []
    structure: Any = None
    block = BLOCK if sampling == "stratified" else 1
    rows_of: Any = {"batch_dim": batch_dim, "batch_dims": batch_dims, "sequence_ids": sequence_ids, "lengths": lengths}
    options = (draws, seed, sampling, control, sharing, tolerance, precision, keep_draws)
    shown = progress_bar(progress, None, f"{draws} draws per row", stays=False)
    ranks = all_ranks()
    with undisturbed(model, seed) as fresh, lower_products(model, precision), shown as done:
        for batch in batches(inputs, models[0], **rows_of):
            jobs = [
                Job(
                    network, batch.inputs, batch.options, masks if drawn else None, batch.ids.to(device), likelihood,
                    sharing == "pass", batch_dim, fresh,
                )
                for network in models
            ]  # fmt: skip
            job = jobs[0]
            rows = torch.arange(job.rows)
            if ranks is not None:
                ranks.agree(options, batch.ids.tolist(), *sums(model.state_dict()), *sums(values(batch.inputs)))
                rows = ranks.rows(job.rows)
            at_once = min(rows_at_once(network, batch.inputs, max_memory) for network in models)
            if drawn and control == "linear":
                jobs = [LinearJob(**vars(job), at_once=at_once)]
            one, apart = _one_at_a_time(model, job), rows_interact == "refuse" and (drawn or at_once < job.rows)
            plan = Plan(at_once, block, one, keep_draws, tolerance, apart)
            if rows_interact == "allow":
                plan = replace(plan, at_once=max(at_once, job.rows), single=True)
            structure, new_parts = collect_as_it_runs(jobs, rows, draws, plan, done)
            parts += [part.after(batch.offset) for part in new_parts]
            ids.append(batch.ids)
        if ranks is not None:
            parts = ranks.share(parts)
    if drawn and likelihood is None and isinstance(structure, Point) and structure.bare:
        warnings.warn(_NO_NOISE, NoLikelihoodWarning, stacklevel=2)
    origin = {"seed": seed if drawn else None, "sampling": sampling, "sequence_ids": torch.cat(ids)}
    origin["networks"] = len(models)
    predictives = (with_labels(part, models) for part in assemble(parts, keep_draws, block, origin))
    return map_leaves(lambda leaf: None if leaf is None else next(predictives), structure)


def _one_at_a_time(model: nn.Module, job: Job) -> bool:
    """Whether each pass holds one draw: masks are on weights, or one draw has enough rows to fill it."""
    return masks_weights(model) or (job.shared and (job.rows >= _FULL or job.ids.is_cuda))


def masks_weights(model: nn.Module) -> bool:
    """Whether a mask of the model is of its weights, so that a pass can hold one draw only."""
    modules = masked_modules(model).values()
    return any(place.site == "weight" for module in modules for place in module.placements().values())


def check_arguments(draws: int, seed: int, sharing: str, tolerance: float | None, batch_dim: int) -> None:
    """Refuse numbers that make no sense."""
    if check_whole(draws, "draws", 0) == 1:
        raise ValueError(
            "draws must be at least 2, but 1 was given: one draw has no spread. For the deterministic pass give "
            "draws=0."
        )
    check_seed(seed)
    check_choice(sharing, "sharing", ("sequence", "pass"))
    if isinstance(batch_dim, bool) or batch_dim not in (0, 1):
        raise ValueError(f"batch_dim must be 0, or 1 for time-first tensors, but {batch_dim!r} was given.")
    if tolerance is not None and not (isinstance(tolerance, int | float) and 0 < tolerance < math.inf):
        raise ValueError(
            f"tolerance is a standard error in target units and must be positive, but {tolerance!r} was given."
        )


def check_model(model: nn.Module, draws: int, name: str = "this model") -> None:
    """Refuse a model in which nothing is stochastic, if draws are wanted; warn of what only looks so."""
    if not draws:
        return
    report = audit(model)
    if not report.active:
        looks = "\n".join(f"  {item}" for item in report.warnings)
        raise ValueError(
            f"nothing in {name} is stochastic at test time, so all its draws would be equal and their epistemic "
            "variance zero. Build it with bayesrnn.nn layers and a rate above 0, or turn its torch layers into ours "
            "with bayesrnn.convert(model, dropout=0.25); draws=0 gives the deterministic pass.\n"
            f"{looks or '  It has no dropout of any kind.'}"
        )
    for item in report.warnings:
        warnings.warn(str(item), AuditWarning, stacklevel=3)
