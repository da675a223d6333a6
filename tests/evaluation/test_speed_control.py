"""The table of control variates: variances carried through a network, and what a row says."""

import json

import pytest
import torch

import bayesrnn as br
from evaluation.speed import control, propagation
from evaluation.speed.propagation import Moments


def test_moments_go_through_products_and_masks_as_samples_do():
    torch.manual_seed(0)
    a, b = 1.5 + 0.4 * torch.randn(400_000), -0.7 + 0.3 * torch.randn(400_000)
    product = Moments(torch.tensor(1.5), torch.tensor(0.16)) * Moments(torch.tensor(-0.7), torch.tensor(0.09))
    assert product.mean == pytest.approx(float((a * b).mean()), abs=2e-3)
    assert product.variance == pytest.approx(float((a * b).var()), rel=0.01)
    masks = torch.bernoulli(torch.full_like(a, 0.8)) / 0.8
    assert propagation.dropped(Moments(torch.tensor(1.5), torch.tensor(0.16)), 0.2).variance == pytest.approx(
        float((a * masks).var()), rel=0.01
    )


def test_without_masks_propagation_is_the_deterministic_pass():
    layer, x = br.nn.LSTM(2, 4, 2, batch_first=True, dropout=0.2).eval(), torch.randn(3, 5, 2)
    moments = propagation.lstm(layer, x, 0.0)
    torch.testing.assert_close(moments.mean, layer(x)[0][:, -1])
    assert float(moments.variance.detach().abs().max()) == 0.0


def test_a_quick_row_has_every_method():
    rows = control.compared(True, ["0.25-1-1-trained"])
    assert set(rows[0]["methods"]) == set(control._METHODS)
    assert rows[0]["methods"]["first order"]["sd"] < 0.3
    text = control.markdown(json.loads(json.dumps({"rows": rows})))
    assert text.splitlines()[-1].startswith("| 0.25, 1, 1 | trained |")
