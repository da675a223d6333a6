"""What people try first and gets them nowhere: each says what to do instead."""

import pytest
import torch
from torch import distributions as D
from torch import nn

import bayesrnn as br


class Net(nn.Module):
    def __init__(self, likelihood=None, batch_first=True, outputs=2):
        super().__init__()
        self.layer = br.nn.LSTM(3, 4, dropout=0.3, batch_first=batch_first)
        self.readout, self.likelihood, self.batch_first = nn.Linear(4, outputs), likelihood, batch_first

    def forward(self, x):
        out = self.layer(x)[0]
        raw = self.readout(out[:, -1] if self.batch_first else out[-1])
        return raw if self.likelihood is None else self.likelihood(raw)


X = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("draws", [0, 16])
@pytest.mark.parametrize("wrong", ["gaussian", D.Normal, 3])
def test_likelihoods_are_functions(wrong, draws):
    with pytest.raises(TypeError, match=r"likelihood must be a function.*likelihood=bayesrnn\.likelihoods\.gaussian"):
        br.predict(Net(), X, draws=draws, likelihood=wrong)


def test_a_class_of_one_parameter_is_a_function_too():
    p = br.predict(Net(outputs=3), X, draws=16, likelihood=lambda out: D.Poisson(out.exp()))
    same = br.predict(Net(torch.exp, outputs=3), X, draws=0, likelihood=D.Poisson)
    assert p.shape == same.shape


def test_a_likelihood_on_top_of_a_distribution():
    with pytest.raises(TypeError, match="The model returns a distribution already: leave out likelihood="):
        br.predict(Net(br.likelihoods.gaussian), X, draws=16, likelihood=br.likelihoods.gaussian)


def test_lengths_of_a_model_without_them():
    with pytest.raises(TypeError, match=r"Net.forward takes \['x'\] and no lengths"):
        br.predict(Net(br.likelihoods.gaussian), X, draws=16, lengths=[1, 2, 3, 4])


@pytest.mark.parametrize("wrong", [["a", "b", "c", "d"], 3])
def test_ids_are_numbers(wrong):
    with pytest.raises(TypeError, match=r"sequence_ids must be one whole number per row.*pandas.factorize"):
        br.predict(Net(br.likelihoods.gaussian), X, draws=16, sequence_ids=wrong)


def test_time_first_tensors_want_batch_dim():
    with pytest.raises(ValueError, match=r"time-first, \(steps, rows, ...\), pass batch_dim=1"):
        br.predict(Net(br.likelihoods.gaussian, batch_first=False), X, draws=0)


def test_a_point_has_no_interval():
    p = br.predict(Net(), X, draws=0)
    with pytest.raises(ValueError, match="deterministic pass of a model without a likelihood"):
        p.interval(0.9)
    torch.testing.assert_close(p.quantile(0.5), p.mean)


@pytest.mark.parametrize("path", [3, None])
def test_paths_are_texts(path):
    p = br.Predictive.from_gaussian(torch.zeros(2), 1.0)
    for call in (br.load, br.load_predictive, lambda path: br.save_predictive(p, path),
                 lambda path: br.predict_to(path, Net(br.likelihoods.gaussian), X, format="csv")):  # fmt: skip
        with pytest.raises(TypeError, match=rf"path must be a text or a pathlib.Path, but {path}"):
            call(path)


def test_classes_have_the_names_of_the_model():
    model = br.models.SequenceClassifier(3, 4, labels=["down", "up"], dropout=0.3)
    assert set(br.predict(model, X, draws=16).to_frame()["mode"]) <= {"down", "up"}
    unnamed = br.models.SequenceClassifier(3, 4, dropout=0.3)
    assert br.predict(unnamed, X, draws=0).class_names is None
