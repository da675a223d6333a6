"""Masks belong to rows wherever a converted layer stands: in training, and alike in prediction; or it is refused."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import nn as bnn
from bayesrnn.nn.layouts import Pass

ROWS, STEPS, DRAWS = 8, 12, 16
X = torch.zeros(ROWS, STEPS, 2).normal_(generator=torch.Generator().manual_seed(0))
SCHEME = br.schemes.gal(hidden=0.2, output=0.5)


class Net(nn.Module):
    """An encoder of (rows, steps, 2), a part that uses a Dropout in some layout, and a linear head."""

    def __init__(self, use: Callable[..., Tensor], cell: type = nn.GRU, **options: Any) -> None:
        super().__init__()
        self.use = use
        self.conv = nn.Conv1d(2, 6, 3, padding=1)
        self.rnn = cell(2, 6, batch_first=True, **options)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


def state(net: Net, x: Tensor) -> Tensor:
    last = net.rnn(x)[1]
    return last[0] if isinstance(last, tuple) else last


LAYOUTS: dict[str, tuple[Callable[..., Tensor], type, dict[str, Any], tuple[int, int]]] = {
    # the part that is used, the recurrent layer, its options, and the dimensions of rows and features
    "channels": (lambda n, x: n.drop(n.conv(x.mT)).mean(2), nn.GRU, {}, (0, 1)),
    "channels after relu and cut": (lambda n, x: n.drop(n.conv(x.mT)[:, :, :-2].relu()).mean(2), nn.GRU, {}, (0, 1)),
    "channels pooled": (lambda n, x: n.drop(nn.functional.max_pool1d(n.conv(x.mT), 2)).mean(2), nn.GRU, {}, (0, 1)),
    "channels turned": (lambda n, x: n.drop(n.conv(x.mT).mT).mean(1), nn.GRU, {}, (0, 2)),
    "outputs after channels": (lambda n, x: n.drop(n.rnn(n.conv(x.mT).mT[..., :2])[0])[:, -1], nn.GRU, {}, (0, 2)),
    "state": (lambda n, x: n.drop(state(n, x))[-1], nn.GRU, {}, (1, 2)),
    "state of an LSTM": (lambda n, x: n.drop(state(n, x))[-1], nn.LSTM, {}, (1, 2)),
    "state after tanh": (lambda n, x: n.drop(state(n, x).tanh())[-1], nn.RNN, {}, (1, 2)),
    "state of both ways": (lambda n, x: n.drop(state(n, x)[-2:]).sum(0), nn.GRU, {"bidirectional": True}, (1, 2)),
    "state of two layers": (lambda n, x: n.drop(state(n, x))[-1], nn.GRU, {"num_layers": 2}, (1, 2)),
    "state turned": (lambda n, x: n.drop(state(n, x).transpose(0, 1))[:, -1], nn.GRU, {"num_layers": 2}, (0, 2)),
    "last state": (lambda n, x: n.drop(state(n, x)[-1]), nn.GRU, {}, (0, 1)),
    "outputs": (lambda n, x: n.drop(n.rnn(x)[0])[:, -1], nn.GRU, {}, (0, 2)),
    "one row for all": (
        lambda n, x: (n.rnn(x)[0] + n.drop(torch.ones(1, x.shape[1], 6)))[:, -1], nn.GRU, {}, (0, 2),
    ),
}  # fmt: skip


def masks_of(model: nn.Module, run: Callable[[], Any]) -> Tensor:
    """The mask of the Dropout in a run: outputs over inputs."""
    seen: list[Tensor] = []
    drop: Any = model.drop
    with torch.no_grad():
        handle = drop.register_forward_hook(lambda _, given, out: seen.append((out / given[0]).detach()))
        run()
        handle.remove()
    return seen[0].nan_to_num(0.0)


def check(mask: Tensor, rows: int, features: int) -> None:
    """Every row has its own mask over features, the same at all steps; a relu's zeros leave no mask to see."""
    mask = mask.movedim((rows, features), (0, 1)).reshape(mask.shape[rows], mask.shape[features], -1)
    assert set(mask.unique().tolist()) <= {0.0, 2.0}
    top = mask.amax(2)
    assert len({tuple(row.tolist()) for row in top}) > min(mask.shape[0], 2 ** mask.shape[1]) // 2, "rows share masks"
    assert bool(((top == 0) | (top == 2)).all())
    assert 0.1 < float((top == 0).float().mean()) < 0.9


