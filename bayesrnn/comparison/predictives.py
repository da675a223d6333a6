"""Compare predictives of the same targets, in pairs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from bayesrnn._checks import check_level, shortened
from bayesrnn.comparison.difference import Difference, paired
from bayesrnn.comparison.result import Comparison, Cost
from bayesrnn.metrics import Score
from bayesrnn.metrics.bootstrap import unwarned
from bayesrnn.metrics.groups import rows_by_group
from bayesrnn.metrics.pairs import check_several, common_sequences, pair
from bayesrnn.metrics.registry import Measure, measures_for
from bayesrnn.predictive import DETERMINISTIC, ClassPredictive, Origin, Predictive, TokenPredictive


@unwarned()
def compare_predictives(
    predictives: Mapping[str, Predictive],
    target: Any = None,
    *,
    reference: str | None = None,
    groups: Sequence[Any] | Tensor | None = None,
    sequences: Any = None,
    interval: float = 0.95,
    method: str = "bootstrap",
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    measures: Sequence[Measure] | None = None,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    nan: str = "raise",
    monte_carlo: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    units: str = "",
    costs: Mapping[str, Cost] | None = None,
) -> Comparison:
    r"""Compare predictives of the same targets: every metric, and its difference with a paired bootstrap interval.

    $\Delta = M(q, y) - M(r, y)$ for each predictive q against the reference r. Both are scored on the same resamples of
    whole sequences, so what makes a sequence hard cancels. An interval that holds 0 tells no difference.

    Args:
        predictives: Name → predictive, at least two, all of the same targets and kind. A lone token predictive is
            compared with the deterministic pass that it carries.
        target: (rows, ...); classes by number, or by name where a predictive has `class_names`; a token predictive
            knows its own.
        reference: Name of the one the others are compared with; the first by default.
        groups: A label for each row: the score that ranks is also compared within each group.
        sequences: Sequence id of each row or target, for the bootstrap; by default the ids that the reference (else
            another predictive) carries, else the rows.
        interval: Level of the intervals.
        method: How they are made: "bootstrap" over sequences, or "student" (the t interval of the jackknife over
            sequences, which holds its level with few of them).
        levels: Levels of the central intervals whose coverage is compared, beside 90 %.
        measures: What is compared, the ranking score first; by default `measures_for` the reference.
        mask: (rows, ...) bool, True where a target is scored.
        lengths: (rows,) steps scored in each row.
        nan: "raise" refuses NaN targets, "drop" leaves them out.
        monte_carlo: Also give the standard error from finite draws, and the value corrected for them.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
        units: Units of the target, for sentences and pictures.
        costs: What each predictive cost, by name.

    Returns:
        A `Comparison`: `.table`, `.sentence`, `.save(folder)`.

    Raises:
        ValueError: If fewer than two predictives are given, their kinds, shapes, class names or groupings by sequence
            ids differ, or the reference is unknown.

    Example:
        >>> import torch
        >>> y = torch.randn(200, generator=torch.Generator().manual_seed(0))
        >>> sharp, wide = (Predictive.from_gaussian(torch.zeros(200), s * torch.ones(200)) for s in (1.0, 3.0))
        >>> compare_predictives({"wide": wide, "sharp": sharp}, y).difference("crps").verdict.value
        'better'
    """
    predictives = _with_deterministic(predictives)
    reference = _check(predictives, reference)
    predictives, target = _named(predictives, target)
    check_level(interval, "interval")
    ordered = {reference: predictives[reference], **predictives}
    sequences = common_sequences(ordered, sequences)
    options: dict[str, Any] = {
        "mask": mask, "lengths": lengths, "nan": nan, "sequences": sequences, "seed": seed, "resamples": resamples,
        "interval": interval, "method": method, "monte_carlo": monte_carlo,
    }  # fmt: skip
    measures = measures_for(predictives[reference], levels) if measures is None else measures
    scores: dict[str, dict[str, Score]] = {}
    notes: list[str] = []
    for name, predictive in predictives.items():
        pairs = pair(predictive, target, {"mask": mask, "lengths": lengths, "nan": nan, "sequences": sequences})
        check_several(pairs.sequences)
        scores[name] = _scores(name, predictive, target, measures, options, notes)
    differences = [
        paired(name, reference, measure, scores[name][measure.key], scores[reference][measure.key])
        for name in predictives
        if name != reference
        for measure in measures
        if measure.key in scores[name] and measure.key in scores[reference]
    ]
    if not differences:
        raise ValueError("no metric could be computed for both predictives:\n" + "\n".join(notes))
    return Comparison(
        predictives=dict(predictives),
        target=target,
        reference=reference,
        differences=differences,
        scores=scores,
        by_group=_by_group(predictives, target, reference, differences[0].measure, groups, options, notes),
        notes=notes,
        units=units,
        costs=dict(costs or {}),
        options={k: v for k, v in options.items() if k in ("mask", "lengths", "nan", "sequences", "seed")},
    )


def _with_deterministic(predictives: Mapping[str, Predictive]) -> Mapping[str, Predictive]:
    if isinstance(predictives, Mapping) and len(predictives) == 1:
        (only,) = predictives.values()
        if isinstance(only, TokenPredictive) and only.deterministic_log_prob is not None:
            return {"deterministic pass": _deterministic_tokens(only, only.deterministic_log_prob), **predictives}
    return predictives


def _deterministic_tokens(predictive: TokenPredictive, log_prob: Tensor) -> TokenPredictive:
    """Return the deterministic pass that a token predictive carries, as a predictive of its own."""
    origin = Origin(1, sampling=DETERMINISTIC, sequence_ids=predictive.sequence_ids)
    return TokenPredictive(log_prob, origin, mask=predictive.mask, target=predictive.target)


def _named(predictives: Mapping[str, Predictive], target: Any) -> tuple[Mapping[str, Predictive], Any]:
    """Give every class predictive the names that one of them has, and return the target as numbers of classes."""
    classes = {name: p for name, p in predictives.items() if isinstance(p, ClassPredictive)}
    named = {name: p for name, p in classes.items() if p.class_names is not None}
    if not classes or target is None:
        return predictives, target
    first = next(iter(named), next(iter(classes)))
    for name, predictive in named.items():
        if predictive.class_names != classes[first].class_names:
            raise ValueError(
                f"{first!r} calls its classes {shortened(classes[first].names)}, but {name!r} "
                f"{shortened(predictive.names)}: both must have the same classes in the same order."
            )
    target = classes[first].numbered(target)
    if named:
        predictives = {name: p.with_class_names(classes[first].names) for name, p in classes.items()}
    return predictives, target


def _check(predictives: Mapping[str, Predictive], reference: str | None) -> str:
    if not isinstance(predictives, Mapping) or len(predictives) < 2:
        raise ValueError(
            "give at least two predictives by name, e.g. compare_predictives({'deterministic pass': p, "
            "'MC dropout': q}, target)."
        )
    reference = next(iter(predictives)) if reference is None else reference
    if reference not in predictives:
        raise ValueError(f"reference={reference!r} names none of the predictives: {', '.join(map(repr, predictives))}.")
    first = predictives[reference]
    for name, predictive in predictives.items():
        if not isinstance(predictive, Predictive):
            raise TypeError(
                f"{name!r} is a {type(predictive).__name__}, not a Predictive. Wrap predictions with "
                "Predictive.from_gaussian, from_samples or from_probabilities."
            )
        if type(predictive) is not type(first) or predictive.shape != first.shape:
            raise ValueError(
                f"{name!r} ({predictive!r}) and {reference!r} ({first!r}) do not predict the same targets: the kind "
                "and the shape must agree, row by row."
            )
    return reference


def _scores(
    name: str,
    predictive: Predictive,
    target: Any,
    measures: Sequence[Measure],
    options: dict[str, Any],
    notes: list[str],
) -> dict[str, Score]:
    scores = {}
    for measure in measures:
        try:
            score = measure.score(predictive, target, **options)
        except ValueError as error:
            notes.append(f"{measure.label} of {name} is missing: {error}")
            continue
        if math.isfinite(score.value):
            scores[measure.key] = score
        else:
            notes.append(f"{measure.label} of {name} is infinite, so it is compared with nothing.")
    return scores


def _by_group(
    predictives: Mapping[str, Predictive],
    target: Any,
    reference: str,
    measure: Measure,
    groups: Any,
    options: dict[str, Any],
    notes: list[str],
) -> dict[str, list[Difference]]:
    if groups is None:
        return {}
    shape = tuple(predictives[reference].shape)
    differences: dict[str, list[Difference]] = {}
    for label, member in rows_by_group(groups, shape[0]).items():
        inside = member.reshape(-1, *(1 for _ in shape[1:])).expand(shape)
        mask = inside if options["mask"] is None else inside & options["mask"]
        try:
            scores = {
                name: measure.score(p, target, **{**options, "mask": mask, "monte_carlo": False})
                for name, p in predictives.items()
            }
        except ValueError as error:
            notes.append(f"group {label} is left out: {error}")
            continue
        differences[label] = [
            paired(name, reference, measure, scores[name], scores[reference])
            for name in predictives
            if name != reference
        ]
    return differences
