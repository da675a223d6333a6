"""Copies of the inputs serve several passes, and what a model does to them stays in its pass."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.inference.copies import Copies
from bayesrnn.inference.nested import with_rows


class Writer(nn.Module):
    """Writes into what it is given, after a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = br.nn.Dropout(0.5)

    def forward(self, inputs: dict[str, Any]) -> Tensor:
        x = inputs.pop("x")
        return self.drop(torch.as_tensor(x).add_(1.0))


class UncountedWriter(Writer):
    """Writes where torch does not count it."""

    def forward(self, inputs: dict[str, Any]) -> Tensor:
        x = inputs["x"]
        x.numpy()[...] += 1.0
        return self.drop(x)


@pytest.mark.parametrize("memory", [300, 4000, 10**6])
def test_what_a_model_writes_unseen_stays_in_its_pass(memory: int) -> None:
    x = torch.ones(24, 3)
    result = br.predict(UncountedWriter(), {"x": x}, draws=16, likelihood=br.inference.point, max_memory=memory)
    assert set(result.draws.flatten().tolist()) == {0.0, 4.0}
    assert (x == 1.0).all()


@pytest.mark.parametrize("model", [Writer, UncountedWriter])
@pytest.mark.parametrize("memory", [1, None])
@pytest.mark.parametrize("x", [torch.ones(1, 3), torch.ones(1, 3).expand(4, 3)])
def test_rows_that_share_memory_are_copied_for_each_draw(model: type[Writer], memory: int | None, x: Tensor) -> None:
    result = br.predict(model(), {"x": x}, draws=16, likelihood=br.inference.point, max_memory=memory)
    assert set(result.draws.flatten().tolist()) == {0.0, 4.0}
    assert (x == 1.0).all()


def test_the_deterministic_pass_leaves_the_rows() -> None:
    x = torch.ones(2, 3)
    assert (br.predict(Writer(), {"x": x}, draws=0, likelihood=br.inference.point).mean == 2.0).all()
    assert (x == 1.0).all()


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
@pytest.mark.parametrize("inference", [True, False])
def test_what_a_model_writes_stays_in_its_pass(kind: Any, inference: bool) -> None:
    """Masks of 0 or 2, times 1 + 1, in every pass of 16 draws."""
    x = kind([[1.0] * 3] * 24)
    with torch.inference_mode(inference):
        result = br.predict(Writer(), {"x": x}, draws=64, likelihood=br.inference.point, max_memory=4000)
    assert set(result.draws.flatten().tolist()) == {0.0, 4.0}
    assert (x == 1.0).all()


def test_copies_are_made_once_for_the_same_rows() -> None:
    copies, rows = Copies(), torch.arange(2)
    none: dict[str, Any] = {}
    inputs, _ = with_rows((torch.arange(6.0).view(3, 2), [1, 2, 3]), 0)
    (first, numbers), _ = copies.of(inputs, none, rows, 2)
    assert torch.equal(first, torch.tensor([[0.0, 1.0], [2.0, 3.0]] * 2))
    assert numbers == [1, 2, 1, 2]
    assert copies.of(inputs, none, rows, 2)[0][0] is not first  # a list may have been written to
    inputs = inputs[:1]
    first = copies.of(inputs, none, rows, 2)[0][0]
    assert copies.of(inputs, none, rows, 2)[0][0] is first
    assert copies.of(inputs, none, rows, 3)[0][0].shape == (6, 2)
    assert torch.equal(copies.of(inputs, none, torch.arange(1, 3), 1)[0][0], torch.tensor([[2.0, 3.0], [4.0, 5.0]]))
    again = copies.of(inputs, none, rows, 2)[0][0]
    again[0].zero_()
    assert torch.equal(copies.of(inputs, none, rows, 2)[0][0], first)
