"""Numbers of the user in every form become one tensor, in the order in which they lie."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bayesrnn as br
from bayesrnn._checks import as_values

VALUES = np.array([3.0, 1.0, 2.0, 5.0])


def forms(values: np.ndarray) -> dict[str, Any]:
    backward = pd.Series(values[::-1].copy(), index=range(len(values)))
    read_only = values.copy()
    read_only.flags.writeable = False
    return {
        "tensor": torch.tensor(values),
        "array": values,
        "reversed view": values[::-1].copy()[::-1],
        "read-only": read_only,
        "list": values.tolist(),
        "tuple": tuple(values.tolist()),
        "list of tensors": list(torch.tensor(values)),
        "series whose index lacks 0": pd.Series(values, index=[7, 3, 9, 100]),
        "series with its index shuffled": backward.iloc[::-1],
        "nullable series": pd.Series(values.astype(int)).astype("Int64"),
        "object": values.astype(object),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", list(forms(VALUES)))
def test_every_form_scores_alike(form: str) -> None:
    p = br.Predictive.from_gaussian(torch.tensor([2.0, 1.0, 4.0, 4.0]), torch.ones(4))
    target = forms(VALUES)[form]
    assert as_values(target, "target").double().tolist() == VALUES.tolist()
    assert float(br.metrics.rmse(p, target)) == pytest.approx(np.sqrt((1 + 0 + 4 + 1) / 4))
    assert p.log_prob(target).tolist() == p.log_prob(torch.tensor(VALUES)).tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "uint32", "int64", "bool", "float16", "float32"])
def test_every_type_of_number(dtype: str) -> None:
    values = np.array([0, 1, 1]).astype(dtype)
    assert as_values(values, "target").tolist() == values.tolist()
    p = br.Predictive.from_probabilities(torch.full((1, 3, 2), 0.5))
    assert float(br.metrics.nll(p, pd.Series(values, index=[5, 6, 7]))) == pytest.approx(np.log(2))


def test_frames_have_a_column_per_target() -> None:
    assert as_values(pd.DataFrame({"a": [1, 2], "b": [0.5, 4]}), "target").tolist() == [[1, 0.5], [2, 4]]


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        (pd.Series(["a", "b"]), TypeError, "target must be numbers .*a Series of"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), TypeError, "datetime64"),
        (np.array([1, None], dtype=object), TypeError, "for missing values NaN"),
        ([[1.0, 2.0], [3.0]], ValueError, "rows of unequal lengths"),
        ({"a": 1}, TypeError, "a dict of"),
    ],
)
def test_what_is_no_number_is_refused(values: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        as_values(values, "target")
