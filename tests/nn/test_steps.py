"""Cells: torch's results without masks, the papers' equations with them, and one mask per sequence for every loop."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.inference import point
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound
from tests.nn import oracle
from tests.nn.cell_loops import CELLS, Recorded, Seq2Seq, same, unrolled
from tests.nn.kernels.test_dispatch import SCHEMES

_EVERY_CELL = ("untied", "naive", "zaremba")
LOOPED = [(kind, name) for kind in CELLS for name in SCHEMES if kind == "LSTM" or name in _EVERY_CELL]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_without_masks_a_cell_is_torchs(kind: str, bias: bool) -> None:
    torchs, ours, _ = CELLS[kind]
    torch.manual_seed(1)
    old = torchs(3, 4, bias=bias)
    torch.manual_seed(1)
    new = ours(3, 4, bias=bias)
    assert [(n, p.tolist()) for n, p in old.named_parameters()] == [(n, p.tolist()) for n, p in new.named_parameters()]
    new = br.convert(old, 0.5).eval()
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    state = (h, torch.randn(2, 4)) if kind == "LSTM" else h
    for inputs in ((x,), (x, state)):
        torch.testing.assert_close(new(*inputs), old(*inputs), rtol=0, atol=0)
    assert new(x[0]).shape == (4,) if kind != "LSTM" else new(x[0])[0].shape == (4,)
    torch.testing.assert_close(new(input=x, hx=state), old(x, state))
    back = br.revert(new)
    assert repr(back) == repr(old)
    assert list(back.state_dict()) == list(old.state_dict())


@pytest.mark.parametrize(("kind", "name"), LOOPED)
def test_a_loop_is_the_papers_equations_with_the_masks_of_a_layer(kind: str, name: str) -> None:
    """Under `bound`, a cell in a loop has the bits of a layer of its name, step masks included; numpy agrees."""
    _, make, layer = CELLS[kind]
    scheme = SCHEMES[name]
    cell, whole = make(3, 4, dropout=scheme).double().eval(), layer(3, 4, dropout=scheme).double().eval()
    whole.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    x, rows = torch.randn(5, 2, 3, dtype=torch.float64), torch.arange(2)
    masks = whole.sample_masks(2, seed=3, draw=1, steps=5)
    binding = Binding(stream("independent", 3), torch.tensor([1]), rows)
    with bound(cell, binding), torch.no_grad():
        got = unrolled(cell, x)
    with torch.no_grad():
        torch.testing.assert_close(got, whole(x, masks=masks)[0])
    places = whole.placements()
    spans = {place.site: place.span for place in places.values()}
    untied = any(place.gates == "untied" for place in places.values())
    want, _ = oracle.run(
        kind, x.numpy(), {k: v.numpy() for k, v in whole.state_dict().items()},
        {k: v.numpy() for k, v in masks.items()}, spans=spans, untied=untied,
    )  # fmt: skip
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def in_numpy(model: nn.Module, source: np.ndarray, target: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """The same network with explicit masks, one row at a time (GRU, gates tied)."""
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}

    def gru(name: str, x: np.ndarray, h: np.ndarray, row: int) -> np.ndarray:
        zx, zh = masks[f"{name}.input_l0"][row], masks[f"{name}.hidden_l0"][row]
        a = weights[f"{name}.weight_ih"] @ (x * zx) + weights[f"{name}.bias_ih"]
        b = weights[f"{name}.weight_hh"] @ (h * zh) + weights[f"{name}.bias_hh"]
        (ar, az, an), (hr, hz, hn) = np.split(a, 3), np.split(b, 3)
        z = oracle.sigmoid(az + hz)
        return (1 - z) * np.tanh(an + oracle.sigmoid(ar + hr) * hn) + z * h

    result = np.zeros((*target.shape, 7))
    for row in range(len(source)):
        h, memory = np.zeros(4), []
        for token in source[row]:
            h = gru("encoder", weights["words.weight"][token] * masks["words.word"][row, token], h, row)
            memory.append(h)
        keys = np.stack(memory)
        for t, token in enumerate(target[row]):
            scores = np.exp(keys @ h)
            context = scores / scores.sum() @ keys
            word = weights["words.weight"][token] * masks["words.word"][row, token]
            h = gru("decoder", np.concatenate([word, context]), h, row)
            result[row, t] = weights["out.weight"] @ (h * masks["drop.output"][row]) + weights["out.bias"]
    return result


SOURCE, TARGET = torch.tensor([[1, 2, 3, 1], [0, 1, 2, 3]]), torch.tensor([[4, 5, 4], [6, 6, 1]])
TIED = schemes.gal(0.4, gates="tied")


def test_an_encoder_decoder_with_attention_is_predicted_with_one_mask_per_sequence() -> None:
    torch.manual_seed(0)
    model = br.convert(Seq2Seq(), TIED).double()
    predictive = br.predict(model, SOURCE, TARGET, draws=16, seed=5, likelihood=point)
    for draw in (0, 9):
        masks = br.pyro.masks_of(model, SOURCE, TARGET, seed=5, draw=draw)
        want = in_numpy(model, SOURCE.numpy(), TARGET.numpy(), {k: v.numpy() for k, v in masks.items()})
        np.testing.assert_allclose(predictive.draws[draw].numpy(), want, atol=1e-10)
    spread = predictive.draws.std(0)
    assert (spread > 0.0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_in_training_a_pass_of_the_model_is_one_sequence(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, recorded = br.convert(Seq2Seq(cell), TIED).train(), Recorded(monkeypatch)
    passes = []
    for _ in range(3):
        model(SOURCE, TARGET).sum().backward()
        seen = recorded.take()
        assert same(seen[:4])
        assert same(seen[4:])
        passes.append(torch.cat([seen[0], seen[-1]]))
    assert not torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[1], passes[2])
    assert all(m.source is None for m in model.modules() if isinstance(m, br.nn.MaskedModule))


def test_words_and_outputs_hold_in_the_loop_too() -> None:
    torch.manual_seed(0)
    model = br.convert(Seq2Seq(), schemes.gal(word=0.5, output=0.5)).train()
    with torch.no_grad():
        model.words.weight.fill_(1.0)
    seen: dict[str, list[Tensor]] = {"words": [], "drop": []}
    model.words.register_forward_hook(lambda m, i, o: seen["words"].append(o.detach()))
    model.drop.register_forward_hook(lambda m, i, o: seen["drop"].append((o == 0.0).detach()))
    source = torch.ones(6, 5, dtype=torch.long)
    model(source, source)
    assert same(seen["words"])
    assert same(seen["drop"])
    assert 0 < int((seen["words"][0] == 0).sum()) < 18


def test_masks_per_step_are_new_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model, recorded = br.convert(Seq2Seq(), schemes.naive(0.4)).train(), Recorded(monkeypatch)
    model(SOURCE, TARGET)
    assert len({tuple(mask.flatten().tolist()) for mask in recorded.take()[:4]}) == 4


def test_an_error_within_a_pass_leaves_no_masks_behind() -> None:
    model = br.convert(Seq2Seq(), TIED).train()
    with pytest.raises(RuntimeError, match="Sizes"):
        model(SOURCE, TARGET[:0])
    assert model.encoder.source is None
    model(SOURCE, TARGET)


def grads(model: nn.Module, run: Callable[[], Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(run().sum(), list(model.parameters())))


def test_copies_and_weights_terms_of_cells() -> None:
    model = br.convert(Seq2Seq(), schemes.gal(0.2, gates="tied"))
    model(SOURCE, TARGET)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert torch.equal(again.eval()(SOURCE, TARGET), model.eval()(SOURCE, TARGET))
    model.train()
    terms = {term.name: term.mask for term in br.objective.terms.weight_terms(br.nn.GRUCell(3, 4, dropout=0.2))}
    assert terms == {"weight_ih": "input_l0", "weight_hh": "hidden_l0", "bias_ih": None, "bias_hh": None}


def test_bad_input_of_a_cell() -> None:
    cell = br.nn.GRUCell(3, 4, dropout=0.2).eval()
    with pytest.raises(ValueError, match="reads one step"):
        cell(torch.zeros(5, 2, 3))
    with pytest.raises(ValueError, match="reset the state to None or zeros before a new batch"):
        cell(torch.zeros(2, 3), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="the 3 input features"):
        cell(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"must have shape \(3, 2, 3\)"):
        cell(torch.zeros(2, 3), masks={"input_l0": torch.ones(2, 5), "hidden_l0": torch.ones(3, 2, 4)})
    with pytest.raises(ValueError, match="nonlinearity must be one of"):
        br.nn.RNNCell(3, 4, nonlinearity="sigmoid")  # type: ignore[arg-type]
