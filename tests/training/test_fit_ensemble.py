"""Members of an ensemble: each as `fit` alone would train it, resumed, and side by side."""

import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn.training import fit, fit_ensemble

QUICK = {"epochs": 2, "progress": False}


def make():
    return br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.2)


def equal(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_members_are_what_fit_gives_with_their_seeds(rows) -> None:
    state = torch.get_rng_state()
    networks = fit_ensemble(make, rows, members=2, seed=4, workers=1, **QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    for network, seed, history in zip(networks, networks.seeds, networks.histories, strict=True):
        torch.manual_seed(seed)
        alone = make()
        assert fit(alone, rows, seed=seed, **QUICK) == history
        assert equal(network, alone)
    assert not equal(*networks)
    assert float(br.predict(networks, rows[0], draws=16).between_networks.min()) > 0


def test_a_killed_training_goes_on_and_more_members_join(rows, tmp_path, monkeypatch) -> None:
    whole = fit_ensemble(make, rows, rows, members=3, workers=1, **QUICK)
    fit_ensemble(make, rows, rows, members=2, workers=1, checkpoint=tmp_path, **{**QUICK, "epochs": 1})
    fit_ensemble(make, rows, rows, members=2, workers=1, checkpoint=tmp_path, **QUICK)
    resumed = fit_ensemble(make, rows, rows, members=3, workers=1, checkpoint=tmp_path, **QUICK)
    assert all(map(equal, whole, resumed))
    assert [h.train for h in whole.histories] == [h.train for h in resumed.histories]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["member-0", "member-1", "member-2"]
    with pytest.raises(ValueError, match="belongs to another training") as caught:
        fit_ensemble(make, rows, rows, members=2, seed=1, workers=1, checkpoint=tmp_path, **QUICK)
    assert "member 0 of the ensemble" in caught.value.__notes__[0]


@pytest.mark.slow
def test_side_by_side_is_the_same(rows) -> None:
    one, two = (fit_ensemble(make, rows, members=2, workers=n, **QUICK) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert not b.training
        for x, y in zip(a.state_dict().values(), b.state_dict().values()):
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


def test_it_says_what_is_wrong(rows) -> None:
    one = make()
    with pytest.raises(ValueError, match="same network, or networks that share weights"):
        fit_ensemble(lambda: one, rows, members=2, **QUICK)
    for wrong in (one, lambda: 3, 3):
        with pytest.raises(TypeError, match="make must be a function that returns a new network"):
            fit_ensemble(wrong, rows, members=2, **QUICK)
    with pytest.raises(ValueError, match="members must be at least 2"):
        fit_ensemble(make, rows, members=1, **QUICK)
