"""`predict` on any module: the same draws however the work is cut, nothing disturbed, errors that say what to do."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import point
from tests.problems import problem


class MasksOnly(nn.Module):
    """Returns its own masks: dropout of ones."""

    def __init__(self):
        super().__init__()
        self.dropout = br.nn.Dropout(0.3)

    def forward(self, x):
        return point(self.dropout(torch.ones_like(x)))


class Net(nn.Module):
    """A forecaster with BatchNorm and a scheme."""

    def __init__(self, dropout=0.3, batch_first=True, norm=True):
        super().__init__()
        self.recurrent = br.nn.LSTM(3, 5, dropout=dropout, batch_first=batch_first)
        self.norm = nn.BatchNorm1d(5) if norm else nn.Identity()
        self.readout = nn.Linear(5, 2)
        self.batch_first = batch_first

    def forward(self, x, lengths=None):
        _, state = self.recurrent(x, lengths=lengths)
        last = state[0][-1]
        return likelihoods.gaussian(self.readout(self.norm(last)))


@pytest.fixture
def x():
    return torch.randn(7, 6, 3, dtype=torch.float64)


@pytest.fixture
def net():
    return Net().double()


def masks(x, **options):
    return br.predict(MasksOnly(), x, draws=40, **options).draws


def test_masks_are_the_same_bits_in_any_batch_order_and_chunk():
    x = torch.zeros(64, 9)
    whole = masks(x)
    ones = torch.cat([masks(x[i : i + 1], sequence_ids=[i]) for i in range(64)], 1)
    sevens = torch.cat([masks(x[i : i + 7], sequence_ids=range(i, min(i + 7, 64))) for i in range(0, 64, 7)], 1)
    order = torch.randperm(64)
    shuffled = masks(x, sequence_ids=order)[:, order.argsort()]
    for other in (ones, sevens, shuffled, masks(x, max_memory=1), masks(x, max_memory=50_000)):
        assert torch.equal(whole, other)
    assert not torch.equal(whole, masks(x, seed=1))
    assert torch.equal(masks(x, sharing="pass")[:, :1].expand(-1, 64, -1), masks(x, sharing="pass"))


@pytest.mark.parametrize("max_memory", [1, 3_000, 20_000, 10**9])
@pytest.mark.parametrize("keep_draws", [True, False])
def test_results_do_not_depend_on_the_chunks(net, x, max_memory, keep_draws):
    whole = br.predict(net, x, draws=70)
    cut = br.predict(net, x, draws=70, max_memory=max_memory, keep_draws=keep_draws)
    for name in ("mean", "aleatoric", "epistemic", "standard_error"):
        torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    assert cut.degrees_of_freedom == whole.degrees_of_freedom


@pytest.mark.parametrize("max_memory", [1, 20_000])
def test_class_statistics_stream(max_memory):
    exact = problem("gru", "classes")
    whole = br.predict(exact.model, exact.inputs, draws=70)
    cut = br.predict(exact.model, exact.inputs, draws=70, keep_draws=False, max_memory=max_memory)
    for name in ("probabilities", "entropy", "aleatoric", "epistemic", "variation_ratio", "standard_error"):
        torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="keep_draws"):
        _ = cut.draws


def test_one_mask_a_pass_is_one_function_for_all_rows(net, x):
    same = x[:1].expand(7, -1, -1)
    shared = br.predict(net, same, draws=20, sharing="pass").draws
    assert torch.allclose(shared, shared[:, :1].expand(-1, 7), rtol=1e-12)
    assert br.predict(net, same, draws=20).draws.std(1).min() > 0


@pytest.mark.parametrize("scheme", [br.schemes.weight_drop(0.4), br.schemes.zaremba(0.4), br.schemes.moon(0.3)])
def test_every_scheme_predicts(scheme, x):
    net = Net(scheme).double()
    p = br.predict(net, x, draws=20)
    assert p.epistemic.min() > 0
    torch.testing.assert_close(br.predict(net, x[4:5], draws=20, sequence_ids=[4]).mean, p.mean[4:5])


def test_modes_buffers_and_random_state_stay(net, x):
    net.train()
    net.norm.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    state = torch.get_rng_state()
    p = br.predict(net, x, draws=20)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not p.mean.requires_grad
    torch.testing.assert_close(p.mean, br.predict(net.eval(), x, draws=20).mean)


def test_an_interrupted_call_leaves_the_model_as_it_was(net, x):
    class Stop(Exception):
        pass

    calls = []

    def likelihood(distribution):
        calls.append(1)
        torch.randn(3)
        if len(calls) > 2:
            raise Stop
        return distribution

    net.train()
    state = torch.get_rng_state()
    with pytest.raises(Stop):
        br.predict(net, x, draws=60, max_memory=1, likelihood=likelihood)
    assert all(m.training for m in net.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert net.recurrent.source is None
    assert int(net.norm.num_batches_tracked) == 0
    assert not net.recurrent._forward_pre_hooks
    br.predict(net, x, draws=4)


def test_time_first_packed_and_padded_agree(x):
    torch.manual_seed(1)
    net = Net(batch_first=False, norm=False).double()
    lengths = torch.tensor([6, 2, 4, 6, 1, 3, 5])
    time_first = x.transpose(0, 1)
    padded = br.predict(net, time_first, draws=20, batch_dim=1, lengths=lengths)
    packed = pack_padded_sequence(time_first, lengths, enforce_sorted=False)
    torch.testing.assert_close(br.predict(net, packed, draws=20).mean, padded.mean)
    torch.testing.assert_close(br.predict(net, packed, draws=20, max_memory=1).mean, padded.mean)
    alone = br.predict(net, time_first[:2, 1:2], draws=20, batch_dim=1, sequence_ids=[1])
    torch.testing.assert_close(alone.mean[0], padded.mean[1])


def test_a_loader_is_one_long_batch(net, x):
    loader = DataLoader(TensorDataset(x), batch_size=3)
    state = torch.get_rng_state()
    p = br.predict(net, loader, draws=20)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(p.mean, br.predict(net, x, draws=20).mean)
    assert p.sequence_ids.tolist() == list(range(7))
    with pytest.raises(ValueError, match="5 entries, but the inputs hold"):
        br.predict(net, loader, draws=20, sequence_ids=range(5))


@pytest.mark.filterwarnings("ignore:.*Dynamo detected a call to a:UserWarning")
def test_a_wrapper_changes_no_mask(net, x, monkeypatch):
    module = sys.modules[nn.DataParallel.__module__]  # the package has a function of the same name
    monkeypatch.setattr(module, "_get_available_device_type", lambda: None)  # stay on the CPU
    expected = br.predict(net, x, draws=16).mean
    torch.testing.assert_close(br.predict(nn.DataParallel(net), x, draws=16).mean, expected)
    torch.testing.assert_close(br.predict(torch.compile(net, backend="eager"), x, draws=16).mean, expected)


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


@pytest.mark.parametrize("max_memory", [None, 1])
def test_no_draws_are_the_deterministic_pass(net, x, max_memory):
    net.train()
    state, options = torch.get_rng_state(), {"draws": 0, "max_memory": max_memory}
    p = br.predict(net, x, **options)
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        exact = net.eval()(x)
        logits = torch.stack([exact.mean, -exact.mean], -1)
    torch.testing.assert_close(p.mean, exact.mean)
    torch.testing.assert_close(p.variance, exact.variance)
    torch.testing.assert_close(p.quantile(0.9), exact.icdf(torch.tensor(0.9, dtype=torch.float64)))
    assert (p.draws_used, p.sampling, p.seed, p.degrees_of_freedom) == (1, "deterministic", None, None)
    assert not torch.cat([p.epistemic, p.standard_error]).any()
    both = br.predict(net, x, likelihood=lambda d: (d, classes(d.mean), point(d.mean)), **options)
    torch.testing.assert_close(both[1].probabilities, logits.softmax(-1))
    torch.testing.assert_close(both[2].mean, exact.mean)
    assert not torch.cat([both[1].epistemic, both[1].standard_error.flatten(), both[2].variance]).any()
    torch.testing.assert_close(br.metrics.crps(both[2], exact.mean + 0.5).value, 0.5)


def classes(mean):
    return torch.distributions.Categorical(logits=torch.stack([mean, -mean], -1))


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


def test_low_precision_is_close_and_leaves_no_trace(x, native_bfloat16):
    torch.manual_seed(1)
    net = Net(norm=False)
    before = torch.get_float32_matmul_precision()
    low = br.predict(net, x.float(), draws=20, precision="bf16")
    full = br.predict(net, x.float(), draws=20)
    assert 0 < (low.mean - full.mean).abs().max() < 1e-2
    assert low.mean.dtype == torch.float32
    assert torch.get_float32_matmul_precision() == before
    assert not net.recurrent._forward_hooks


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


def test_progress_shows_and_ends(net, x, capsys):
    p = br.predict(net, x, draws=20, progress=True)
    assert p.mean.shape == (7,)


_MEMORY = """
import resource, sys, torch, bayesrnn as br
torch.set_num_threads(1)
net = br.nn.LSTM(16, 64, batch_first=True, dropout=0.3)
x = torch.randn(64, 50, 16)
from bayesrnn.inference import point
br.predict(net, x[:4], draws=2, likelihood=lambda out: point(out[0]))
options = {"keep_draws": False, "max_memory": 30_000_000, "likelihood": lambda out: point(out[0])}
br.predict(net, x, draws=int(sys.argv[1]), **options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_is_flat_in_draws():
    # freed tensors go back to the system at once, so that the peak is that of live tensors
    returned = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-c", _MEMORY]
    peaks = [int(subprocess.check_output([*command, str(n)], env=returned)) for n in (10, 1000)]
    assert peaks[1] < 1.1 * peaks[0]
