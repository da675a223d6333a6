"""`SequenceRegressor` and `SequenceClassifier` against torch's layers and closed forms."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Categorical, NegativeBinomial, Normal, Poisson, StudentT

from bayesrnn import schemes
from bayesrnn.inference import predict
from bayesrnn.models import SequenceClassifier, SequenceRegressor

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def as_torch(model: SequenceRegressor | SequenceClassifier, cell: str) -> nn.Module:
    ours = model.encoder.recurrent
    layer = TORCH[cell](
        ours.input_size, ours.hidden_size, ours.num_layers, batch_first=True, bidirectional=ours.bidirectional
    )
    layer.load_state_dict(ours.state_dict())
    return layer


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_deterministic_pass_is_torchs_layer_and_a_linear_map(cell: str, bidirectional: bool, every_step: bool) -> None:
    model = SequenceRegressor(
        3, 5, 2, dropout=0.3, cell=cell, bidirectional=bidirectional, every_step=every_step
    ).eval()
    x, lengths = torch.randn(4, 7, 3), torch.tensor([7, 1, 4, 6])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    outputs, state = as_torch(model, cell)(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    last = state[0] if cell == "lstm" else state
    features = padded if every_step else torch.cat(list(last[-2:] if bidirectional else last[-1:]), -1)
    mean, log_variance = (features @ model.head.linear.weight.T + model.head.linear.bias).unbind(-1)
    distribution = model(x, lengths)
    assert isinstance(distribution, Normal)
    assert distribution.batch_shape == ((4, 7) if every_step else (4,))
    torch.testing.assert_close(distribution.mean, mean)
    torch.testing.assert_close(distribution.stddev, torch.exp(log_variance / 2))


def test_tokens_go_through_the_embedding() -> None:
    model = SequenceClassifier(vocabulary=11, hidden_size=5, embedding_size=4, classes=3, padding_idx=0).eval()
    tokens = torch.randint(1, 11, (6, 8))
    _, (hidden, _) = as_torch(model, "lstm")(model.encoder.embedding.weight[tokens])
    expected = torch.softmax(hidden[0] @ model.head.linear.weight.T + model.head.linear.bias, -1)
    distribution = model(tokens)
    assert isinstance(distribution, Categorical)
    torch.testing.assert_close(distribution.probs, expected)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_padding_changes_nothing(length: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = SequenceRegressor(2, 4, 2, cell="gru", bidirectional=True).eval()
    x = torch.randn(1, 6, 2)
    distribution = model(x, torch.tensor([length]))
    torch.testing.assert_close(distribution.mean, model(x[:, :length]).mean)


@pytest.mark.parametrize(
    ("likelihood", "distribution", "numbers"),
    [
        ("gaussian", Normal, 2),
        ("homoscedastic", Normal, 1),
        ("student_t", StudentT, 3),
        ("poisson", Poisson, 1),
        ("negative_binomial", NegativeBinomial, 2),
    ],
)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("every_step", [False, True])
def test_likelihoods_and_shapes(
    likelihood: str, distribution: type, numbers: int, outputs: int, every_step: bool
) -> None:
    model = SequenceRegressor(2, 4, outputs=outputs, likelihood=likelihood, dropout=0.2, every_step=every_step)
    x = torch.randn(5, 6, 2)
    found = model(x)
    shape = (5,) + ((6,) if every_step else ()) + ((3,) if outputs == 3 else ())
    assert isinstance(found, distribution)
    assert found.batch_shape == shape
    assert model.head.linear.out_features == outputs * numbers
    assert torch.isfinite(found.log_prob(torch.ones(shape))).all()
    predictive = predict(model, x, draws=16)
    assert predictive.mean.shape == shape
    assert (predictive.epistemic > 0).all()


def test_homoscedastic_noise_is_the_same_for_all_rows_and_learned() -> None:
    model = SequenceRegressor(1, 4, outputs=2, likelihood="homoscedastic")
    with torch.no_grad():
        model.head.log_variance.copy_(torch.tensor([math.log(4.0), math.log(9.0)]))
    distribution = model(torch.randn(5, 3, 1))
    torch.testing.assert_close(distribution.stddev, torch.tensor([2.0, 3.0]).expand(5, 2))
    distribution.log_prob(torch.zeros(5, 2)).sum().backward()
    assert (model.head.log_variance.grad != 0).all()


@pytest.mark.parametrize("likelihood", ["gaussian", "homoscedastic", "student_t"])
def test_standardize_is_a_change_of_units(likelihood: str) -> None:
    """In units (x - 5) / 3 and (y - 100) / 20, the plain model says what the standardized one says in x and y."""
    torch.manual_seed(0)
    plain = SequenceRegressor(2, 4, likelihood=likelihood).eval()
    scaled = SequenceRegressor(**plain.config()).eval()
    x, y = torch.randn(50, 6, 2), torch.randn(50)
    x = (x - x.mean((0, 1))) / x.std((0, 1), correction=0)
    y = (y - y.mean()) / y.std(correction=0)
    scaled.load_state_dict(plain.state_dict())
    scaled.standardize(3 * x + 5, 20 * y + 100)
    expected, found = plain(x), scaled(3 * x + 5)
    torch.testing.assert_close(found.mean, 20 * expected.mean + 100, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.stddev, 20 * expected.stddev, rtol=1e-4, atol=1e-4)
    shift = expected.log_prob(y) - math.log(20.0)
    torch.testing.assert_close(found.log_prob(20 * y + 100), shift, rtol=1e-3, atol=1e-3)


def test_standardize_leaves_padding_counts_tokens_and_constants_alone() -> None:
    x, lengths = torch.randn(3, 4, 2), torch.tensor([1, 4, 2])
    inside = torch.cat([x[i, :n] for i, n in enumerate(lengths)])
    model = SequenceRegressor(2, 4, likelihood="poisson")
    model.standardize(x, torch.full((3,), 50.0), lengths)
    torch.testing.assert_close(model.encoder.input_mean, inside.mean(0))
    torch.testing.assert_close(model.encoder.input_std, inside.std(0, correction=0))
    assert (model.head.target_mean, model.head.target_std) == (torch.zeros(1), torch.ones(1))
    constant = SequenceRegressor(1, 4)
    constant.standardize(torch.full((3, 4, 1), 0.1), torch.full((3,), 1e6))
    assert constant.encoder.input_std.item() == constant.head.target_std.item() == 1.0
    tokens = SequenceClassifier(vocabulary=5, hidden_size=4)
    before = {key: value.clone() for key, value in tokens.state_dict().items()}
    tokens.standardize(torch.randint(0, 5, (3, 4)))
    assert all(torch.equal(before[key], value) for key, value in tokens.state_dict().items())


def test_ordinal_starts_with_ordered_classes_and_all_probabilities() -> None:
    model = SequenceClassifier(2, 4, classes=5, likelihood="ordinal").eval()
    with torch.no_grad():
        model.head.linear.weight.zero_()
    probabilities = model(torch.randn(3, 4, 2)).probs[0]
    thresholds = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    cumulative = torch.cat([torch.zeros(1), torch.sigmoid(thresholds), torch.ones(1)])
    torch.testing.assert_close(probabilities, cumulative.diff())


def test_sites_of_the_scheme_reach_their_layers() -> None:
    model = SequenceClassifier(vocabulary=9, hidden_size=4, dropout=schemes.gal(word=0.1, hidden=0.2, output=0.3))
    assert model.encoder.embedding.placements()["word"].rate == 0.1
    assert {key: p.rate for key, p in model.encoder.recurrent.placements().items()} == {"hidden_l0": 0.2}
    assert model.encoder.dropout.placements()["output"].rate == 0.3
    stepwise = SequenceRegressor(2, 4, dropout=schemes.naive(0.4))
    assert stepwise.encoder.dropout.span == "step"
    plain = SequenceRegressor(2, 4, dropout=schemes.none())
    assert isinstance(plain.encoder.dropout, nn.Identity)


@pytest.mark.parametrize("scheme", [schemes.gal(hidden=0.2), schemes.moon(0.2), schemes.zaremba(input=0.2)])
def test_sites_that_a_scheme_leaves_out_raise_no_alarm(scheme: schemes.Scheme) -> None:
    model = SequenceClassifier(vocabulary=9, hidden_size=4, dropout=scheme)
    predictive = predict(model, torch.randint(0, 9, (3, 5)), draws=16)  # warnings are errors here
    assert (predictive.epistemic > 0).all()


def test_output_mask_is_one_along_the_steps() -> None:
    model = SequenceRegressor(1, 50, dropout=schemes.gal(output=0.5), every_step=True).train()
    seen: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(torch.randn(3, 6, 1))
    dropped = seen[0] == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])


@pytest.mark.parametrize(
    "model",
    [
        SequenceRegressor(input_size=3, hidden_size=8, dropout=0.2),
        SequenceRegressor(
            None, 8, 2, 3, schemes.moon(0.2), "lstm", "student_t", vocabulary=20, embedding_size=4, padding_idx=1
        ),
        SequenceClassifier(3, 8, 4, dropout=schemes.gal(input=0.1, gates="tied"), cell="rnn", bidirectional=True),
        SequenceClassifier(vocabulary=7, likelihood="ordinal", classes=5, every_step=True),
    ],
)
def test_config_rebuilds(model: SequenceRegressor | SequenceClassifier) -> None:
    config = json.loads(json.dumps(model.config()))
    again = type(model)(**config)
    assert again.config() == model.config()
    assert again.scheme == model.scheme
    again.load_state_dict(model.state_dict())
    x = torch.randint(0, 7, (2, 5)) if config["vocabulary"] else torch.randn(2, 5, 3)
    assert torch.equal(again.eval()(x).mean, model.eval()(x).mean) or torch.isnan(model(x).mean).all()