@pytest.mark.parametrize("batch", [2, ROWS, STEPS])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_masks_are_per_row_and_feature_in_training_and_in_prediction(name: str, batch: int) -> None:
    use, cell, options, (rows, features) = LAYOUTS[name]
    if name == "one row for all" and batch == STEPS:
        pytest.skip("(1, 12, 6) is then shaped as the last state, too")
    torch.manual_seed(0)
    model, x = br.convert(Net(use, cell, **options), SCHEME).train(), torch.randn(batch, STEPS, 2)
    trained = masks_of(model, lambda: model(x))
    assert trained.shape[rows] == batch
    check(trained, rows, features)
    predicted = masks_of(model, lambda: br.predict(model, x, draws=DRAWS, likelihood=br.inference.point))
    assert predicted.shape[rows] == batch * DRAWS
    check(predicted, rows, features)
    if "relu" not in name and "pool" not in name:
        for mask in (trained, predicted):
            (steps,) = {0, 1, 2} - {rows, features} if mask.dim() == 3 else {None}
            assert steps is None or bool((mask == mask.narrow(steps, 0, 1)).all()), "steps have masks of their own"


def test_convolutions_of_as_many_channels_as_steps() -> None:
    model = br.convert(Net(lambda n, x: n.drop(n.conv(x.mT)).mean(2)), SCHEME).train()
    check(masks_of(model, lambda: model(torch.randn(ROWS, 6, 2))), 0, 1)
    turned = br.convert(Net(lambda n, x: n.drop(n.conv(x.mT).mT).mean(1)), SCHEME).train()
    check(masks_of(turned, lambda: turned(torch.randn(ROWS, 6, 2))), 0, 2)


@pytest.mark.parametrize("mode", ["train", "predict"])
def test_what_holds_no_rows_is_refused_at_the_first_call(mode: str) -> None:
    def use(net: Net, x: Tensor) -> Tensor:
        return (net.rnn(x)[0] + net.drop(torch.ones(x.shape[1], 6)))[:, -1]

    model, x = br.convert(Net(use), 0.5).train(), torch.randn(5, STEPS, 2)
    with pytest.raises(ValueError, match=r"x of shape \(12, 6\), but the inputs of the model hold \d+ rows"):
        model(x) if mode == "train" else br.predict(model, x, draws=7, likelihood=br.inference.point)


def test_a_state_is_known_in_a_model_that_was_not_converted() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.drop = bnn.LSTM(2, 6, batch_first=True, dropout=0.2), bnn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(self.rnn(x)[1][0])[-1]

    model = Own().train()
    check(masks_of(model, lambda: model(torch.randn(ROWS, STEPS, 2))), 1, 2)
    check(masks_of(model, lambda: br.predict(model, X, draws=DRAWS, likelihood=br.inference.point)), 1, 2)


class Stores(nn.Module):
    """A category per row, learned positions, or both, beside a recurrent layer."""

    def __init__(self, ids: Callable[[Tensor], Tensor], ours: bool = False) -> None:
        super().__init__()
        self.ids = ids
        self.rnn = bnn.GRU(1, 6, batch_first=True, dropout=0.2) if ours else nn.GRU(1, 6, batch_first=True)
        self.place = bnn.Embedding(50, 6, dropout=0.5) if ours else nn.Embedding(50, 6)

    def forward(self, x: Tensor, store: Tensor) -> Tensor:
        place = self.place(self.ids(x) if self.ids is not None else store)
        return self.rnn(x)[0][:, -1] + (place if place.dim() == 2 and len(place) == len(x) else place.mean(-2))


