"""A question that a predictive cannot answer gets an error that says what can be asked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import bayesrnn as br
from bayesrnn import Predictive

GAUSS = Predictive.from_gaussian(torch.zeros(4, 3), torch.ones(4, 3))
CLASSES = Predictive.from_probabilities(torch.full((3, 4, 2), 0.5))


@pytest.mark.parametrize(
    ("question", "error", "says"),
    [
        (lambda: GAUSS.quantile([]), ValueError, "one level or a list of levels"),
        (lambda: GAUSS.quantile("median"), TypeError, "q must be numbers"),  # type: ignore[arg-type]
        (lambda: GAUSS["first"], TypeError, "rows are chosen by"),
        (lambda: GAUSS[["first", "second"]], TypeError, "rows are chosen by"),
        (lambda: GAUSS[1.5], TypeError, "rows are chosen by"),
        (lambda: GAUSS[None], TypeError, "rows are chosen by"),
        (lambda: GAUSS.to_frame(levels=()), ValueError, "levels is empty"),
        (lambda: GAUSS.to_frame(levels=80), ValueError, "pass 0.95"),  # type: ignore[arg-type]
        (lambda: br.calibration_report(GAUSS, torch.zeros(4, 3), levels="x"), TypeError, "levels must be a number"),
        (lambda: CLASSES.mean, AttributeError, "continuous targets. A ClassPredictive has probabilities"),
        (lambda: CLASSES.interval(0.9), AttributeError, "continuous targets"),
        (lambda: GAUSS.probabilities, AttributeError, "class targets. A ContinuousPredictive has mean"),
        (lambda: GAUSS.nonsense, AttributeError, "has no attribute 'nonsense'$"),
    ],
)
def test_the_error_says_what_can_be_asked(question: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        question()


def test_one_level_is_a_list_of_one() -> None:
    one, several = GAUSS.to_frame(levels=0.8), GAUSS.to_frame(levels=[0.8])  # type: ignore[arg-type]
    assert one.equals(several)
    assert "lo-80" in one.columns
    assert "lo-50" in GAUSS.to_frame().columns


def test_a_report_without_draws_has_no_column_of_draws() -> None:
    target = torch.randn(40, generator=torch.Generator().manual_seed(0))
    text = str(br.calibration_report(Predictive.from_gaussian(torch.zeros(40), torch.ones(40)), target))
    assert "one distribution per target, no draws" in text
    assert "corrected" not in text
    assert text.split("figure")[1].split("\n")[0].split()[-1] == "chance"
