"""`predict` on any module: the same draws however the work is cut, nothing disturbed, errors that say what to do."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import bayesrnn as br
from bayesrnn.inference import point
from tests.inference.small_net import Net
from tests.problems import problem


class MasksOnly(nn.Module):
    """Returns its own masks: dropout of ones."""

    def __init__(self):
        super().__init__()
        self.dropout = br.nn.Dropout(0.3)

    def forward(self, x):
        return point(self.dropout(torch.ones_like(x)))


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


@pytest.mark.filterwarnings("ignore:.*Dynamo detected a call to a:UserWarning")
def test_a_wrapper_changes_no_mask(net, x, monkeypatch):
    module = sys.modules[nn.DataParallel.__module__]  # the package has a function of the same name
    monkeypatch.setattr(module, "_get_available_device_type", lambda: None)  # stay on the CPU
    expected = br.predict(net, x, draws=16).mean
    torch.testing.assert_close(br.predict(nn.DataParallel(net), x, draws=16).mean, expected)
    torch.testing.assert_close(br.predict(torch.compile(net, backend="eager"), x, draws=16).mean, expected)


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
