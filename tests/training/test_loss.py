"""The default loss against closed forms, and padding kept out of it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal, Poisson
from torch.nn import functional as F

from bayesrnn import likelihoods
from bayesrnn.nn.sequences import padding
from bayesrnn.training import fit
from bayesrnn.training.loss import apply_loss, masked_mean, negative_log_likelihood


def test_gaussian_against_the_formula() -> None:
    mean, std, y = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([1.0, -1.0])
    expected = [0.5 * math.log(2 * math.pi) + 0.5, 0.5 * math.log(2 * math.pi) + math.log(3.0) + 0.5]
    assert negative_log_likelihood(Normal(mean, std), y).tolist() == pytest.approx(expected, rel=1e-6)


def test_joint_distribution_counts_its_event() -> None:
    distribution = Independent(Normal(torch.zeros(4, 3), torch.ones(4, 3)), 1)
    assert negative_log_likelihood(distribution, torch.zeros(4, 3)).tolist() == pytest.approx(
        [1.5 * math.log(2 * math.pi)] * 4
    )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 2**31))
def test_masked_mean_is_the_mean_of_what_is_inside(lengths: list[int], seed: int) -> None:
    values = torch.randn(len(lengths), 6, 2, generator=torch.Generator().manual_seed(seed)).double()
    inside = np.concatenate([values[i, :n].numpy().ravel() for i, n in enumerate(lengths)])
    mean, count = masked_mean(values, torch.tensor(lengths), 6)
    assert count == inside.size
    assert float(mean) == pytest.approx(inside.mean(), abs=1e-12)


def test_padding_may_hold_anything_even_nan() -> None:
    values = torch.tensor([[1.0, float("nan")], [3.0, 5.0]])
    assert masked_mean(values, torch.tensor([1, 2]), 2) == (torch.tensor(3.0), 3)


def test_scalar_loss_counts_for_its_rows() -> None:
    assert masked_mean(torch.tensor(2.0), None, None, rows=7) == (torch.tensor(2.0), 7)


class Padded(nn.Module):
    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return x


def test_lengths_are_found_by_the_name_of_the_argument() -> None:
    x, lengths = torch.zeros(3, 4, 2), torch.tensor([1, 2, 4])
    per_step, per_row = torch.zeros(3, 4), torch.zeros(3)
    assert padding(Padded(), (x, lengths), {}, per_step) == (lengths, 4)
    assert padding(Padded(), (x,), {"lengths": lengths}, per_step) == (lengths, 4)
    assert padding(Padded(), (), {"x": x, "lengths": lengths}, per_step) == (lengths, 4)
    assert padding(Padded(), (x, lengths), {}, per_row) == (None, None)
    assert padding(Padded(), (x,), {}, per_step) == (None, None)
    assert padding(Padded(), (x, lengths), {}, torch.zeros(3, 2)) == (None, None)  # two targets a row, not steps


def test_a_model_may_say_that_its_targets_are_no_steps() -> None:
    model = Padded()
    model.every_step = False  # type: ignore[assignment]
    assert padding(model, (torch.zeros(3, 4, 2), torch.ones(3)), {}, torch.zeros(3, 4)) == (None, None)


@pytest.mark.parametrize(
    ("distribution", "target", "kind", "text"),
    [
        (torch.zeros(2), torch.zeros(2), TypeError, "the model returned a Tensor, but the default loss needs"),
        (Normal(torch.zeros(2), 1.0), torch.zeros(2, 1), ValueError, r"target has shape \(2, 1\), .* about \(2,\)"),
        (Categorical(torch.ones(2, 3)), torch.tensor([0, 3]), ValueError, "must lie in 0..2, .* from 0 to 3"),
        (Categorical(torch.ones(2, 3)), torch.tensor([-1, 2]), ValueError, "must lie in 0..2, .* from -1 to 2"),
        (Categorical(torch.ones(2, 3)), torch.zeros(2), ValueError, "must be whole numbers in 0..2"),
        (Poisson(torch.ones(2)), torch.tensor([1.0, -1.0]), ValueError, "1 targets lie outside the support of Poisson"),
        (Poisson(torch.ones(2)), torch.tensor([1.5, 0.5]), ValueError, "2 targets lie outside the support of Poisson"),
    ],
)
def test_targets_that_do_not_fit(distribution: object, target: torch.Tensor, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        negative_log_likelihood(distribution, target)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_bernoulli_targets_of_any_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    target = torch.arange(math.prod(shape)).reshape(shape) % 2
    expected = torch.where(target == 1, -logits.sigmoid().log(), -(1 - logits.sigmoid()).log())
    torch.testing.assert_close(negative_log_likelihood(Bernoulli(logits=logits), target.to(dtype)).float(), expected)
    joint = Independent(Bernoulli(logits=logits), 1)
    torch.testing.assert_close(negative_log_likelihood(joint, target.to(dtype)).float(), expected.sum(-1))


def test_whole_number_targets_of_other_distributions() -> None:
    mean, y = torch.tensor([0.5, 3.0]), torch.tensor([1, 3])
    for distribution in (Normal(mean, 1.0), Poisson(mean), likelihoods.negative_binomial(torch.zeros(2, 2))):
        expected = -distribution.log_prob(y.float())
        assert torch.equal(negative_log_likelihood(distribution, y), expected)
        assert torch.equal(negative_log_likelihood(distribution, y.tolist()), expected)
    with pytest.raises(ValueError, match=r"2 targets lie outside the support of Bernoulli"):
        negative_log_likelihood(Bernoulli(logits=torch.zeros(3)), torch.tensor([0, 2, -1]))


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "loss",
    [
        lambda output, y: (output - y) ** 2,
        lambda output, y: ((output - y) ** 2).mean(),
        lambda output, y: torch.where(y > output, y, output).sum(),
        F.mse_loss,
        nn.L1Loss(),
        lambda output, y: F.huber_loss(output, target=y),
        lambda output, y: F.poisson_nll_loss(output, y),
    ],
)
def test_a_loss_that_puts_rows_beside_other_rows_is_refused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    x, y = torch.randn(8, 3), torch.randn(8)
    with pytest.raises(ValueError, match=r"output of shape \(8, 1\) and a target of shape \(8,\)"):
        fit(nn.Linear(3, 1), (x, y), loss=loss, epochs=1, progress=False)


def test_what_compares_rows_by_intent_or_not_at_all_is_taken() -> None:
    output, y, classes = torch.randn(6, 1, requires_grad=True), torch.randn(6), torch.tensor([0, 1, 2, 0, 1, 2])
    logits = torch.randn(6, 3, requires_grad=True)
    both = {"z": logits, "mean": output[:, 0]}
    quantiles = torch.tensor([0.1, 0.5, 0.9])

    def pinball(output: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(quantiles * (y[:, None] - output), (quantiles - 1) * (y[:, None] - output))

    def ranks(output: Tensor, y: Tensor) -> Tensor:
        return F.relu(1 - (output - output.T) * (y[:, None] - y).sign()).mean()

    def latent(parts: dict[str, Tensor], y: Tensor) -> Tensor:
        return parts["z"].square() + (parts["mean"] - y)[:, None] ** 2

    assert apply_loss(lambda output, y: (output.squeeze(-1) - y) ** 2, output, y).shape == (6,)
    assert apply_loss(lambda output, y: (output - y[:, None]) ** 2, output, y).shape == (6, 1)
    assert apply_loss(lambda output, y: (output[:, 0] - y).square().mean()[None], output, y).shape == (1,)
    assert apply_loss(ranks, output, y).shape == ()
    assert apply_loss(pinball, logits, y).shape == (6, 3)
    assert apply_loss(latent, both, y).shape == (6, 3)
    assert apply_loss(nn.CrossEntropyLoss(reduction="none"), logits, classes).shape == (6,)
    assert apply_loss(F.multi_margin_loss, logits, classes).shape == ()


def test_numbers_of_a_strange_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"<lambda> returns numbers of shape \(4, 4\) .* target of shape \(4,\)"):
        apply_loss(lambda output, y: (output["mean"] - y) ** 2, {"mean": torch.zeros(4, 1)}, torch.zeros(4))
    with pytest.raises(ValueError, match=r"returns numbers of shape \(3,\)"):
        apply_loss(lambda output, y: (output - y).mean(0), torch.zeros(4, 3), torch.zeros(4, 3))
