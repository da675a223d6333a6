"""Dynamic evaluation against the same loop on torch's own LSTM, written out step by step."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.models import LanguageModel


def text(count: int = 60, seed: int = 2) -> Tensor:
    """Token t follows from the one before, most of the time, by a rule that depends on the seed."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(9, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.2, noise, torch.arange(count) * seed % 9)


def language_model(**options: Any) -> LanguageModel:
    torch.manual_seed(5)
    options = {"shared_embeddings": True, "dropout": 0.3} | options
    return LanguageModel(9, 6, 7, 2, init_range=0.5, **options)


def written_out(
    model: LanguageModel,
    tokens: Tensor,
    train: Tensor,
    rate: float,
    decay: float,
    epsilon: float,
    window: int,
    rows: int,
) -> list[float]:
    """The rule of Krause et al. on torch.nn.LSTM, weight by weight, in float64."""
    lstm = nn.LSTM(6, 7, 2, batch_first=True).double()
    lstm.load_state_dict(model.recurrent.state_dict())
    assert model.projection is not None
    embedding, projection, bias = (
        p.detach().double().requires_grad_()
        for p in (model.embedding.weight, model.projection.weight, model.decoder_bias)
    )
    weights = [embedding, *lstm.parameters(), projection, bias]

    def losses(inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden, state = lstm(embedding[inputs], state)
        logits = hidden @ projection.T @ embedding.T + bias
        nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        return nll, tuple(s.detach() for s in state)

    count = (len(train) - 1) // rows
    along = train[: count * rows + 1]
    inputs, targets = along[:-1].view(rows, count), along[1:].view(rows, count)
    total, windows, state = [torch.zeros_like(w) for w in weights], 0, None
    for start in range(0, count - window + 1, window):
        nll, state = losses(inputs[:, start : start + window], targets[:, start : start + window], state)
        for sum_, gradient in zip(total, torch.autograd.grad(nll.mean(), weights)):
            sum_ += gradient**2
        windows += 1
    sizes = [(sum_ / windows).sqrt() for sum_ in total]
    mean = torch.cat([s.flatten() for s in sizes]).mean()
    origins, scores, state = [w.detach().clone() for w in weights], [], None
    for start in range(0, len(tokens) - 1, window):
        end = min(start + window, len(tokens) - 1)
        nll, state = losses(tokens[None, start:end], tokens[None, start + 1 : end + 1], state)
        scores += (-nll).tolist()
        gradients = torch.autograd.grad(nll.mean(), weights)
        with torch.no_grad():
            for w, g, s, origin in zip(weights, gradients, sizes, origins):
                pull = torch.minimum(decay * s / mean, torch.ones_like(s))
                w += pull * (origin - w) - rate * g / (s + epsilon)
    return scores


@pytest.mark.parametrize(("window", "decay"), [(5, 0.02), (7, 0.6), (2, 0.0)])
def test_it_is_the_rule_written_out(window: int, decay: float) -> None:
    model, tokens, train = language_model(), text(33), text(100, 4)
    want = written_out(model, tokens, train, 0.008, decay, 1e-4, window, 3)
    result = br.dynamic_perplexity(
        model, tokens, train, rate=0.008, decay=decay, epsilon=1e-4, window=window, batch_size=3
    )
    torch.testing.assert_close(result.log_prob[0].double(), torch.tensor(want).double(), rtol=0, atol=2e-4)
    assert abs(result.log_prob - result.deterministic_log_prob).max() > 0.05


def test_without_steps_it_is_the_deterministic_pass() -> None:
    model, tokens = language_model(cell="capped_lstm", sum_layers=True, dropout=schemes.melis(0.3)), text(33)
    result = br.dynamic_perplexity(model, tokens, text(80), rate=0.0, batch_size=2)
    want = br.perplexity(model, tokens, draws=0)
    torch.testing.assert_close(result.log_prob, want.log_prob, rtol=0, atol=1e-5)
    assert torch.equal(result.deterministic_log_prob, want.log_prob)
    once = br.dynamic_perplexity(model, iter(tokens.tolist()), iter(text(80).tolist()), rate=0.0, batch_size=2)
    assert torch.equal(once.log_prob, result.log_prob)


def test_a_text_of_another_kind_is_learned_while_it_is_read() -> None:
    model, tokens = language_model(), text(400)
    result = br.dynamic_perplexity(model, tokens, text(100, 4), rate=0.004, batch_size=2)
    assert result.perplexity < 0.97 * result.deterministic_perplexity


def test_a_token_is_scored_before_anything_is_learned_from_it() -> None:
    model, tokens = language_model(), text(40)
    other = torch.cat([tokens[:30], (tokens[30:] + 1) % 9])
    some, others = (
        br.dynamic_perplexity(model, t, text(80), rate=0.02, batch_size=2).log_prob for t in (tokens, other)
    )
    assert torch.equal(some[:, :29], others[:, :29])
    assert not torch.equal(some[:, 29:], others[:, 29:])


@pytest.mark.parametrize("mode", [True, False])
def test_nothing_of_the_users_is_changed_and_it_is_deterministic(mode: bool) -> None:
    model, tokens = language_model().train(mode), text(33)
    model.embedding.weight.requires_grad_(False)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    options: dict[str, Any] = {"rate": 0.01, "batch_size": 2}
    first = br.dynamic_perplexity(model, tokens, text(80), **options).log_prob
    with torch.inference_mode():
        second = br.dynamic_perplexity(model, tokens.tolist(), text(80).tolist(), **options).log_prob
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(m.training == mode for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert not model.embedding.weight.requires_grad


class Bigrams(nn.Module):
    """A language model of a user's own, without a state."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(9, 9))

    def forward(self, tokens: Tensor, state: object = None) -> tuple[Categorical, None]:
        return Categorical(logits=self.table[tokens]), None


def test_any_module_that_reads_a_stream_can_follow_a_text() -> None:
    assert br.dynamic_perplexity(Bigrams(), text(200), text(80), rate=0.05, batch_size=2).perplexity < 8.0


def test_what_cannot_be_right_is_refused() -> None:
    model, tokens = language_model(), text()
    with pytest.raises(TypeError, match="adapts one model, but several"):
        br.dynamic_perplexity([model, model], tokens, tokens)
    with pytest.raises(ValueError, match="train has 60 tokens, too few for a window of 5 steps in each of 20 rows"):
        br.dynamic_perplexity(model, tokens, tokens, batch_size=20)
    with pytest.raises(ValueError, match=r"rate multiplies .* and finite, but -1.0 was given.$"):
        br.dynamic_perplexity(model, tokens, tokens, rate=-1.0)
    with pytest.raises(ValueError, match="epsilon is added"):
        br.dynamic_perplexity(model, tokens, tokens, epsilon=0.0)
    with pytest.raises(ValueError, match="diverged at rate=1e"):
        br.dynamic_perplexity(model, tokens, tokens, rate=1e20, batch_size=2)
    with pytest.raises(ValueError, match=r"tokens must lie in 0\.\.8, but they reach from 1 to 9"):
        br.dynamic_perplexity(model, tokens, tokens + 1, batch_size=2)
    other = torch.tensor([1, 2, 3, 4, 5, 9])  # the last is predicted, never read
    with pytest.raises(ValueError, match="holds the token 9, but the model's vocabulary has 9 tokens"):
        br.dynamic_perplexity(model, tokens, other, batch_size=1)
    frozen = language_model().requires_grad_(False)
    with pytest.raises(ValueError, match="no weight of the model has requires_grad"):
        br.dynamic_perplexity(frozen, tokens, tokens, batch_size=2)
