"""Rows dealt out and inputs: by what must hold."""

import numpy as np
import pytest
import torch

from bayesrnn.data.labelled import Labelled
from bayesrnn.models import SequenceClassifier
from bayesrnn.tables.inputs import Inputs
from bayesrnn.tables.learning import recalibrated
from bayesrnn.tables.model import SequenceRun
from bayesrnn.tables.parts import dealt, fingerprint


def texts(count: int, classes: int = 3, groups: int | None = None, copies: int = 1) -> Labelled:
    rows = [f"text {k // copies}" for k in range(count)]
    target = np.array([f"c{k // copies % classes}" for k in range(count)], dtype=object)
    labels = None if groups is None else np.array([f"g{k % groups}" for k in range(count)], dtype=object)
    return Labelled(rows, np.arange(count), target, labels)


@pytest.mark.parametrize("with_test", [True, False])
def test_every_row_has_one_part_and_shares_are_kept(with_test: bool) -> None:
    data = texts(600)
    parts = dealt(data, 0, with_test=with_test, classes=True)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(600))
    shares = (0.6, 0.12, 0.14, 0.14) if with_test else (0.68, 0.12, 0.2)
    for (name, rows), share in zip(parts.items(), shares):
        assert abs(len(rows) / 600 - share) < 0.01, name
        for label in ("c0", "c1", "c2"):  # classes are spread evenly
            assert abs(np.mean(data.target[rows] == label) - 1 / 3) < 0.04


def test_groups_and_equal_contents_are_not_torn_apart() -> None:
    speakers = texts(300, groups=6)
    parts = dealt(speakers, 1, with_test=True, classes=True)
    owners = [set(speakers.groups[rows]) for rows in parts.values()]
    assert all(owners)
    assert sum(map(len, owners)) == 6
    copied = texts(400, copies=4)
    owners = [{copied.rows[k] for k in rows} for rows in dealt(copied, 1, with_test=True, classes=True).values()]
    assert sum(map(len, owners)) == 100


def test_the_deal_follows_from_the_seed_and_a_rare_class_is_learned() -> None:
    data = texts(100)
    data.target[7] = "rare"
    for seed in range(20):
        parts = dealt(data, seed, with_test=True, classes=True)
        assert 7 in parts["train"]
        again = dealt(data, seed, with_test=True, classes=True)
        assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["test"], dealt(data, 0, with_test=True, classes=True)["test"])


def test_too_little_to_deal_out_is_refused() -> None:
    with pytest.raises(ValueError, match="there are 3 groups, too few"):
        dealt(texts(300, groups=3), 0, with_test=True, classes=True)
    with pytest.raises(ValueError, match="there are 10 different sequences, too few"):
        dealt(texts(200, copies=20), 0, with_test=True, classes=True)
    only = texts(300, groups=6)
    only.target[:] = only.groups  # each class has one group
    with pytest.raises(ValueError, match="is in groups that are held out only"):
        dealt(only, 0, with_test=True, classes=True)


def test_words_and_characters() -> None:
    long = Inputs.learned(Labelled(["A cat, it's here.", "a cat sat on it"] * 5, np.arange(10)))
    assert long.level == "word"
    assert {"a", "cat", ",", "it's", "<eos>", "<unk>"} <= set(long.tokens)
    x, lengths = long.tensors(Labelled(["A dog", ""], np.arange(2)))
    assert lengths.tolist() == [3, 1]  # an empty text has its end
    assert x[0, 1] == long.tokens.index("<unk>")
    assert Inputs.learned(Labelled(["Anna", "Bo"], np.arange(2))).level == "character"
    assert Inputs.from_dict(long.to_dict()) == long


def test_features_are_taken_by_name_not_by_place() -> None:
    rows = [np.array([[1.0, 2.0], [3.0, 4.0]])]
    inputs = Inputs.learned(Labelled(rows, np.arange(1), features=("a", "b")))
    turned = Labelled([rows[0][:, ::-1]], np.arange(1), features=("b", "a"))
    assert inputs.tensors(turned)[0].tolist() == [rows[0].tolist()]
    with pytest.raises(ValueError, match="lacks the features b"):
        inputs.tensors(Labelled(rows, np.arange(1), features=("a", "c")))
    with pytest.raises(ValueError, match=r"reads numbers \(a, b\), but the file holds texts"):
        inputs.tensors(Labelled(["text"], np.arange(1)))


def test_a_temperature_is_not_fitted_to_rows_that_are_all_right() -> None:
    """It would be at its limit, and make the classifier sure of everything."""
    data = Labelled(["a", "b"] * 40, np.arange(80), np.array(["a", "b"] * 40, dtype=object))
    inputs = Inputs.learned(data, "character")
    model = SequenceClassifier(vocabulary=len(inputs.tokens), hidden_size=8, labels=["a", "b"], dropout=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, lengths = inputs.tensors(data)
    for _ in range(40):
        optimizer.zero_grad()
        (-model(x, lengths).log_prob(torch.arange(80) % 2).mean()).backward()
        optimizer.step()
    run = recalibrated(SequenceRun("classify", model.eval(), inputs, {}, draws=16), data, data)
    assert run.recalibration is None
    assert "are right, which would make it sure of all" in run.notes[0]
    assert run.sets is not None
    run = recalibrated(run, data, data[np.arange(5)])  # what was fitted before does not stay
    assert run.sets is run.held_out is run.watched is None
    assert "No sets and no abstention: 5 calibration rows" in run.notes[-1]


def test_a_fingerprint_tells_contents_order_and_targets_apart() -> None:
    data, other = texts(20), texts(20)
    assert fingerprint(data) == fingerprint(other)
    other.target[3] = "changed"
    assert fingerprint(data) != fingerprint(other)
    assert fingerprint(data) != fingerprint(data[np.arange(20)[::-1]])


def test_a_class_per_row_is_refused() -> None:
    with pytest.raises(ValueError, match="100 classes in 100 rows"):
        dealt(texts(100, classes=100), 0, with_test=True, classes=True)
