"""Reading a stream in windows equals reading it at once: state and masks go on, draw by draw."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import Stream, point


class Reader(nn.Module):
    """Says the distribution of a value at each step, and carries its state."""

    def __init__(self, scheme, cell=br.nn.LSTM):
        super().__init__()
        self.recurrent = cell(3, 5, 2, dropout=scheme, batch_first=True)
        self.readout = nn.Linear(5, 2)

    def forward(self, x, state=None):
        out, state = self.recurrent(x, state)
        return likelihoods.gaussian(self.readout(out)), state


@pytest.mark.parametrize("scheme", [br.schemes.gal(0.3), br.schemes.zaremba(input=0.4), br.schemes.weight_drop(0.3)])
@pytest.mark.parametrize("max_memory", [None, 1])
def test_windows_equal_the_whole(scheme, max_memory):
    model, x = Reader(scheme).double(), torch.randn(4, 9, 3, dtype=torch.float64)
    whole = br.predict(model, x, draws=20, likelihood=lambda out: out[0])
    stream = Stream(model, 4, draws=20, max_memory=max_memory)
    parts = [stream.step(window) for window in x.split([4, 1, 4], 1)]
    assert stream.steps == 9
    for name in ("mean", "epistemic", "standard_error", "aleatoric"):
        found = torch.cat([getattr(p, name) for p in parts], 1)
        torch.testing.assert_close(found, getattr(whole, name), rtol=1e-9, atol=1e-12)
    stream.reset()
    torch.testing.assert_close(stream.step(x[:, :4]).mean, parts[0].mean)


def test_other_cells_ids_and_time_first():
    model = br.nn.GRU(3, 4, dropout=0.4).double()
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    stream = Stream(model, 5, draws=8, batch_dim=1, sequence_ids=[7, 3, 9, 1, 0])
    stream.step(x[:3])
    second = stream.step(x[3:])
    alone = br.predict(model, x[:, 1:2], draws=8, batch_dim=1, sequence_ids=[3], likelihood=lambda out: point(out[0]))
    torch.testing.assert_close(second.mean[1], alone.mean[0, 3:])
    assert second.sequence_ids.tolist() == [7, 3, 9, 1, 0]


class Looping(nn.Module):
    """A loop of the user's own: the state is in no layer."""

    def __init__(self):
        super().__init__()
        self.cell = br.nn.GRUCell(3, 4, dropout=0.3)

    def forward(self, x, state=None):
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return point(state), state


READY = {
    "last step": lambda: br.models.SequenceRegressor(3, 6, num_layers=2, dropout=0.3),
    "every step": lambda: br.models.SequenceRegressor(3, 6, dropout=0.3, every_step=True, cell="gru"),
    "two targets": lambda: br.models.SequenceRegressor(3, 6, dropout=0.3, outputs=2, every_step=True),
    "step masks": lambda: br.models.SequenceRegressor(3, 6, dropout=br.schemes.zaremba(input=0.3, output=0.2)),
    "untied": lambda: br.models.SequenceRegressor(3, 6, dropout=br.schemes.gal(0.3, gates="untied")),
    "classes": lambda: br.models.SequenceClassifier(3, 6, classes=3, dropout=0.3, labels=["a", "b", "c"]),
    "a layer": lambda: br.nn.LSTM(3, 4, dropout=0.3, batch_first=True),
    "converted": lambda: br.convert(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2)), dropout=0.3),
    "a loop": lambda: Looping(),
}


@pytest.mark.parametrize("name", READY)
def test_single_observations_of_any_model_equal_the_whole(name):
    torch.manual_seed(1)
    model, x = READY[name]().double(), torch.randn(3, 6, 3, dtype=torch.float64)
    whole = br.predict(model, x, draws=20, seed=5, likelihood=LIKELIHOODS.get(name))
    stream = Stream(model, 3, draws=20, seed=5)
    parts = [stream.step(x[:, t]) for t in range(6)]
    mean = "probabilities" if name == "classes" else "mean"
    per_step = name in ("every step", "two targets", "a layer", "converted")
    for key in (mean, "epistemic", "aleatoric", "standard_error"):
        found = torch.stack([getattr(p, key) for p in parts], 1) if per_step else getattr(parts[-1], key)
        torch.testing.assert_close(found, getattr(whole, key), rtol=1e-9, atol=1e-12)
    windows = Stream(model, 3, draws=20, seed=5)
    last = [windows.step(w) for w in x.split([2, 3, 1], 1)][-1]
    found = getattr(last, mean)[:, -1] if per_step else getattr(last, mean)
    torch.testing.assert_close(found, getattr(parts[-1], mean), rtol=1e-9, atol=1e-12)
    if name == "classes":
        assert parts[-1].class_names == ("a", "b", "c")


LIKELIHOODS = {"a layer": lambda out: point(out[0]), "converted": point, "a loop": lambda out: out[0]}


