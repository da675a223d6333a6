"""Power means of draws against enumeration of all masks, normalisation included."""

import itertools
import math

import pytest
import torch

from bayesrnn import schemes
from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.text_reading import TextReading
from bayesrnn.models import LanguageModel
from bayesrnn.tuning.language import tune_perplexity
from tests.inference.test_perplexity import Switch, language_model, text


def every_mask(tokens, size=3):
    """Return a model with masks on its outputs, and the log distributions (M, T, V) and weights (M,) of all masks."""
    torch.manual_seed(3)
    model = LanguageModel(4, 3, size, 1, dropout=schemes.gal(output=0.4), init_range=1.5)
    logs, weights = [], []
    with torch.no_grad():
        for bits in itertools.product((0, 1), repeat=size):
            features, _ = model.eval().features(tokens[None, :-1], None)
            logits = model.logits(features * (torch.tensor(bits) / 0.6))[0].double()
            logs.append(torch.log_softmax(logits, -1))
            weights.append(math.prod(0.6 if b else 0.4 for b in bits))
    return model, torch.stack(logs), torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("average", ["arithmetic", "geometric", 0.5, 2.0, -1.0, 1e-6])
@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_power_means_against_every_mask(average, temperature):
    tokens = text(30, 4)
    model, logs, weights = every_mask(tokens)
    power = {"arithmetic": 1.0, "geometric": 0.0}.get(average, average)
    w = weights[:, None, None]
    mean = (w * logs).sum(0) if power == 0 else (w * (power * logs).exp()).sum(0).log() / power
    p = (mean / temperature).exp()
    p = p / p.sum(-1, keepdim=True)  # over the vocabulary
    exact = -float(p.gather(1, tokens[1:, None]).log().mean())
    options = {"average": average, "temperature": temperature, "temperature_of": "mean"}
    result = perplexity(model, tokens, draws=4096, **options)
    assert result.nll == pytest.approx(exact, abs=2e-3)
    torch.testing.assert_close(result.confidence[0].double(), p.amax(-1), rtol=0.02, atol=0.005)
    pieces = perplexity(model, tokens, draws=4096, max_memory=20_000, window=7, statistics=False, **options)
    torch.testing.assert_close(pieces.log_prob, result.log_prob, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", [1e-7, -1e-8, 1e-10, -1e-13, 1e-17, 5e-324])
def test_powers_near_0_are_near_the_geometric_mean(average):
    model, tokens = language_model(0.5), text()
    near, limit = (perplexity(model, tokens, draws=16, average=power) for power in (average, "geometric"))
    torch.testing.assert_close(near.log_prob, limit.log_prob, rtol=1e-5, atol=1e-6)


def test_two_draws_by_hand():
    """Half of the draws say (.9, .1), half (.2, .8)."""
    tokens = torch.tensor([0, 0, 1])
    geometric = torch.tensor([math.sqrt(0.9 * 0.2), math.sqrt(0.1 * 0.8)])
    expected = (geometric / geometric.sum()).log()
    result = perplexity(Switch(), tokens, draws=32, average="geometric")
    torch.testing.assert_close(result.log_prob[0], expected)
    torch.testing.assert_close(result.entropy, perplexity(Switch(), tokens, draws=32).entropy)
    assert result.standard_error is None


def test_temperature_of_draws_and_of_the_mean_agree_for_the_geometric_mean():
    model, tokens = language_model(), text()
    options = {"draws": 32, "average": "geometric", "temperature": 1.4}
    both = [perplexity(model, tokens, temperature_of=of, **options).log_prob for of in ("draws", "mean")]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)


def test_the_deterministic_pass_has_the_temperature_too():
    model, tokens = language_model(), text()
    results = [
        perplexity(model, tokens, draws=16, temperature=1.4, temperature_of=of).deterministic_nll
        for of in ("draws", "mean")
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-5)


def test_windows_may_begin_with_the_deterministic_state():
    model, tokens = language_model().eval(), text(21)
    result = perplexity(model, tokens, draws=16, seed=2, window=10, carry="deterministic")
    own = perplexity(model, tokens, draws=16, seed=2, window=10)
    torch.testing.assert_close(result.log_prob[:, :10], own.log_prob[:, :10])
    assert (result.log_prob[:, 10:] - own.log_prob[:, 10:]).abs().max() > 1e-3
    from bayesrnn.masks import Binding, stream
    from bayesrnn.nn.masked import bound

    with torch.no_grad():
        state = model.features(tokens[None, :10], None)[1]
        logs = []
        for draw in range(16):
            with bound(model, Binding(stream("stratified", 2), torch.tensor([draw]), torch.tensor([0]))):
                features, _ = model.features(tokens[None, 10:20], state)
            logs.append(torch.log_softmax(model.logits(features), -1).gather(-1, tokens[None, 11:21, None])[..., 0])
    expected = torch.stack(logs).exp().mean(0).log()
    torch.testing.assert_close(result.log_prob[:, 10:], expected, rtol=1e-4, atol=1e-5)


