"""Rows in batches: every row once, in an order that the seed and the epoch fix."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import bayesrnn as br
from bayesrnn.training.batches import as_batches, epoch_seed, split


def order(batches: object) -> list[int]:
    return [int(value) for batch in batches for value in batch[0]]  # type: ignore[attr-defined]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_every_row_once_with_its_target(rows: int, size: int, epoch: int) -> None:
    x = torch.arange(rows)
    batches = as_batches((x, 10 * x), size, 7, shuffle=True, name="train")
    batches.at(epoch)
    found = list(batches)
    assert len(found) == len(batches) == -(-rows // size)
    assert sorted(order(found)) == list(range(rows))
    assert all(torch.equal(10 * a, b) for a, b in found)


@pytest.mark.parametrize("kind", ["tensors", "tensor dataset", "dataset", "loader", "seeded loader"])
def test_order_is_a_function_of_seed_and_epoch(kind: str) -> None:
    x = torch.arange(30)
    rows = TensorDataset(x, x)

    class Rows(Dataset):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            return x[index], x[index]

    def at(seed: int, epoch: int) -> list[int]:
        torch.rand(epoch + 3)  # whatever the global state is
        data = {
            "tensors": (x, x),
            "tensor dataset": rows,
            "dataset": Rows(),
            "loader": DataLoader(rows, 4, True),
            "seeded loader": DataLoader(rows, 4, True, generator=torch.Generator().manual_seed(epoch)),
        }
        batches = as_batches(data[kind], 4, seed, shuffle=True, name="train")
        batches.at(epoch)
        return order(batches)

    assert at(1, 2) == at(1, 2)
    assert at(1, 2) != at(1, 3)
    assert at(1, 2) != at(2, 2)
    assert sorted(at(1, 2)) == list(range(30))


def test_validation_keeps_its_order_and_touches_no_random_state() -> None:
    x = torch.arange(7)
    before = torch.get_rng_state()
    assert order(as_batches((x, x), 3, 0, shuffle=False, name="validation")) == list(range(7))
    assert torch.equal(before, torch.get_rng_state())


def test_fingerprint_tells_rows_apart() -> None:
    x = torch.randn(5, 2)
    same, other = x.clone(), x.clone()
    other[3, 1] += 1e-6

    def fingerprint(x: torch.Tensor) -> str:
        return as_batches((x, torch.zeros(5)), 2, 0, shuffle=True, name="train").fingerprint()

    assert fingerprint(x) == fingerprint(same) != fingerprint(other)
    loaders = [DataLoader(data, 2) for data in (TensorDataset(x), TensorDataset(same), TensorDataset(other))]
    first, second, third = (as_batches(v, 9, 0, shuffle=True, name="train").fingerprint() for v in loaders)
    assert first == second != third
    rows = DataLoader(ListDataset(list(x)), 2)
    assert as_batches(rows, 9, 0, shuffle=True, name="train").fingerprint() == "5 rows in 3 batches"


class ListDataset(Dataset):
    def __init__(self, rows: list) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.rows[index]


def test_epoch_seeds_differ() -> None:
    seeds = {epoch_seed(s, e, p) for s in range(5) for e in range(50) for p in ("training", "order")}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_split() -> None:
    a, b, y = torch.zeros(2), torch.ones(2), torch.tensor([1, 2])
    assert split((a, b, y)) == ((a, b), {}, y)
    assert split([a, y]) == ((a,), {}, y)
    inputs, keywords, target = split({"x": a, "target": y, "lengths": b})
    assert inputs == ()
    assert set(keywords) == {"x", "lengths"}
    assert target is y
    with pytest.raises(ValueError, match=r"keys \['x'\] has no 'target'"):
        split({"x": a})
    with pytest.raises(TypeError, match=r"a batch must be .* but a Tensor was given"):
        split(a)


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (torch.zeros(3), TypeError, r"but a Tensor was given\. For a tensor of inputs x and targets y pass \(x, y\)"),
        (7, TypeError, "train must be .* but a int was given"),
        ((torch.zeros(3), [None] * 3), TypeError, r"train\[1\] must be numbers"),
        ((torch.zeros(3),), ValueError, "must hold inputs and a target, but it holds 1 parts"),
        ({"x": torch.zeros(3)}, ValueError, r"keys \['x'\] but no 'target'"),
        ((torch.zeros(3), torch.zeros(4)), ValueError, r"different numbers of rows: \[3, 4\]"),
        ((torch.zeros(0, 2), torch.zeros(0)), ValueError, "there are no rows to train on"),
        ((torch.tensor([1.0, float("nan")]), torch.zeros(2)), ValueError, r"train\[0\] holds 1 NaN .* \(rows 1\)"),
        ((torch.zeros(2), torch.tensor([1.0, float("inf")])), ValueError, r"train\[1\] holds 1 NaN or infinite"),
        (DataLoader(TensorDataset(torch.zeros(3)), 5, drop_last=True), ValueError, "DataLoader without batches"),
    ],
)
def test_data_that_cannot_be_trained_on(data: object, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        as_batches(data, 2, 0, shuffle=True, name="train")  # type: ignore[arg-type]


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), torch.zeros(())


@pytest.mark.parametrize("data", [Endless(), DataLoader(Endless(), 4)])
def test_streams_are_refused_in_words(data: object) -> None:
    with pytest.raises(ValueError, match=r"train is an IterableDataset, whose rows fit can neither count nor shuffle"):
        as_batches(data, 4, 0, shuffle=True, name="train")  # type: ignore[arg-type]


def test_arrays_lists_and_frames_train_as_tensors_do() -> None:
    x = torch.randn(12, 4, 1)
    y, lengths = x.sum((1, 2)), torch.arange(12) % 4 + 1
    forms = [
        {"x": x, "lengths": lengths, "target": y},
        {"x": x.numpy(), "lengths": lengths.tolist(), "target": pd.Series(y.numpy(), index=range(50, 62))},
        {"x": x.double().numpy(), "lengths": lengths.numpy(), "target": y.tolist()},
    ]
    losses = []
    for form in forms:
        torch.manual_seed(0)
        model = br.models.SequenceRegressor(1, 4, dropout=0.2)
        losses.append(br.fit(model, form, epochs=2, progress=False).train)
    assert losses[0] == losses[1] == losses[2]
    with pytest.raises(TypeError, match=r"train\[1\] must be numbers"):
        as_batches((x, ["a"] * 12), 4, 0, shuffle=True, name="train")
    with pytest.raises(ValueError, match=r"train\[0\] holds rows of unequal lengths. .* pass the lengths"):
        as_batches(([[1.0], [2.0, 3.0]], [0, 1]), 4, 0, shuffle=True, name="train")


def test_integer_and_boolean_labels_of_a_dataset_train(tmp_path: object) -> None:
    class Rows(Dataset):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[torch.Tensor, bool]:
            return torch.full((3, 1), float(index)), index > 3

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = br.nn.GRU(1, 1, batch_first=True, dropout=0.1)

        def forward(self, x: torch.Tensor) -> torch.distributions.Bernoulli:
            return br.likelihoods.bernoulli(self.rnn(x)[0][:, -1])

    assert br.fit(Net(), Rows(), epochs=1, progress=False).epochs == 1


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_not_finite_in_a_loader_is_named_by_batch(part: int, packed: bool) -> None:
    x, y = torch.randn(9, 4, 1), torch.randn(9)
    (x, y)[part][5] = torch.nan
    (x, y)[part][4] = torch.inf

    def together(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[object, torch.Tensor]:
        return pack_sequence([a for a, _ in rows]), torch.stack([b for _, b in rows])

    loader = DataLoader(TensorDataset(x, y), 3, collate_fn=together if packed else None)
    message = rf"batch 1 of train, part \[{part}\], holds {2 if part else 8} NaN or infinite values"
    with pytest.raises(ValueError, match=message):
        list(as_batches(loader, 3, 0, shuffle=True, name="train"))
    if not packed:
        model = br.models.SequenceRegressor(input_size=1, hidden_size=2, dropout=0.1)
        with pytest.raises(ValueError, match=message.replace("train", "validation")):
            br.fit(model, (torch.zeros(9, 4, 1), torch.zeros(9)), loader, epochs=1, progress=False)


def test_texts_and_whole_numbers_of_a_loader_are_left_alone() -> None:
    rows = [({"x": torch.ones(2), "name": "a", "n": 3}, 1.0), ({"x": torch.ones(2), "name": "b", "n": 4}, 2.0)]
    batches = as_batches(DataLoader(rows, 2), 2, 0, shuffle=False, name="train")  # type: ignore[arg-type]
    assert next(iter(batches))[0]["name"] == ["a", "b"]
