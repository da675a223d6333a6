"""Training of language models: one step by hand, what it learns, and what it refuses."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.models import LanguageModel
from bayesrnn.training import SGD, NonMonotoneAverage, Recipe, StepDecay
from bayesrnn.training.language import train_language_model
from tests.training.language_problem import RULE, language_model, same, stream, weights


def test_training_is_the_papers_update_written_out() -> None:
    """Mean over rows, sum over steps, clipped, weight decay times no learning rate, state carried."""
    model, by_hand = language_model(0.0), language_model(0.0)
    train_language_model(model, stream(), replace(RULE, epochs=1))
    rows, state = stream()[:198].view(3, 66), None
    lstm = nn.LSTM(6, 7, 2, batch_first=True)
    lstm.load_state_dict(by_hand.recurrent.state_dict())
    embedding, weight, bias = by_hand.embedding.weight, by_hand.decoder_weight, by_hand.decoder_bias
    parameters = [embedding, *lstm.parameters(), weight, bias]
    for w in range(13):
        x, y = rows[:, 5 * w : 5 * w + 5], rows[:, 5 * w + 1 : 5 * w + 6]
        hidden, state = lstm(embedding[x], state)
        state = tuple(s.detach() for s in state)
        logs = (hidden @ weight.T + bias).log_softmax(-1)
        loss = -logs.gather(-1, y[..., None]).sum() / 3
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        with torch.no_grad():
            for p, g in zip(parameters, gradients):
                p.mul_(1 - 1e-3).sub_(0.5 * min(1.0, 1.0 / norm) * g)
    torch.testing.assert_close(model.embedding.weight, embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.recurrent.weight_hh_l1, lstm.weight_hh_l1, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.decoder_bias, bias, rtol=1e-4, atol=1e-5)


def test_shifted_epochs_read_the_whole_text_from_another_token_each() -> None:
    """Every window of every epoch is a piece of the text wrapped around, and the epochs begin at different tokens."""
    read: list[list[int]] = []
    model, text = LanguageModel(300, 4, 4, 1), torch.randperm(300, generator=torch.Generator().manual_seed(0))[:198]
    model.embedding.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].clone()))  # type: ignore[arg-type]
    train_language_model(model, text, replace(RULE, epochs=3, shift=True))
    epochs = [torch.cat(read[13 * e : 13 * e + 13], 1) for e in range(3)]
    begins = []
    for rows in epochs:
        begin = int((text == rows[0, 0]).nonzero())
        assert torch.equal(rows, text.roll(-begin).view(3, 66)[:, :65])
        begins.append(begin)
    assert len(set(begins)) == 3


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_training_learns_and_tells_of_it(cell: str) -> None:
    model, heard = language_model(0.1, cell), []
    recipe = replace(RULE, epochs=6, optimizer=SGD(StepDecay(2.0, 4, 1.5)), clip=5.0)
    history = train_language_model(model, stream(450), recipe, validation=stream(100), on_epoch=heard.append)
    assert heard[-1] == history
    assert [h.epochs for h in heard] == list(range(1, 7))
    assert history.best_epoch == 5
    assert history.validation_perplexity[-1] < 0.5 * history.validation_perplexity[0]
    assert history.train_perplexity[0] == pytest.approx(math.exp(history.train[0]))
    assert history.rate[-1] == pytest.approx(2.0 / 1.5**2)
    assert min(history.words_per_second) > 0
    assert not model.training


def test_masks_depend_on_the_seed_alone_and_the_random_state_is_left() -> None:
    first, second, other = language_model(), language_model(), language_model()
    train_language_model(first, stream(), RULE, seed=1)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    train_language_model(second, stream(), RULE, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    train_language_model(other, stream(), RULE, seed=2)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_the_best_weights_are_kept_where_the_recipe_says_so() -> None:
    """The validation text says the opposite of the training text, so that learning makes it less likely."""
    rule = replace(RULE, epochs=6, keep="best")
    model, opposite = language_model(0.0), torch.zeros(60, dtype=torch.long)
    history = train_language_model(model, stream(), rule, validation=opposite)
    from bayesrnn.inference._perplexity import perplexity

    best = history.best
    assert best is not None
    assert history.best_epoch == history.validation.index(best)
    assert history.validation[-1] > best + 0.005
    assert perplexity(model, opposite, draws=0, batch_size=3, window=5).nll == pytest.approx(best, abs=1e-6)


def test_bfloat16_products_train_nearly_the_same(native_bfloat16: None) -> None:
    exact, rounded = language_model(0.0), language_model(0.0)
    train_language_model(exact, stream(), RULE)
    train_language_model(rounded, stream(), replace(RULE, precision="bf16"))
    torch.testing.assert_close(exact.decoder_bias, rounded.decoder_bias, rtol=0.1, atol=0.02)
    assert not torch.equal(exact.decoder_bias, rounded.decoder_bias)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": stream(10)}, "too short for a window of 5"),
        ({"train": stream().view(2, 100)}, "train must be one stream"),
        ({"train": stream() + 5}, "the model's vocabulary has 11 tokens"),
        ({"train": stream() - 1}, "holds the token -1, but"),
        ({"validation": stream(1)}, "validation has 1 tokens, but at least 2"),
        ({"validation": stream(60) + 5}, "the text validation holds the token 15"),
        ({"validation": stream(60).float()}, "validation must be one stream"),
        ({"vocabulary": Vocabulary(["a", "b"])}, "the vocabulary has 2 tokens, but the model is for 11"),
        ({"recipe": replace(RULE, keep="best")}, "judged by validation text"),
        ({"recipe": replace(RULE, averaging=NonMonotoneAverage())}, "judged by validation text"),
    ],
)
def test_what_cannot_be_is_refused(change: dict, message: str) -> None:
    given = {"train": stream(), "recipe": RULE} | change
    with pytest.raises(ValueError, match=message):
        train_language_model(language_model(), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": stream().tolist()}, "train must be a tensor of token numbers"),
        ({"validation": [1, 2]}, "validation must be a tensor of token numbers"),
        ({"recipe": "zaremba"}, "recipe must be a Recipe, but 'zaremba'"),
        ({"recipe": None}, "recipe must be a Recipe, but None"),
        ({"model": nn.Linear(1, 1)}, "must be a bayesrnn.models.LanguageModel, but a Linear"),
        ({"vocabulary": ["a"]}, "vocabulary must be a Vocabulary, but a list"),
    ],
)
def test_foreign_classes_are_named(change: dict, message: str) -> None:
    given = {"model": language_model(), "train": stream(), "recipe": RULE} | change
    with pytest.raises(TypeError, match=message):
        train_language_model(**given)


def test_a_folder_that_cannot_be_is_one_line_before_any_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    model = language_model()
    before = weights(model)
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="cannot write to the folder"):
            train_language_model(model, stream(), RULE, checkpoint=folder)
    assert same(before, weights(model))
    with pytest.raises(ValueError, match="too short"):
        train_language_model(model, stream(10), RULE, checkpoint=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_divergence_is_named_before_the_weights_are_lost() -> None:
    model = language_model()
    with torch.no_grad():
        model.decoder_bias[0] = float("nan")
    before = weights(model)
    with pytest.raises(ValueError, match="the training diverged"):
        train_language_model(model, stream(), RULE)
    assert torch.equal(before["decoder_weight"], model.decoder_weight)


def test_names_are_found_where_they_are_looked_for() -> None:
    from bayesrnn import data, training

    assert training.train_language_model is train_language_model
    assert training.Recipe is Recipe
    assert data.Vocabulary is Vocabulary
