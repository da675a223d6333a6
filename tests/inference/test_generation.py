"""Text written by a model."""

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.generation import generate
from bayesrnn.models import LanguageModel


def language_model(dropout: float | schemes.Scheme = 0.3) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(12, 6, 6, 2, dropout=dropout, init_range=0.8)


PROMPT = torch.tensor([3, 1, 4])


def test_what_is_said_of_each_token_is_what_perplexity_says_of_the_text() -> None:
    model = language_model()
    made = generate(model, PROMPT, length=8, draws=32, seed=5)
    judged = perplexity(model, torch.cat([PROMPT, made.tokens]), draws=32, seed=5)
    torch.testing.assert_close(made.log_prob, judged.log_prob[0, 2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.entropy, judged.entropy[0, 2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.epistemic, judged.epistemic[0, 2:], rtol=1e-3, atol=1e-5)


def test_the_text_is_a_function_of_the_seed_and_nothing_is_disturbed() -> None:
    model = language_model().train()
    first = generate(model, PROMPT, length=20, seed=2)
    state = torch.get_rng_state()
    again = generate(model, PROMPT, length=20, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.tokens, generate(model, PROMPT, length=20, seed=3).tokens)


def test_temperature_zero_takes_the_most_probable_token() -> None:
    model = language_model(0.0).eval()
    made = generate(model, PROMPT, length=1, draws=0, temperature=0.0)
    distribution, _ = model(PROMPT[None])
    assert int(made.tokens[0]) == int(distribution.logits[0, -1].argmax())
    assert float(made.epistemic[0]) == 0.0


def test_tokens_come_as_often_as_the_distribution_says() -> None:
    model = language_model(0.0).eval().requires_grad_(False)
    distribution = model(PROMPT[None])[0].probs[0, -1]
    chosen = torch.tensor([int(generate(model, PROMPT, length=1, draws=0, seed=s).tokens[0]) for s in range(400)])
    share = torch.bincount(chosen, minlength=12) / 400
    assert bool(((share - distribution).abs() < 4 * (distribution * (1 - distribution) / 400).sqrt() + 1e-3).all())


@pytest.mark.parametrize("draws", [0, 16])
def test_improbable_tokens_keep_their_probability_at_high_temperatures(draws: int) -> None:
    model, logits = language_model(0.0 if not draws else 0.3), torch.tensor([0.0, -60.0, -150.0, *[-1000.0] * 9])
    with torch.no_grad():
        model.decoder_weight.zero_()  # type: ignore[union-attr]
        model.decoder_bias.copy_(logits)
    made = generate(model, PROMPT, length=1500, draws=draws, temperature=40.0)
    expected = torch.softmax(logits / 40.0, 0)
    share = torch.bincount(made.tokens, minlength=12) / 1500
    assert bool(((share - expected).abs() <= 4 * (expected * (1 - expected) / 1500).sqrt() + 1e-9).all())
    torch.testing.assert_close(made.log_prob, torch.log_softmax(logits, 0)[made.tokens])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_are_nan_are_refused(temperature: float) -> None:
    model = language_model()
    with torch.no_grad():
        model.decoder_bias[4] = torch.nan
    with pytest.raises(ValueError, match="the model's log probabilities are NaN"):
        generate(model, PROMPT, length=2, draws=16, temperature=temperature)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="the prompt must hold at least one token"):
        generate(language_model(), torch.tensor([], dtype=torch.long))
    with pytest.raises(ValueError, match=r"must be one text, .* but its shape is \(1, 3\)"):
        generate(language_model(), PROMPT[None])
    with pytest.raises(ValueError, match="must be 0 or more and finite, but -1"):
        generate(language_model(), PROMPT, temperature=-1.0)
    with pytest.raises(ValueError, match="nothing in this model is stochastic"):
        generate(language_model(0.0), PROMPT)


def test_masks_of_weights_are_drawn_one_by_one() -> None:
    model = language_model(schemes.weight_drop(0.3))
    made = generate(model, PROMPT, length=5, draws=16, seed=5)
    judged = perplexity(model, torch.cat([PROMPT, made.tokens]), draws=16, seed=5)
    torch.testing.assert_close(made.log_prob, judged.log_prob[0, 2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.entropy, judged.entropy[0, 2:], rtol=1e-4, atol=1e-5)


def test_a_prompt_may_be_any_whole_numbers() -> None:
    model = language_model()
    expected = generate(model, PROMPT, length=4, draws=16).tokens
    for prompt in ([3, 1, 4], iter([3, 1, 4]), PROMPT.to(torch.uint8), PROMPT.numpy()):
        assert torch.equal(generate(model, prompt, length=4, draws=16).tokens, expected)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"prompt": "abc"}, TypeError, r"prompt tokens must be whole numbers.*'abc' \(str\).*vocabulary\.encode"),
        ({"prompt": None}, TypeError, "prompt tokens must be whole numbers"),
        ({"prompt": [1, -2]}, ValueError, "-2 was given at place 1"),
        ({"prompt": [1, 12]}, ValueError, r"tokens must lie in 0\.\.11"),
        ({"prompt": [1.5]}, ValueError, "the prompt must be token numbers"),
        ({"model": bnn.GRU(3, 4, dropout=0.1)}, TypeError, "this GRU cannot read token numbers .* x is torch.int64"),
        ({"model": torch.nn.Linear(3, 4), "draws": 0}, TypeError, "this Linear cannot read token numbers"),
        ({"temperature": "1"}, TypeError, r"temperature sharpens .* but '1' \(str\) was given"),
        ({"model": torch.nn.ModuleList([language_model()])}, TypeError, "generate takes one torch module"),
    ],
)
def test_wrong_types_are_named(given: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {"model": language_model(), "prompt": PROMPT, **given}
    with pytest.raises(error, match=message):
        generate(**arguments)  # type: ignore[arg-type]


def test_masks_that_change_each_step_go_on_after_the_prompt() -> None:
    model = language_model(schemes.zaremba(0.4))
    made = generate(model, PROMPT, length=8, draws=32, seed=5)
    judged = perplexity(model, torch.cat([PROMPT, made.tokens]), draws=32, seed=5, window=4)
    torch.testing.assert_close(made.log_prob, judged.log_prob[0, 2:], rtol=1e-4, atol=1e-5)
