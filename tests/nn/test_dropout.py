"""A mask for all steps, or one for each."""

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("mode", ["train", "bound"])
def test_span_says_whether_steps_share_a_mask(batch_first: bool, mode: str) -> None:
    x = torch.ones(6, 4, 50)
    rows = 6 if batch_first else 4
    for span in ("sequence", "step"):
        layer = bnn.Dropout(0.5, span, batch_first=batch_first).train(mode == "train")
        if mode == "train":
            z = layer(x)
        else:
            with bound(layer, Binding(stream("independent", 0), torch.arange(1), torch.arange(rows))):
                z = layer(x)
        z = z if batch_first else z.transpose(0, 1)
        assert set(z.flatten().tolist()) == {0.0, 2.0}
        assert bool((z == z[:, :1]).all()) is (span == "sequence")
        assert not torch.equal(z[0], z[1])


def test_masks_given_and_none() -> None:
    x, mask = torch.randn(2, 3, 4), torch.tensor([[0.0, 2.0, 2.0, 0.0]])
    assert torch.equal(bnn.Dropout(0.5)(x, masks=mask), x * mask)
    assert bnn.Dropout(0.5).eval()(x) is x
    assert bnn.Dropout(0.0).train()(x) is x
    assert bnn.Dropout(0.5).train()(torch.ones(2, 3)).shape == (2, 3)


def test_mean_is_kept() -> None:
    assert abs(bnn.Dropout(0.3).train()(torch.ones(400, 2, 50)).mean() - 1.0) < 0.02


def test_errors() -> None:
    layer = bnn.Dropout(0.5)
    with pytest.raises(ValueError, match=r"its shape is \(3,\)"):
        layer(torch.ones(3))
    with pytest.raises(ValueError, match=r"the mask 'output' must have shape \(2, 4\)"):
        layer(torch.ones(2, 3, 4), masks=torch.ones(3, 4))
    with pytest.raises(ValueError, match="span must be one of 'sequence', 'step'"):
        bnn.Dropout(0.5, "window")
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        bnn.Dropout(1.0)
    with (
        bound(layer, Binding(stream("independent", 0), torch.arange(2), torch.arange(2))),
        pytest.raises(ValueError, match=r"bound to 4 rows .* given 3"),
    ):
        layer(torch.ones(3, 2, 4))


@pytest.mark.parametrize("rate", [0.7 - 0.2, 0.35 - 0.1, 0.9375 - 1e-17, 0.3 * 5 / 8])
@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_the_mean_of_a_mask_is_one_at_rates_made_by_arithmetic(rate: float, sampling: str) -> None:
    layer, draws = bnn.Dropout(rate).eval(), 96
    with bound(layer, Binding(stream(sampling, 0), torch.arange(draws), torch.arange(1))):
        z = layer(torch.ones(draws, 1, 4000))
    spread = (rate / (1 - rate) / z.numel()) ** 0.5
    assert abs(float(z.mean()) - 1.0) < (1e-6 if sampling == "stratified" and rate * 16 % 1 > 0.999 else 5 * spread)
    assert float((z == 0).double().mean()) == pytest.approx(rate, abs=5 * spread)
