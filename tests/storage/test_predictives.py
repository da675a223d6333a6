"""Predictives written to a file come back bit for bit."""

import pytest
import torch
from torch import distributions as D

import bayesrnn as br
from bayesrnn.inference import point
from bayesrnn.predictive import Predictive
from tests.problems import problem


def kinds():
    exact, other = problem("lstm", "regression"), problem("gru", "regression", seed=1)
    x = exact.inputs
    yield "mixture", br.predict(exact.model, x, draws=16, sequence_ids=range(3, 9))
    yield "ensemble", br.predict([exact.model, other.model], x, draws=16)
    yield "moments", br.predict([exact.model, other.model], x, draws=16, keep_draws=False)
    yield "points", br.predict(exact.model, x, draws=16, likelihood=lambda out: point(out.mean))
    yield "tolerance", br.predict(exact.model, x, draws=640, tolerance=0.05)
    yield "deterministic", br.predict(exact.model, x, draws=0)
    yield "classes", br.predict(problem("lstm", "classes").model, x, draws=16).with_class_names("abc")
    yield "samples", Predictive.from_samples(torch.randn(9, 4, 2))
    yield "quantiles", Predictive.from_quantiles([0.1, 0.5, 0.9], torch.arange(6.0).reshape(3, 2))
    for family in (
        D.Poisson(torch.rand(4, 3) + 1),
        D.StudentT(5.0, torch.zeros(4, 3), 2.0),
        D.LogNormal(torch.zeros(4, 3), 1.0),
    ):
        yield type(family).__name__, Predictive.from_draws(family)
    mixture = D.MixtureSameFamily(
        D.Categorical(torch.rand(4, 3, 2)), D.Normal(torch.randn(4, 3, 2), torch.ones(4, 3, 2))
    )
    yield "mixture of mixtures", Predictive.from_draws(mixture)
    yield "counts", Predictive.from_draws(br.likelihoods.negative_binomial(torch.randn(4, 3, 2)))
    yield "student", Predictive.from_draws(br.likelihoods.student_t(torch.randn(4, 3, 3)))
    model = br.models.LanguageModel(9, 4, 5, 1, dropout=0.3)
    yield "tokens", br.perplexity([model, model], torch.arange(20) % 9, draws=32)


def test_everything_comes_back(tmp_path):
    names = ("mean", "std", "probabilities", "aleatoric", "epistemic", "between_networks", "standard_error", "log_prob")
    names += (
        "class_names",
        "draws_used",
        "seed",
        "sampling",
        "sequence_ids",
        "draws_per_row",
        "networks",
        "perplexity",
    )
    for kind, p in kinds():
        path = tmp_path / f"{kind}.safetensors"
        br.save_predictive(p, path)
        back = br.load_predictive(path)
        assert type(back) is type(p), kind
        for name in names:
            values = []
            for q in (p, back):
                try:
                    values.append(getattr(q, name, None))
                except ValueError:  # not known of this kind
                    values.append(None)
            tensors = isinstance(values[0], torch.Tensor)
            assert torch.equal(*values) if tensors else callable(values[0]) or values[0] == values[1], (kind, name)
        if hasattr(p, "quantile") and kind != "moments":
            assert torch.equal(p.quantile(0.3), back.quantile(0.3)), kind


def test_it_says_what_is_wrong(tmp_path):
    p = Predictive.from_gaussian(torch.zeros(40), 1.0)
    y = torch.randn(40)
    with pytest.raises(TypeError, match="takes a predictive, but a Tensor"):
        br.save_predictive(y, tmp_path / "a")
    recalibrated = br.recalibration.QuantileRecalibration().fit(p, y).apply(p)
    with pytest.raises(TypeError, match="a recalibrated predictive is the one before with a map"):
        br.save_predictive(recalibrated, tmp_path / "a")
    with pytest.raises(TypeError, match="not one of the distributions that can be saved"):
        br.save_predictive(Predictive.from_draws(D.Gumbel(torch.zeros(2, 3), 1.0)), tmp_path / "a")
    br.save_weights(torch.nn.Linear(1, 1), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="holds no predictive"):
        br.load_predictive(tmp_path / "w.safetensors")
    br.save_predictive(p, tmp_path / "p.safetensors")
    data = bytearray((tmp_path / "p.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "p.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        br.load_predictive(tmp_path / "p.safetensors")
