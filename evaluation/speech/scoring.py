"""What the networks of one cell on one split are worth: scores, detection of what is outside, paired differences."""

from pathlib import Path
from typing import Any

import torch

import bayesrnn as br
from bayesrnn import metrics
from evaluation.speech.networks import MEMBERS, Settings, Split, predicted, schemes, trained
from evaluation.speech.noise import noisy
from evaluation.speech.recordings import Recordings

DECIBELS = (20, 10, 0)
ENSEMBLE = f"ensemble of {MEMBERS}"
SCORED = {
    "accuracy": metrics.accuracy,
    "nll": metrics.nll,
    "brier": metrics.brier_score,
    "aurc": metrics.area_under_risk_coverage,
}
PAIRS = (
    ("naive, draws", "naive, one pass"),
    ("zaremba, draws", "zaremba, one pass"),
    ("gal, draws", "gal, one pass"),
    ("gal, draws", "none, one pass"),
    ("gal, draws", "naive, draws"),
    ("gal, draws", "zaremba, draws"),
    ("gal, draws", ENSEMBLE),
)


def study(split: Split, cell: str, seeds: list[int], settings: Settings, folder: Path, mel: bool) -> dict[str, Any]:
    """Train, or load, every network of a cell on a split, and judge them: plain data, fit for JSON."""
    heard = _predictives(split, cell, seeds, settings, folder, _parts(split, mel))
    judged = "outside" if split.judged is split.outside else "test"
    target, times = split.judged.label, len(seeds)
    pooled = {name: _pooled(parts[judged], times) for name, parts in heard.items()}
    options = {"sequences": torch.arange(len(target)).repeat(times)}
    repeated = target.repeat(times)
    return {
        "scores": {name: _scores(p, repeated, options) for name, p in pooled.items()},
        "shift": {name: _shift(parts) for name, parts in heard.items()},
        "noise": {
            name: {k: float(metrics.accuracy(_pooled(p, times), repeated)) for k, p in parts.items() if "dB" in k}
            for name, parts in heard.items()
        },
        "differences": {
            f"{first} - {second}": {
                key: _difference(metric, pooled[first], pooled[second], repeated, options)
                for key, metric in SCORED.items()
            }
            for first, second in PAIRS
        },
    }


def _parts(split: Split, mel: bool) -> dict[str, Recordings]:
    """The test part, what is outside, and where words and speakers are known, the test part in noise."""
    parts = {"test": split.test}
    if split.outside is not None:
        parts["outside"] = split.outside
    else:
        parts |= {f"{k}, {d} dB": noisy(split.test, k, d, mel) for k in ("white", "babble") for d in DECIBELS}
    return parts


def _predictives(
    split: Split, cell: str, seeds: list[int], settings: Settings, folder: Path, parts: dict[str, Recordings]
) -> dict[str, dict[str, list[Any]]]:
    """Return {network: {part: one predictive per seed}}; the one ensemble stands for every seed."""
    by_network: dict[str, dict[str, list[Any]]] = {}
    plain: dict[int, Any] = {}
    for seed in sorted({*seeds, *range(MEMBERS)}):
        net = trained(split, cell, "none", seed, settings, folder)
        plain[seed] = {name: predicted(net, part, settings, 0) for name, part in parts.items()}
    by_network["none, one pass"] = {name: [plain[seed][name] for seed in seeds] for name in parts}
    for scheme in [name for name in schemes(settings.rate) if name != "none"]:
        nets = [trained(split, cell, scheme, seed, settings, folder) for seed in seeds]
        for shown, draws in (("one pass", 0), ("draws", settings.draws)):
            by_network[f"{scheme}, {shown}"] = {
                name: [predicted(net, part, settings, draws, seed) for net, seed in zip(nets, seeds)]
                for name, part in parts.items()
            }
    members = {name: torch.stack([plain[seed][name].probabilities for seed in range(MEMBERS)]) for name in parts}
    by_network[ENSEMBLE] = {name: [br.Predictive.from_probabilities(p)] * len(seeds) for name, p in members.items()}
    return by_network


def _pooled(predictives: list[Any], times: int) -> Any:
    """Return one predictive of all seeds, rows behind rows: a bootstrap then takes an utterance with all its seeds."""
    draws = torch.cat([p.draws for p in predictives], 1)
    return br.Predictive.from_probabilities(draws if len(draws) > 1 else draws[0])


def _scores(judged: Any, target: torch.Tensor, options: dict[str, Any]) -> dict[str, Any]:
    error = metrics.expected_calibration_error(judged, target, floor=True, **options)
    scores: dict[str, Any] = {name: float(metric(judged, target, **options)) for name, metric in SCORED.items()}
    scores |= {"ece": float(error), "ece_floor": error.floor}
    mistakes = judged.mode != target
    some = bool(mistakes.any()) and not bool(mistakes.all())
    return scores | {"error_auroc": float(metrics.error_auroc(judged, target, **options)) if some else None}


def _shift(parts: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the AUROC of every part against the test part, mean over seeds, by entropy and by its epistemic part."""
    aurocs: dict[str, Any] = {}
    for name in [name for name in parts if name != "test"]:
        pairs = list(zip(parts["test"], parts[name]))
        drawn = parts["test"][0].draws_used > 1
        aurocs[name] = {
            kind: sum(
                float(metrics.shift_auroc(near, far, uncertainty=lambda p, kind=kind: getattr(p, kind)))
                for near, far in pairs
            )
            / len(pairs)
            for kind in (("entropy", "epistemic") if drawn else ("entropy",))
        }
    return aurocs


def _difference(metric: Any, first: Any, second: Any, target: Any, options: dict[str, Any]) -> dict[str, Any]:
    difference = metrics.paired_difference(metric, first, second, target, **options)
    return {"value": difference.value, "interval": list(difference.interval)}
