"""The language model against torch's own layers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bayesrnn import schemes
from bayesrnn.models import LanguageModel
from bayesrnn.nn.masked import masked_modules
from tests.nn import oracle


def tokens(rows: int = 3, steps: int = 7, size: int = 11) -> torch.Tensor:
    return torch.randint(size, (rows, steps), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("cell", "torch_layer"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_the_deterministic_pass_is_torchs(cell: str, torch_layer: type[nn.Module]) -> None:
    model = LanguageModel(11, 5, 6, 2, cell, dropout=0.4, init_range=0.5).eval()
    other = torch_layer(5, 6, 2, batch_first=True)
    other.load_state_dict(model.recurrent.state_dict())
    hidden, last = other(F.embedding(tokens(), model.embedding.weight))
    logits = hidden @ model.decoder_weight.T + model.decoder_bias
    distribution, state = model(tokens())
    torch.testing.assert_close(distribution.logits, logits.log_softmax(-1))
    torch.testing.assert_close(state, last)


def test_windows_with_carried_state_are_one_pass() -> None:
    model = LanguageModel(11, 5, 6, 2, dropout=0.4, init_range=0.5).eval()
    whole, end = model(tokens(steps=9))
    first, state = model(tokens(steps=9)[:, :4])
    second, last = model(tokens(steps=9)[:, 4:], state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits)
    torch.testing.assert_close(last, end)


def test_parameters_start_uniform_within_the_range_biases_too() -> None:
    model = LanguageModel(50, 20, 20, init_range=0.04)
    values = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert values.abs().max() <= 0.04
    assert abs(float(values.std()) - 0.04 / 3**0.5) < 1e-3
    assert float(model.recurrent.bias_hh_l0.detach().abs().max()) > 0.02


def test_shared_embeddings_are_one_matrix_that_is_not_masked_in_the_decoder() -> None:
    model = LanguageModel(11, 6, 6, 1, dropout=schemes.gal(word=0.9), shared_embeddings=True)
    assert "decoder_weight" not in dict(model.named_parameters())
    features = torch.randn(2, 3, 6)
    torch.testing.assert_close(model.logits(features), features @ model.embedding.weight.T + model.decoder_bias)
    distribution, _ = model(tokens())
    distribution.logits.sum().backward()
    assert model.embedding.weight.grad is not None
    assert bool((model.embedding.weight.grad.abs().sum(1) > 0).all())  # also of words that were not read


def test_shared_embeddings_of_another_size_are_reached_by_a_projection() -> None:
    model = LanguageModel(11, 4, 6, 1, shared_embeddings=True).eval()
    assert model.projection is not None
    hidden, _ = model.recurrent(model.embedding(tokens()))
    logits = hidden @ model.projection.weight.T @ model.embedding.weight.T + model.decoder_bias
    torch.testing.assert_close(model(tokens())[0].logits, logits.log_softmax(-1))


@pytest.mark.parametrize("cell", ["lstm", "capped_lstm", "gru"])
def test_summed_layers_follow_the_equations_under_every_mask(cell: str) -> None:
    torch.manual_seed(0)
    scheme = schemes.melis(input=0.5, between=0.3, hidden=0.4, output=0.6)
    model = LanguageModel(11, 5, 6, 2, cell, dropout=scheme, sum_layers=True, init_range=0.5).double().eval()
    masks = model.recurrent.sample_masks(3, seed=1, steps=7)
    weights = {name: p.detach().numpy() for name, p in model.recurrent.named_parameters()}
    arrays, spans = {key: mask.numpy() for key, mask in masks.items()}, {"input": "step"}
    below, total = model.embedding(tokens()).transpose(0, 1).detach().numpy(), 0.0
    kind = {"lstm": "LSTM", "capped_lstm": "CappedLSTM", "gru": "GRU"}[cell]
    for suffix in ("l0", "l1"):
        below, _ = oracle.run(kind, below, weights, arrays, suffix=suffix, spans=spans)
        total = total + below
    output, state = model.recurrent(model.embedding(tokens()), masks=masks)
    np.testing.assert_allclose(output.detach().transpose(0, 1), total, atol=1e-12)
    h = state if cell == "gru" else state[0]
    np.testing.assert_allclose(h[1].detach(), below[-1], atol=1e-12)
    assert [masks[key].count_nonzero() < masks[key].numel() for key in ("input_l0", "input_l1", "hidden_l1")] == [
        True
    ] * 3


def test_inputs_between_layers_have_a_rate_of_their_own() -> None:
    scheme = schemes.melis(input=0.6, between=0.3, hidden=0.4, output=0.7)
    model = LanguageModel(11, 5, 6, 3, "capped_lstm", dropout=scheme, sum_layers=True)
    rates = {key: place.rate for key, place in model.recurrent.placements().items()}
    assert {key: rates[f"input_l{key}"] for key in range(3)} == {0: 0.6, 1: 0.3, 2: 0.3}
    model.recurrent.set_rates({**rates, "input_l1": 0.2, "input_l2": 0.2, "input_l0": 0.5})
    assert model.recurrent.scheme == scheme.with_rates(input=0.5, between=0.2)
    rates = {key: place.rate for key, place in LanguageModel(11, 5, 6, dropout=0.3).recurrent.placements().items()}
    assert rates["input_l0"] == rates["input_l1"] == 0.3


def test_every_site_of_a_scheme_acts() -> None:
    model = LanguageModel(11, 5, 6, 2, dropout=schemes.gal(0.3))
    sites = {f"{name}.{key}" for name, module in masked_modules(model).items() for key in module.placements()}
    assert sites == {
        "embedding.word",
        "recurrent.input_l0",
        "recurrent.hidden_l0",
        "recurrent.input_l1",
        "recurrent.hidden_l1",
        "output_dropout.output",
    }


def test_the_config_makes_an_equal_model() -> None:
    model = LanguageModel(
        11, 5, 6, 2, "capped_lstm", dropout=schemes.melis(0.3), shared_embeddings=True, sum_layers=True
    )
    config = model.config()
    again = LanguageModel(**{**config, "dropout": schemes.Scheme.from_dict(config["dropout"])})
    assert again.config() == config
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(tokens())[0].logits, model.eval()(tokens())[0].logits)


def test_flags_that_are_no_flags_are_refused() -> None:
    for name in ("shared_embeddings", "sum_layers"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, but 'no'"):
            LanguageModel(11, 4, 4, **{name: "no"})  # type: ignore[arg-type]
    assert LanguageModel(11, 4, 4, shared_embeddings=np.True_).config()["shared_embeddings"] is True


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="init_range must be the positive a of"):
        LanguageModel(11, init_range=0.0)
    with pytest.raises(ValueError, match="cell must be one of 'lstm', 'capped_lstm', 'gru'"):
        LanguageModel(11, cell="transformer")
    with pytest.raises(ValueError, match=r"tokens must be \(rows, steps\)"):
        LanguageModel(11, 4, 4)(torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"tokens must lie in 0\.\.10"):
        LanguageModel(11, 4, 4)(torch.full((1, 2), 11))
