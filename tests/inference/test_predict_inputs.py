"""Inputs, outputs and options of `predict`: what is taken, warned of and refused."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import point
from tests.inference.small_net import Net


def test_a_loader_is_one_long_batch(net, x):
    loader = DataLoader(TensorDataset(x), batch_size=3)
    state = torch.get_rng_state()
    p = br.predict(net, loader, draws=20)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(p.mean, br.predict(net, x, draws=20).mean)
    assert p.sequence_ids.tolist() == list(range(7))
    with pytest.raises(ValueError, match="5 entries, but the inputs hold"):
        br.predict(net, loader, draws=20, sequence_ids=range(5))


@pytest.mark.parametrize("draws", [0, 16])
def test_a_wrong_length_is_told_of_its_row(draws: int) -> None:
    net = br.models.SequenceRegressor(input_size=3, hidden_size=4, dropout=0.2)
    with pytest.raises(ValueError, match=r"between 1 and the 6 steps .* row 2 has 7"):
        br.predict(net, torch.zeros(4, 6, 3), draws=draws, lengths=[6, 1, 7, 8])


def test_a_loader_that_yields_targets_is_refused(net, x):
    y = torch.randint(1, 6, (7,))
    counts = br.models.SequenceRegressor(input_size=3, hidden_size=4, dropout=0.2, likelihood="poisson")
    rows = torch.randn(7, 6, 3)
    with pytest.raises(ValueError, match=r"would read part 2 as lengths. predict takes inputs only"):
        br.predict(counts, DataLoader(TensorDataset(rows, y), batch_size=3), draws=16)
    with pytest.raises(ValueError, match=r"would read part 2 as lengths"):
        br.compare(counts, DataLoader(TensorDataset(rows, y), batch_size=3), target=y, draws=16)
    plain = nn.Sequential(nn.Linear(3, 1), br.nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"yields 2 parts a batch, but Sequential takes only \['input'\]"):
        br.predict(plain, DataLoader(TensorDataset(rows, y), batch_size=3), draws=16)
    inputs = DataLoader(TensorDataset(rows), batch_size=3)
    p = br.predict(counts, inputs, draws=16, lengths=y)
    torch.testing.assert_close(p.mean, br.predict(counts, rows, draws=16, lengths=y).mean)


def test_a_loader_that_shuffles_is_refused(net, x):
    with pytest.raises(ValueError, match=r"the loader shuffles.*shuffle=False"):
        br.predict(net, DataLoader(TensorDataset(x), batch_size=3, shuffle=True), draws=16)


def test_structures_of_outputs_give_structures_of_predictives(x):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net().double()

        def forward(self, inputs):
            distribution = self.net(inputs["x"])
            logits = torch.stack([distribution.mean, -distribution.mean], -1)
            return {
                "distribution": distribution,
                "parts": (distribution.mean, torch.distributions.Categorical(logits=logits)),
            }

    model = Two()
    found = br.predict(model, {"x": x, "note": None}, draws=20)
    torch.testing.assert_close(
        found["distribution"].mean, br.predict(model, {"x": x}, draws=20, max_memory=1)["distribution"].mean
    )
    assert type(found["parts"]) is tuple
    torch.testing.assert_close(found["parts"][0].mean, found["distribution"].mean)
    assert bool((found["parts"][0].aleatoric == 0).all())
    assert found["parts"][1].probabilities.shape == (7, 2)


def test_a_plain_tensor_is_a_point_prediction(x):
    layer = br.nn.GRU(3, 4, batch_first=True, dropout=0.4).double()
    p = br.predict(layer, x, draws=40, likelihood=lambda out: point(out[0][:, -1]))
    assert bool((p.aleatoric == 0).all())
    torch.testing.assert_close(p.epistemic, p.draws.var(0))
    torch.testing.assert_close(p.variance, p.epistemic)
    low, high = p.interval(0.5)
    assert bool((low < p.mean).all() and (p.mean < high).all())
    assert p[2:4].mean.shape == (2, 4)


def test_the_deterministic_pass_needs_no_masks_and_takes_every_kind_of_input():
    plain, x = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)), torch.randn(5, 3)
    torch.testing.assert_close(br.predict(plain, x, draws=0).mean, plain.eval()(x))
    with pytest.raises(ValueError, match=r"nothing in this model.*draws=0"):
        br.predict(plain, x)
    net, x = Net(batch_first=False, norm=False), torch.randn(6, 5, 3)
    lengths = torch.tensor([6, 2, 4, 6, 1])
    one = br.predict(net, x, draws=0, batch_dim=1, lengths=lengths).mean
    torch.testing.assert_close(one, net.eval()(x, lengths=lengths).mean)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    torch.testing.assert_close(br.predict(net, packed, draws=0, max_memory=1).mean, one)
    loader = DataLoader(TensorDataset(x.transpose(0, 1)), batch_size=2)
    whole = br.predict(Net(norm=False), loader, draws=0)
    assert whole.mean.shape == (5,)
    x[0, 3, 0] = float("nan")
    with pytest.raises(ValueError, match="for the sequences 3"):
        br.predict(net, x, draws=0, batch_dim=1)


def test_a_plain_tensor_without_likelihood_is_warned_of(x):
    net = nn.Sequential(nn.Linear(3, 4), br.nn.Dropout(0.3), nn.Linear(4, 1)).double()
    with pytest.warns(
        br.inference.NoLikelihoodWarning, match=r"leave out the noise.*likelihood=bayesrnn.inference.point"
    ):
        p = br.predict(net, x[:, 0], draws=16)
    assert not p.aleatoric.any()
    meant = br.predict(net, x[:, 0], draws=16, likelihood=point)  # no warning: warnings are errors here
    torch.testing.assert_close(meant.draws, p.draws)
    br.predict(net, x[:, 0], draws=0)


def test_not_a_number_is_named_by_sequence(x):
    x[3, 2, 1] = float("nan")
    for norm in (True, False):
        with pytest.raises(ValueError, match="for the sequences 13"):
            br.predict(Net(norm=norm).double(), x, draws=20, sequence_ids=range(10, 17))
    layer = br.nn.GRU(3, 4, batch_first=True, dropout=0.4).double()
    with pytest.raises(ValueError, match="for the sequences 3"):
        br.predict(layer, x, draws=20, likelihood=lambda out: likelihoods.gaussian(out[0][:, -1, :2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 1}, "draws must be at least 2.* give draws=0"),
        ({"draws": -1}, "draws must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"sampling": "sobol"}, "sampling must be one of"),
        ({"sharing": "batch"}, "sharing must be one of"),
        ({"batch_dim": 2}, "batch_dim must be 0, or 1"),
        ({"tolerance": 0.0}, "tolerance is a standard error"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"max_memory": 0}, "max_memory must be at least 1"),
        ({"sequence_ids": [1, 2]}, "sequence_ids holds 2 entries, but the inputs hold 7 rows"),
        ({"lengths": [1] * 9}, "lengths holds 9 entries, but the inputs hold 7 rows"),
        ({"sequence_ids": [0.5] * 7}, "must be one whole number per row"),
        ({"likelihood": lambda distribution: distribution.mean}, "must return a torch Distribution"),
        ({"likelihood": lambda distribution: point(distribution.mean[:5])}, "must keep one row per row"),
    ],
)
def test_bad_options_say_what_to_do(net, x, options, message):
    with pytest.raises(ValueError, match=message):
        br.predict(net, x, **options)


def test_bad_inputs_say_what_to_do(net, x):
    with pytest.raises(ValueError, match=r"inputs\[0\]: 7, inputs\[1\]: 3"):
        br.predict(net, x, torch.zeros(3))
    with pytest.raises(ValueError, match="nothing to predict"):
        br.predict(net)
    with pytest.raises(ValueError, match="hold no tensor"):
        br.predict(net, None)
    with pytest.raises(ValueError, match="hold no rows"):
        br.predict(net, x[:0])
    with pytest.raises(ValueError, match="yielded no batch"):
        br.predict(net, DataLoader(TensorDataset(x[:0]), batch_size=3))
    with pytest.raises(TypeError, match="point takes a tensor"):
        point([1.0])
