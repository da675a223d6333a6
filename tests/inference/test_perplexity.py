"""Perplexity against hand-made sums, enumeration of masks and one pass at a time."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical

from bayesrnn import schemes
from bayesrnn.inference._perplexity import perplexity
from bayesrnn.masks import Binding, stream
from bayesrnn.models import LanguageModel
from bayesrnn.nn.masked import bound
from bayesrnn.tuning.language import tune_perplexity
from tests.inference.language_models import Switch, language_model, text


@pytest.mark.parametrize("window", [1, 3, 35])
def test_draws_weighted_by_the_past_are_bayes_rule(window: int) -> None:
    """One unit, two masks: the probability of the whole text is (q(text) + r(text)) / 2, token by token."""
    tokens = torch.tensor([0, 0, 0, 1, 0, 1, 1, 0])
    result = perplexity(Switch(), tokens, draws=32, weighting="past", window=window)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)[:, tokens[1:]]
    joint = p.cumprod(1).mean(0)  # of both masks, after each token
    assert result.nll == pytest.approx(-float(joint[-1].log()) / 7, abs=1e-6)
    expected = torch.log(joint / torch.cat([torch.ones(1, dtype=torch.float64), joint[:-1]]))
    torch.testing.assert_close(result.log_prob[0].double(), expected, rtol=1e-5, atol=1e-6)
    before = torch.cat([torch.ones(2, 1, dtype=torch.float64), p.cumprod(1)[:, :-1]], 1)
    share = before / before.sum(0)
    every = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    mean = share.T @ every
    entropy = -(mean * mean.log()).sum(1)
    within = share.T @ -(every * every.log()).sum(1)
    torch.testing.assert_close(result.entropy[0].double(), entropy, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result.epistemic[0].double(), entropy - within, rtol=1e-4, atol=1e-6)
    equal = perplexity(Switch(), tokens, draws=32, window=window)
    assert abs(equal.nll - result.nll) > 1e-3
    with pytest.raises(ValueError, match=r"weighting='past'.* lifetime='window'"):
        perplexity(Switch(), tokens, draws=32, weighting="past", lifetime="window")


def test_the_past_against_every_mask_of_a_language_model() -> None:
    """Masks on three outputs: all 8 are run one by one, and their probabilities of the text are averaged."""
    torch.manual_seed(3)
    model = LanguageModel(4, 3, 3, 1, dropout=schemes.gal(output=0.4), init_range=1.5)
    tokens = text(30, 4)
    totals = []
    with torch.no_grad():
        for bits in itertools.product((0, 1), repeat=3):
            mask = torch.tensor(bits) / 0.6
            features, _ = model.eval().features(tokens[None, :-1], None)
            logs = torch.log_softmax(model.logits(features * mask)[0], -1)
            weight = math.prod(0.6 if b else 0.4 for b in bits)
            totals.append(math.log(weight) + float(logs.gather(1, tokens[1:, None]).sum()))
    exact = -float(torch.tensor(totals).logsumexp(0)) / 29
    found = [perplexity(model, tokens, draws=4096, weighting="past", seed=s, statistics=False).nll for s in range(2)]
    assert found == pytest.approx([exact] * 2, abs=2e-3)
    assert abs(perplexity(model, tokens, draws=4096, statistics=False).nll - exact) > 5e-3


def test_probabilities_are_averaged_before_the_logarithm() -> None:
    """One unit, rate 1/2, strata of 16: half of the draws say (.9, .1), half (.2, .8): the mean is (.55, .45)."""
    tokens = torch.tensor([0, 0, 0, 1, 0])
    result = perplexity(Switch(), tokens, draws=32)
    expected = -(3 * math.log(0.55) + math.log(0.45)) / 4
    assert result.nll == pytest.approx(expected, abs=1e-6)
    assert result.perplexity == pytest.approx(math.exp(expected), abs=1e-5)
    in_log_space = -(3 * (math.log(0.9) + math.log(0.2)) + math.log(0.1) + math.log(0.8)) / 8
    assert abs(result.nll - in_log_space) > 0.2  # the mistake this must not make
    entropy = -(0.55 * math.log(0.55) + 0.45 * math.log(0.45))
    within = (-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) - (0.8 * math.log(0.8) + 0.2 * math.log(0.2))) / 2
    torch.testing.assert_close(result.entropy, torch.full((1, 4), entropy))
    torch.testing.assert_close(result.epistemic, torch.full((1, 4), entropy - within))
    torch.testing.assert_close(result.confidence, torch.full((1, 4), 0.55))
    assert result.correct.tolist() == [[True, True, False, True]]


@pytest.mark.parametrize(
    "scheme", [schemes.gal(0.3), schemes.gal(0.3, gates="tied"), schemes.zaremba(0.3), schemes.moon(0.3)]
)
def test_draws_in_the_batch_are_one_pass_each(scheme: schemes.Scheme) -> None:
    """Each draw alone, the whole stream in one pass under its masks, is the independent answer."""
    model, tokens, draws = language_model(scheme).eval(), text(), 32
    logs = []
    for draw in range(draws):
        binding = Binding(stream("stratified", 3), torch.tensor([draw]), torch.tensor([0]))
        with torch.no_grad(), bound(model, binding):
            distribution, _ = model(tokens[None, :-1])
        logs.append(distribution.log_prob(tokens[None, 1:]))
    expected = torch.stack(logs).exp().mean(0).log()
    result = perplexity(model, tokens, draws=draws, seed=3, window=7)
    torch.testing.assert_close(result.log_prob, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"window": 5}, {"window": 100}, {"max_memory": 1}, {"max_memory": 50_000}])
def test_windows_and_memory_change_nothing(options: dict[str, int]) -> None:
    model = language_model()
    whole = perplexity(model, text(), draws=48, seed=1)
    parts = perplexity(model, text(), draws=48, seed=1, **options)
    for name in ("log_prob", "deterministic_log_prob", "block_log_prob", "entropy", "aleatoric", "confidence"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_the_deterministic_pass_stands_beside_the_draws() -> None:
    model = language_model().eval().requires_grad_(False)
    distribution, _ = model(text()[None, :-1])
    result = perplexity(model, text(), draws=16)
    expected = float(-distribution.log_prob(text()[None, 1:]).mean())
    assert result.deterministic_nll == pytest.approx(expected, abs=1e-5)
    alone = perplexity(model, text(), draws=0)
    assert alone.nll == pytest.approx(expected, abs=1e-5)
    assert alone.standard_error == 0.0
    torch.testing.assert_close(alone.entropy[0], distribution.entropy()[0])
    torch.testing.assert_close(alone.epistemic, torch.zeros(1, 39), atol=1e-5, rtol=0)


def test_rows_of_a_cut_stream_start_from_zeros() -> None:
    model, tokens = language_model(0.0).eval(), text(41)
    result = perplexity(model, tokens, draws=0, batch_size=4, window=3)
    expected = [
        model(tokens[None, 10 * r : 10 * r + 10])[0].log_prob(tokens[None, 10 * r + 1 : 10 * r + 11]) for r in range(4)
    ]
    torch.testing.assert_close(result.log_prob, torch.cat(expected).detach())
    short = perplexity(model, tokens[:-2], draws=0, batch_size=4)
    assert int(short.mask.sum()) == 38


def test_the_lifetime_says_when_masks_change() -> None:
    """Where a unit decides the distribution, `stream` draws agree along the stream, `window` draws do not."""
    tokens = torch.zeros(13, dtype=torch.long)
    kept = perplexity(Switch(), tokens, draws=1, window=3, sampling="independent").log_prob
    assert kept.unique().numel() == 1
    redrawn = perplexity(Switch(), tokens, draws=1, window=3, sampling="independent", lifetime="window").log_prob
    assert redrawn.unique().numel() == 2
    assert (redrawn.view(-1, 3) == redrawn.view(-1, 3)[:, :1]).all()


def test_word_masks_can_stay_off() -> None:
    scheme = schemes.gal(word=0.5)
    off = perplexity(language_model(schemes.gal(word=0.5, output=0.2)), text(), draws=16, drop_words=False)
    without = perplexity(language_model(schemes.gal(output=0.2)), text(), draws=16)
    torch.testing.assert_close(off.log_prob, without.log_prob)
    on = perplexity(language_model(scheme), text(), draws=16)
    assert (on.log_prob - without.log_prob).abs().max() > 1e-3
    with pytest.raises(
        ValueError, match=r"with drop_words=False: the only masks there are on word types.* drop_words=True"
    ):
        perplexity(language_model(scheme), text(), draws=16, drop_words=False)


def test_a_multiplier_scales_the_rates() -> None:
    halved = perplexity(language_model(0.4), text(), draws=16, multiplier=0.5)
    built = perplexity(language_model(0.2), text(), draws=16)
    torch.testing.assert_close(halved.log_prob, built.log_prob)
    with pytest.raises(ValueError, match=r"takes the highest rate to 1\.2"):
        perplexity(language_model(0.4), text(), multiplier=3.0)
    scheme = schemes.gal(word=0.6, output=0.2)
    kept = perplexity(language_model(scheme), text(), draws=16, drop_words=False, multiplier=2.0)
    torch.testing.assert_close(
        kept.log_prob, perplexity(language_model(schemes.gal(output=0.4)), text(), draws=16).log_prob
    )
    with pytest.raises(ValueError, match=r"takes the highest rate to 1\.2"):
        perplexity(language_model(scheme), text(), multiplier=2.0)
    with pytest.raises(ValueError, match="multiplier scales the rates"):
        perplexity(language_model(0.4), text(), multiplier=0.0)


def test_a_temperature_divides_the_logits() -> None:
    model = language_model(0.0).eval()
    features, _ = model.features(text()[None, :-1])
    expected = Categorical(logits=model.logits(features) / 1.7).log_prob(text()[None, 1:])
    torch.testing.assert_close(perplexity(model, text(), draws=0, temperature=1.7).log_prob, expected.detach())
    with pytest.raises(ValueError, match="temperature divides"):
        perplexity(model, text(), draws=0, temperature=0.0)


def test_an_ensemble_averages_the_draws_of_all_members() -> None:
    first, second = language_model(0.3), LanguageModel(9, 6, 7, 1, dropout=0.3, init_range=1.0)
    alone = [perplexity(m, text(), draws=32, seed=4) for m in (first, second)]
    both = perplexity([first, second], text(), draws=32, seed=4)
    for name in ("log_prob", "deterministic_log_prob", "block_log_prob"):
        mean = torch.stack([getattr(r, name).exp() for r in alone]).mean(0).log()
        torch.testing.assert_close(getattr(both, name), mean, rtol=1e-4, atol=1e-5)
    assert both.draws_used == 64
    assert bool((both.epistemic >= torch.stack([r.epistemic for r in alone]).mean(0) - 1e-5).all())


def test_nothing_is_disturbed() -> None:
    model = language_model().train()
    state, weights = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    perplexity(model, text(), draws=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert model.embedding.source is None
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert torch.get_float32_matmul_precision() == "highest"


def test_bfloat16_products_are_close_and_leave_the_setting_alone(native_bfloat16: None) -> None:
    exact = perplexity(language_model(), text(), draws=16)
    rounded = perplexity(language_model(), text(), draws=16, precision="bf16")
    assert rounded.nll == pytest.approx(exact.nll, rel=0.02)
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="precision must be one of"):
        perplexity(language_model(), text(), precision="int4")


def test_tuning_takes_the_best_of_what_it_tried() -> None:
    tuned = tune_perplexity(language_model(0.4), text(), draws=16, multipliers=(0.5, 1.0), temperatures=(1.0, 2.0, 4.0))
    assert tuned.perplexity == min(entry[2] for entry in tuned.grid)
    again = perplexity(
        language_model(0.4), text(), draws=16, multiplier=tuned.multiplier, temperature=tuned.temperature
    )
    assert again.perplexity == pytest.approx(tuned.perplexity, rel=1e-6)
    assert tuned.temperature > 1.0  # the text is noise: flatter distributions are better
    with pytest.raises(ValueError, match="at least one multiplier"):
        tune_perplexity(language_model(0.4), text(), multipliers=())


def test_tokens_may_come_from_anywhere() -> None:
    model = language_model()
    expected = perplexity(model, text(), draws=16).log_prob
    numbers = text().tolist()
    for tokens in (numbers, iter(numbers), (n for n in numbers), text().to(torch.uint8), text().numpy()):
        assert torch.equal(perplexity(model, tokens, draws=16).log_prob, expected)
    tuned = tune_perplexity(model, iter(numbers), draws=16, multipliers=torch.tensor([0.5, 1.0]), temperatures=(1.0,))
    assert len(tuned.grid) == 2


def test_a_module_list_is_an_ensemble() -> None:
    models = [language_model(), language_model(0.2)]
    expected = perplexity(models, text(), draws=16).log_prob
    assert torch.equal(perplexity(nn.ModuleList(models), text(), draws=16).log_prob, expected)


def test_short_whole_numbers_are_tokens() -> None:
    model = language_model().eval()
    assert torch.equal(model(text()[None].to(torch.uint8))[0].logits, model(text()[None])[0].logits)


@pytest.mark.parametrize("multipliers", [(0.2, 1.0), (1.0, 0.2)])
def test_temperatures_are_tried_at_the_best_multiplier(multipliers: tuple[float, float]) -> None:
    tuned = tune_perplexity(
        language_model(0.5), text(), draws=16, multipliers=multipliers, temperatures=(0.5, 1.0, 2.0)
    )
    best = min((entry for entry in tuned.grid if entry[1] == 1.0), key=lambda entry: entry[2])
    assert {entry[0] for entry in tuned.grid if entry[1] != 1.0} == {best[0]}