def words_of(model: Any, run: Callable[[], Any]) -> Tensor:
    seen: list[Tensor] = []
    handle = model.place.register_forward_hook(
        lambda m, given, out: seen.append(out / nn.functional.embedding(given[0], m.weight))
    )
    with torch.no_grad():
        run()
    handle.remove()
    return seen[0].detach()


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("store", [torch.tensor([3, 1] * 10), torch.arange(20).flip(0)])
def test_a_category_per_row_has_a_mask_per_row(ours: bool, store: Tensor) -> None:
    torch.manual_seed(0)
    net = Stores(None, ours)  # type: ignore[arg-type]
    model, x = (net if ours else br.convert(net, br.schemes.gal(word=0.5, hidden=0.2))).train(), torch.randn(20, 5, 1)
    for mask in (
        words_of(model, lambda: model(x, store)),
        words_of(model, lambda: br.predict(model, x, store, draws=DRAWS, likelihood=br.inference.point)),
    ):
        assert sorted(set(mask.flatten().tolist())) == [0.0, 2.0]
        assert bool((mask == mask[:, :1]).all())


def test_categories_in_order_are_still_categories() -> None:
    torch.manual_seed(0)
    model = br.convert(Stores(None), br.schemes.gal(word=0.5, hidden=0.2)).train()  # type: ignore[arg-type]
    x, store = torch.randn(20, 5, 1), torch.arange(20)
    assert 0.0 in words_of(model, lambda: model(x, store))
    assert br.predict(model, x, store, draws=DRAWS, likelihood=br.inference.point).mean.shape == (20, 6)
    own = Stores(None, ours=True).train()  # type: ignore[arg-type]
    own.place.per_row = True
    assert 0.0 in words_of(own, lambda: own(x, store))


POSITIONS = {
    "steps": lambda x: torch.arange(x.shape[1]),
    "one row of steps": lambda x: torch.arange(x.shape[1])[None],
    "steps as another batch size": lambda x: torch.arange(x.shape[1]),
}


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("rows", [3, 7])
@pytest.mark.parametrize("name", list(POSITIONS))
def test_positions_are_no_words(name: str, ours: bool, rows: int) -> None:
    net = Stores(POSITIONS[name], ours)
    model = (net if ours else br.convert(net, br.schemes.gal(word=0.5, hidden=0.2))).train()
    for steps in (7, 5):
        x, store = torch.randn(rows, steps, 1), torch.zeros(rows)
        if not (steps == rows and ours):
            assert set(words_of(model, lambda: model(x, store)).flatten().tolist()) == {1.0}  # noqa: B023
            result = words_of(model, lambda: br.predict(model, x, store, draws=DRAWS, likelihood=br.inference.point))  # noqa: B023
            assert set(result.flatten().tolist()) == {1.0}


def test_other_positions_of_a_converted_model() -> None:
    backward = br.convert(Stores(lambda x: torch.arange(x.shape[1]).flip(0)), 0.5).train()
    x = torch.randn(4, 7, 1)
    assert set(words_of(backward, lambda: backward(x, torch.zeros(4))).flatten().tolist()) == {1.0}
    square = br.convert(Stores(lambda x: torch.zeros(7, 7, dtype=torch.long)), 0.5).train()
    with pytest.raises(ValueError, match=r"tokens of shape \(7, 7\), but the inputs of the model hold 4 rows"):
        square(x, torch.zeros(4))
    square.place.per_row = False
    assert set(words_of(square, lambda: square.place(torch.zeros(7, 7, dtype=torch.long))).flatten().tolist()) == {1.0}


def test_tokens_that_change_their_kind_are_refused() -> None:
    layer = bnn.Embedding(50, 6, dropout=0.5).train()
    layer(torch.arange(6))
    with pytest.raises(ValueError, match=r"positions, the same for all rows, or one category per row. Set its"):
        layer(torch.tensor([4, 1, 1]))
    layer.per_row = True
    assert 0.0 in layer(torch.arange(40)) / layer.weight[:40]


def test_copies_and_pickles_watch_their_own_passes() -> None:
    model = br.convert(Net(LAYOUTS["channels"][0]), 0.5).train()
    for other in (copy.deepcopy(model), br.convert(nn.Sequential(model, nn.Dropout(0.1)), 0.2)[0]):
        assert other.drop.current is not model.drop.current
        assert other.drop.current is next(iter(other._forward_hooks.values())).__self__
        check(masks_of(other, lambda: other(torch.randn(ROWS, STEPS, 2))), 0, 1)  # noqa: B023
    assert isinstance(pickle.loads(pickle.dumps(Pass(True))), Pass)  # noqa: S301
    plain = br.revert(model)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in plain.modules())
