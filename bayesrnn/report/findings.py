"""What is wrong with a predictive, in one plain sentence each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bayesrnn.metrics import Score
from bayesrnn.metrics.bootstrap import FEWEST_SEQUENCES
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.predictive import DETERMINISTIC, ClassPredictive, ContinuousPredictive
from bayesrnn.report.format import number, percent, span
from bayesrnn.report.page import Tone


def drawn(predictive: Any) -> str:
    """Return in words how the predictive was made."""
    if predictive.sampling == DETERMINISTIC:
        return "one distribution per target, no draws"
    seed = "" if predictive.seed is None else f", seed {predictive.seed}"
    return f"{number(predictive.draws_used, 6)} {predictive.sampling} draws{seed}"


@dataclass(frozen=True)
class Finding:
    """A sentence and whether it is good news."""

    text: str
    tone: Tone = "plain"


def findings(
    predictive: Any, target: Any, scores: Mapping[str, Score], level: float, options: Mapping[str, Any], units: str
) -> list[Finding]:
    """Return what the scores say, most important first.

    Args:
        predictive: Judged.
        target: What happened.
        scores: By key of their measure, with bootstrap intervals where there are enough sequences.
        level: Level of the intervals to speak about.
        options: mask, lengths, nan and sequences that were scored with.
        units: Units of the target.
    """
    if isinstance(predictive, ContinuousPredictive):
        return _continuous(predictive, target, scores, level, options, units)
    if isinstance(predictive, ClassPredictive):
        return _confidence(scores)
    return _tokens(scores)


def _continuous(
    predictive: Any, target: Any, scores: Mapping[str, Score], level: float, options: Mapping[str, Any], units: str
) -> list[Finding]:
    findings = []
    score = scores.get(f"coverage_{level * 100:g}")
    bias = scores.get("bias")
    shifted = False
    if score is not None:
        start = f"The {level * 100:g} % intervals hold {_share(score)} of the targets"
        kept = pair(predictive, target, dict(options))  # type: ignore[arg-type]
        ideal = float(kept.take(predictive.attainable_coverage(level)).mean())
        if abs(ideal - level) > 0.0005:
            start += f" (whole numbers let a calibrated model hold {percent(ideal)})"
        low, high = score.interval or (0.0, 1.0)
        if low <= ideal <= high:
            findings.append(Finding(f"{start}: no miscalibration is detected at this level.", "good"))
        elif score.sequences < FEWEST_SEQUENCES:
            count = f"{score.sequences} independent sequences are too few to tell whether the level is missed"
            findings.append(Finding(f"{start}: {count}."))
        else:
            factor, centered = _spread(kept, level, bias.value if bias is not None else 0.0)
            shifted = _off_center(bias) and abs(centered - ideal) < 0.5 * abs(score.value - ideal)
            if shifted and bias is not None:
                text = (
                    f"{start}: they are in the wrong place. {_bias(bias, units)}; without that they would hold "
                    f"{percent(centered)}."
                )
            elif score.value < ideal:
                text = f"{start}: too narrow by a factor of about {number(factor, 2)}."
            else:
                text = f"{start}: too wide by a factor of about {number(1 / factor, 2) if factor > 0 else 'many'}."
            findings.append(Finding(text, "bad"))
    if bias is not None and _off_center(bias) and not shifted:
        findings.append(Finding(f"{_bias(bias, units)}.", "warn"))
    spread = scores.get("ence10")
    if (
        spread is not None
        and spread.floor is not None
        and spread.sequences >= FEWEST_SEQUENCES
        and _beyond_chance(spread)
    ):
        findings.append(
            Finding(
                "The predicted spread does not follow the error: on average over bins it is off by "
                f"{percent(spread.value)}, where a calibrated model of this size would be off by "
                f"{percent(spread.floor)}.",
                "warn",
            )
        )
    return findings


def _confidence(scores: Mapping[str, Score]) -> list[Finding]:
    gap, accuracy, error = (scores.get(k) for k in ("confidence_gap", "accuracy", "ece15_left"))
    findings = []
    if gap is not None and accuracy is not None:
        sure = accuracy.value + gap.value
        start = f"The mean confidence is {percent(sure)}, the accuracy {_share(accuracy)}"
        low, high = gap.interval or (-1.0, 1.0)
        if low > 0:
            findings.append(Finding(f"{start}: the model is overconfident by {100 * gap.value:.1f} points.", "bad"))
        elif high < 0:
            findings.append(Finding(f"{start}: the model is underconfident by {-100 * gap.value:.1f} points.", "bad"))
        else:
            findings.append(Finding(f"{start}: the difference is within chance.", "good"))
    if error is not None and error.floor is not None:
        text = f"Expected calibration error {number(error.value, 2)}; a calibrated model of this size would score "
        text += number(error.floor, 2)
        if _beyond_chance(error):
            findings.append(Finding(f"{text}: in some bins the confidence is wrong, beyond chance.", "warn"))
        elif findings and findings[0].tone == "bad":
            findings.append(Finding(f"{text}: beyond the average, no bin is shown to be wrong.", "plain"))
        else:
            findings.append(Finding(f"{text}: no miscalibration beyond chance is detected.", "good"))
    return findings


def _beyond_chance(score: Score) -> bool:
    """Whether the interval of a calibration error, which allows for what chance adds, leaves out 0."""
    if score.interval is None:
        return score.floor is not None and score.value > 2 * score.floor
    return score.interval[0] > 0


def _tokens(scores: Mapping[str, Score]) -> list[Finding]:
    findings = []
    perplexity, entropy = scores.get("ppl_mc_micro"), scores.get("entropy_gap")
    if perplexity is not None:
        ends = f" {span(*perplexity.interval)}" if perplexity.interval else ""
        text = f"The perplexity is {number(perplexity.value, 4)}{ends}"
        if perplexity.corrected is not None and perplexity.draws > 1:
            text += f"; with infinitely many draws it would be about {number(perplexity.corrected, 4)}"
        findings.append(Finding(f"{text}."))
    if entropy is not None and entropy.interval is not None:
        low, high = entropy.interval
        word = "overconfident" if high < 0 else "underconfident" if low > 0 else ""
        gap = f"{number(entropy.value, 2, sign=True)} nats per token {span(low, high, sign=True)}"
        text = f"Entropy minus surprise is {gap}"
        if word:
            findings.append(Finding(f"{text}: the model is {word}.", "bad"))
        else:
            findings.append(Finding(f"{text}: on average the model is as sure as it should be.", "good"))
    return findings + _confidence(scores)


def _share(score: Score) -> str:
    ends = "" if score.interval is None else f" {span(*score.interval, scale=100, digits=2)}"
    if score.interval is not None and (score.interval[1] > 0.985 or score.interval[0] < 0.015):
        ends = f" {span(*score.interval, scale=100, digits=3)}"
    return f"{percent(score.value)}{ends}"


def _bias(score: Score, units: str) -> str:
    size = f"{number(abs(score.value), 2)}{' ' + units if units else ''}"
    return f"The predictions are {size} too {'high' if score.value > 0 else 'low'} on average"


def _off_center(score: Score | None) -> bool:
    if score is None or score.interval is None or score.sequences < FEWEST_SEQUENCES:
        return False
    return score.interval[0] > 0 or score.interval[1] < 0


def _spread(pairs: Pairs, level: float, bias: float) -> tuple[float, float]:
    """Return the stretch about the median at which intervals hold `level`, and what they hold without the bias."""
    ends = [(1 - level) / 2, 0.5, (1 + level) / 2]
    low, middle, high = (pairs.take(q) for q in pairs.predictive.quantile(ends))
    target = pairs.take(torch.as_tensor(pairs.target))
    above = target >= middle
    side = np.where(above, high - middle, middle - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = np.where(target == middle, 0.0, np.abs(target - middle) / side)
    moved = target + bias
    return float(np.quantile(stretch, level)), float(((low <= moved) & (moved <= high)).mean())