def test_tokens_and_numbers_of_any_kind():
    model = br.models.LanguageModel(9, 4, 5, 1, dropout=0.3, init_range=0.8)
    tokens = torch.randint(9, (2, 5), generator=torch.Generator().manual_seed(0))
    whole = br.predict(model, tokens, draws=16, likelihood=lambda out: out[0]).probabilities
    stream = Stream(model, 2, draws=16)
    parts = [stream.step(tokens[:, 0]), stream.step(tokens[:, 1].tolist()), stream.step(tokens[:, 2:].numpy())]
    found = torch.cat([parts[0].probabilities[:, None], parts[1].probabilities[:, None], parts[2].probabilities], 1)
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)
    one, x = br.models.SequenceRegressor(1, 4, dropout=0.3), torch.randn(2, 3, 1)
    flat = Stream(one, 2, draws=16)
    last = [flat.step(x[:, t, 0].numpy()) for t in range(3)][-1]
    torch.testing.assert_close(last.mean, br.predict(one, x, draws=16).mean, rtol=1e-4, atol=1e-6)


def test_a_model_with_a_context_is_given_its_last_values():
    model = br.models.Forecaster(context=8, horizon=3, hidden_size=4, dropout=0.3)
    y = torch.randn(2, 11)
    stream = Stream(model, 2, draws=16)
    with pytest.raises(ValueError, match="reads 8 values at once, but the stream has 1"):
        stream.step(y[:, 0])
    stream.step(y[:, :8])
    for t in range(8, 10):
        stream.step(y[:, t])
    saved = stream.state_dict()
    assert torch.equal(stream.step(y[:, 10]).mean, br.predict(model, y[:, 3:], draws=16).mean)
    other = Stream(model, 2, draws=16)
    other.load_state_dict(saved)
    assert torch.equal(other.step(y[:, 10]).mean, br.predict(model, y[:, 3:], draws=16).mean)


@pytest.mark.parametrize("name", ["last step", "a layer", "step masks", "a loop"])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_saved_state_goes_on_with_the_same_bits(name, after, tmp_path):
    model, x = READY[name](), torch.randn(3, 6, 3)
    stream = Stream(model, 3, draws=40, max_memory=20_000)
    for t in range(after):
        stream.step(x[:, t])
    save_file(stream.state_dict(), tmp_path / "state")
    expected = [stream.step(x[:, t]).mean for t in range(after, 6)]
    other = Stream(model, 3, draws=40)  # with other memory
    other.load_state_dict(load_file(tmp_path / "state"))
    assert other.steps == after
    assert len(other.state_dict()) > 1 or not after
    found = [other.step(x[:, t]).mean for t in range(after, 6)]
    assert all(map(torch.equal, found, expected)) or not after


def test_time_and_memory_do_not_grow():
    model, x = READY["last step"](), torch.randn(2, 3)
    stream = Stream(model, 2, draws=16)
    sizes = []
    for _ in range(12):
        stream.step(x)
        sizes.append(sum(t.nbytes for t in stream.state_dict().values()))
    assert len({size // 100 for size in sizes[2:]}) == 1  # the first window is kept for the check at the second


class Pooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = br.nn.LSTM(3, 4, dropout=0.3, batch_first=True)

    def forward(self, x):
        return point(self.layer(x)[0].mean(1))


def test_it_says_what_is_wrong():
    model = Reader(br.schemes.gal(0.3))
    stream = Stream(model, 2, draws=4)
    stream.step(torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="the stream has 2 rows, but what came has 3 rows"):
        stream.step(torch.zeros(3, 3, 3))
    pooling = Stream(Pooling(), 2, draws=4)
    pooling.step(torch.randn(2, 3))
    with pytest.raises(ValueError, match="something other than its recurrent layers looks at several steps"):
        pooling.step(torch.randn(2, 3))
    both = br.models.SequenceRegressor(3, 4, dropout=0.3, bidirectional=True)
    with pytest.raises(ValueError, match="is bidirectional: it reads from the end"):
        Stream(both, 2, draws=4).step(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="draws must be at least 2"):
        Stream(model, 2, draws=1)
    with pytest.raises(ValueError, match="nothing in this model"):
        Stream(Reader(0.0), 2)
    with pytest.raises(TypeError, match="a stream is read by one torch module, but a list"):
        Stream([model], 2)
    with pytest.raises(ValueError, match="sequence_ids must name the 2 rows, but 3 ids"):
        Stream(model, 2, sequence_ids=[1, 2, 3])
    saved = stream.state_dict()
    for other in (Stream(model, 2, draws=5), Stream(model, 2, draws=4, seed=1), Stream(Reader(0.3), 2, draws=4)):
        with pytest.raises(ValueError, match=r"this state is of another stream: its (draws|seed|weights) differ"):
            other.load_state_dict(saved)