def test_tuning_chooses_an_average_and_goes_on_where_the_best_temperature_is_the_last():
    tuned = tune_perplexity(
        language_model(0.4), text(), draws=16, multipliers=(1.0,), averages=(1.0, 0.5, "geometric"),
        temperatures=(1.0, 1.2), temperature_of="mean",
    )  # fmt: skip
    assert tuned.temperature > 1.2
    assert tuned.perplexity == min(entry[2] for entry in tuned.grid)
    assert {entry[3] for entry in tuned.grid} == {1.0, 0.5, "geometric"}
    ends = sorted(entry[1] for entry in tuned.grid)
    assert ends[-1] > tuned.temperature or len(ends) > 12  # one step too far was tried
    again = perplexity(
        language_model(0.4), text(), draws=16, average=tuned.average, temperature=tuned.temperature,
        temperature_of="mean",
    )  # fmt: skip
    assert again.perplexity == pytest.approx(tuned.perplexity, rel=1e-5)


@pytest.mark.parametrize("temperature_of", ["draws", "mean"])
@pytest.mark.parametrize("models", [1, 2])
def test_settings_of_one_reading_are_those_of_their_own(monkeypatch, temperature_of, models):
    readings = []
    predictives = TextReading.predictives

    def counted(self, models, tokens, averagings):
        readings.append(averagings)
        return predictives(self, models, tokens, averagings)

    monkeypatch.setattr(TextReading, "predictives", counted)
    networks = [language_model(0.4) for _ in range(models)]
    options = {"draws": 16, "temperature_of": temperature_of, "window": 7, "max_memory": 20_000}
    tuned = tune_perplexity(
        networks, text(), multipliers=(0.5, 1.0), averages=("arithmetic", 0.5, "geometric"), temperatures=(1.0, 1.2),
        **options,
    )  # fmt: skip
    assert len(tuned.grid) > 6
    assert len(readings) < len(tuned.grid) - 1
    for multiplier, temperature, value, average in tuned.grid:
        settings = {"multiplier": multiplier, "temperature": temperature, "average": average, **options}
        assert perplexity(networks, text(), statistics=False, **settings).perplexity == value


def test_weights_of_the_past_are_tuned_reading_by_reading():
    model, options = language_model(0.4), {"draws": 16, "weighting": "past"}
    tuned = tune_perplexity(model, text(), multipliers=(1.0,), temperatures=(1.0, 1.3), **options)
    for _, temperature, value, _ in tuned.grid:
        assert perplexity(model, text(), temperature=temperature, **options).perplexity == pytest.approx(value)


@pytest.mark.parametrize("option", ["temperature", "multiplier", "statistics", "drops_words"])
def test_what_is_tuned_or_unknown_is_refused(option):
    with pytest.raises(TypeError, match=f"passes .* on to perplexity, but {option} was given"):
        tune_perplexity(language_model(), text(), draws=16, **{option: 1.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": "harmonic"}, "average must be one of"),
        ({"average": math.nan}, "average must be 'arithmetic', 'geometric' or the power"),
        ({"average": -1e38}, r"between -1e\+30 and 1e\+30, but -1e\+38 was given"),
        ({"temperature_of": "both"}, "temperature_of must be one of"),
        ({"carry": "none"}, "carry must be one of"),
        ({"average": "geometric", "weighting": "past"}, "Bayes' rule for the mean of probabilities"),
    ],
)
def test_wrong_averages_are_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        perplexity(language_model(), text(), draws=16, **options)


def test_distributions_are_normalized():
    logs = torch.log_softmax(torch.randn(5, 2, 7), -1)
    for power in (-2.0, 0.0, 0.3, 1.0, 4.0):
        averaging = Averaging(power, 0.7)
        total = averaging.add(averaging.add(None, logs[:2]), logs[2:])
        torch.testing.assert_close(averaging.distribution(total, 5).exp().sum(-1), torch.ones(2))
