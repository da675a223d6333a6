"""What cannot be a perplexity is refused, with its cause."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bayesrnn import schemes
from bayesrnn.comparison import compare
from bayesrnn.inference._convergence import convergence, jackknife
from bayesrnn.inference._perplexity import perplexity
from bayesrnn.models import LanguageModel
from bayesrnn.nn import Dropout
from bayesrnn.tuning.language import tune_perplexity
from tests.inference.language_models import Switch, language_model, text


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (lambda: perplexity(language_model(0.0), text()), ValueError, "nothing in this model is stochastic"),
        (lambda: perplexity([], text()), TypeError, "a torch module or a list of them"),
        (lambda: perplexity(language_model(), text(40, 12)), ValueError, r"tokens must lie in 0\.\.8"),
        (
            lambda: perplexity(language_model(), torch.tensor([0, 1, 9])),
            ValueError,
            "the model's vocabulary has 9 tokens",
        ),
        (lambda: perplexity(language_model(), text(), lifetime="forever"), ValueError, "lifetime must be one of"),
        (lambda: perplexity(language_model(), text(3), batch_size=5), ValueError, "cannot be cut into 5 rows"),
    ],
)
def test_what_cannot_be_is_refused(broken: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        broken()


def test_weights_that_diverged_are_named() -> None:
    model = language_model()
    with torch.no_grad():
        model.decoder_bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="log probabilities are NaN"):
        perplexity(model, text(), draws=16)


class Headless(nn.Module):
    """Returns what no language model returns."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.mask, self.output = Dropout(0.5), output

    def forward(self, tokens: Tensor, state: object = None) -> object:
        return self.output


def test_a_model_must_return_a_distribution_and_a_state() -> None:
    with pytest.raises(TypeError, match=r"must return \(distribution of the next token, state\)"):
        perplexity(Headless(torch.zeros(3)), text())
    with pytest.raises(TypeError, match="must be a Categorical or logits of shape"):
        perplexity(Headless((torch.zeros(3), None)), text())


def test_members_of_an_ensemble_share_one_vocabulary() -> None:
    other = LanguageModel(12, 6, 7, 1, dropout=0.3)
    for statistics in (True, False):
        with pytest.raises(ValueError, match="have vocabularies of 9, 12 tokens"):
            perplexity([language_model(), other], text(), draws=16, statistics=statistics)
        with pytest.raises(ValueError, match="have vocabularies of 9, 2 tokens"):
            perplexity([language_model(), Switch()], text(size=2), draws=16, statistics=statistics)


def test_a_quiet_member_of_an_ensemble_is_named() -> None:
    with pytest.raises(ValueError, match=r"nothing in member 1 of this ensemble \(the first is 0\)"):
        perplexity([language_model(), language_model(0.0)], text(), draws=16)
    words = language_model(schemes.gal(word=0.3))
    with pytest.raises(ValueError, match=r"nothing in members 0, 2 of this ensemble"):
        perplexity([language_model(0.0), words, language_model(0.0)], text(), draws=16, drop_words=False)
    with pytest.raises(ValueError, match=r"member 1 of this ensemble .* with drop_words=False: the only masks"):
        perplexity([language_model(), words], text(), draws=16, drop_words=False)


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (lambda m: perplexity(m, None), TypeError, r"tokens must be whole numbers.*None \(NoneType\)"),
        (lambda m: perplexity(m, "abc"), TypeError, r"tokens must be whole numbers.*vocabulary\.encode"),
        (lambda m: perplexity(m, ["a", "b"]), TypeError, "a list of str was given"),
        (lambda m: perplexity(m, torch.tensor(5)), ValueError, "one stream of whole numbers"),
        (lambda m: perplexity(m, []), ValueError, "cannot be cut into 1 rows"),
        (lambda m: perplexity(m, [0.5, 1.0]), ValueError, "one stream of whole numbers"),
        (lambda m: perplexity(m, torch.tensor([1, 2, -1])), ValueError, "-1 was given at place 2"),
        (lambda m: perplexity(3, text()), TypeError, r"but 3 \(int\) was given\. The model comes first"),
        (lambda m: perplexity("lm.pt", text()), TypeError, r"but 'lm\.pt' \(str\) was given"),
        (lambda m: perplexity([m, 3], text()), TypeError, "a list of int was given"),
        (lambda m: perplexity(m, text(), temperature="1"), TypeError, r"temperature divides .* '1' \(str\)"),
        (lambda m: perplexity(m, text(), temperature=math.inf), ValueError, "above 0 and finite, but inf"),
        (lambda m: perplexity(m, text(), multiplier="1"), TypeError, r"multiplier scales .* '1' \(str\)"),
        (lambda m: tune_perplexity(m, text(), multipliers=1.0), TypeError, r"multipliers must be a list .* 1\.0"),
        (lambda m: tune_perplexity(m, text(), temperatures=["1"]), TypeError, "temperatures divide the logits"),
        (lambda m: m([[0, 1]]), TypeError, r"a list was given\. Pass torch\.tensor"),
        (lambda m: LanguageModel(9, init_range="x"), TypeError, r"init_range .* 'x' \(str\)"),
        (lambda m: convergence(perplexity(m, text())), TypeError, "convergence follows single draws"),
        (lambda m: jackknife(perplexity(m, text()), lambda p: p.nll), TypeError, "jackknife follows single draws"),
    ],
)
def test_wrong_types_are_named(broken: Callable[[LanguageModel], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        broken(language_model())


def test_a_comparison_of_a_language_model_points_to_its_perplexity() -> None:
    for model in (language_model(), Switch()):
        tokens = text(40, 2).view(4, 10)
        with pytest.raises(ValueError, match=r"state\. For a language model take bayesrnn\.perplexity") as caught:
            compare(model, tokens, target=tokens)
        assert "compare_predictives" in str(caught.value)
        assert "Normal" not in str(caught.value)
