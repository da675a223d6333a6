"""The comparison with NUTS: its measures on known distributions, the flat network, a conjugate case, a run."""

import math
import shutil

import pytest
import torch

from evaluation.posterior import __main__ as posterior
from evaluation.posterior.comparison import agreement, compare, convergence, scores, table, verdicts
from evaluation.posterior.energy import energy
from evaluation.posterior.methods import _groups, trained
from evaluation.posterior.problem import LENGTH_SCALE, NOISE, PRECISION, Flat, Net, make, sequences, truth
from evaluation.posterior.reference import mean_field, nuts
from evaluation.posterior.report import curves


def test_agreement_of_known_distributions():
    torch.manual_seed(0)
    reference = torch.randn(4000, 3)
    found = agreement(0.5 + 0.5 * torch.randn(4000, 3), reference)
    assert found["mean_error"] == pytest.approx(0.5, abs=0.05)
    assert found["spread_ratio"] == pytest.approx(0.5, abs=0.03)
    # W1 between N(.5, .5) and N(0, 1) is E|.5 - .5 Z|, a folded normal
    folded = 0.5 * math.sqrt(2 / math.pi) * math.exp(-0.5) + 0.5 * math.erf(1 / math.sqrt(2))
    assert found["wasserstein"] == pytest.approx(folded, abs=0.03)
    same = agreement(reference, reference)
    assert (same["mean_error"], same["spread_ratio"], same["wasserstein"]) == (0.0, 1.0, 0.0)


def test_scores_of_the_truth_are_those_of_the_noise():
    target = NOISE * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    found = scores(torch.zeros(1, 20_000), target)
    assert found["nll"] == pytest.approx(0.5 * math.log(2 * math.pi * math.e) + math.log(NOISE), abs=0.02)
    assert found["coverage_0.95"] == pytest.approx(0.95, abs=0.01)
    assert found["rmse"] == pytest.approx(NOISE, rel=0.03)


def test_regions_are_where_they_say():
    problem = make(rows=50, tests=30, seed=1)
    u = problem.x[:, -1, 0]
    assert bool(((u.abs() >= 0.4) & (u.abs() <= 1.2)).all())
    assert float((problem.y - truth(u)).std()) == pytest.approx(NOISE, rel=0.4)
    assert float(problem.regions["gap"][0].abs().max()) <= 0.25
    assert float(problem.regions["beyond"][0].abs().min()) >= 1.5
    torch.testing.assert_close(sequences(u)[:, 2, 0], u * 3 / 4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_the_compiled_energy_is_the_plain_one():
    problem, flat = make(rows=8, seed=0), Flat()
    weights = torch.randn(flat.size, requires_grad=True)
    found = []
    for compiled in (False, True):
        value = energy(problem, flat, compiled=compiled)(weights)
        found.append((value, *torch.autograd.grad(2 * value, weights)))
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-4)


def test_the_flat_network_is_the_network():
    net, flat = Net().eval(), Flat()
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    x = sequences(torch.linspace(-1, 1, 5))
    torch.testing.assert_close(flat(weights, x), net(x).squeeze(-1))
    assert flat.size == 89


def test_decay_is_the_maximum_of_the_posterior_density():
    """A step of SGD with the groups moves along the gradient of the log posterior density."""
    problem, net, twin = make(rows=10), Net(), Net()
    twin.load_state_dict(net.state_dict())
    from bayesrnn import schemes

    optimizer = torch.optim.SGD(_groups(net, schemes.none(), problem.size), lr=0.1)
    (net(problem.x).squeeze(-1) - problem.y).square().mean().backward()
    optimizer.step()
    error = (twin(problem.x).squeeze(-1) - problem.y).square().sum()
    potential = 0.5 * PRECISION * error
    potential = potential + 0.5 * LENGTH_SCALE**2 * sum(p.square().sum() for p in twin.parameters())
    potential.backward()
    for name, parameter in twin.named_parameters():
        expected = parameter.detach() - 0.1 * 2 / (PRECISION * problem.size) * parameter.grad
        torch.testing.assert_close(net.get_parameter(name).detach(), expected, atol=1e-6, rtol=1e-4)


def test_verdicts_name_who_is_too_sure():
    problem = make(rows=10, tests=20)
    torch.manual_seed(0)
    reference = torch.randn(200, 60)
    lines = verdicts({"a": compare(0.1 * reference, reference, problem), "b": compare(reference, reference, problem)})
    assert len(lines) == 3
    assert lines[0].startswith("a is too sure where the data are: 0.10 of the reference's spread")


def test_a_reference_that_did_not_converge_is_called_so():
    assert convergence({"function_rhat_max": 1.3, "function_ess_min": 9.0}).startswith(
        "The chains of NUTS do NOT agree"
    )
    assert convergence({"function_rhat_max": 1.01, "function_ess_min": 400.0}).startswith("The chains of NUTS agree")


def test_training_reduces_the_error_and_draws_differ():
    from bayesrnn import schemes

    problem = make(rows=20, tests=5)
    net = trained(problem, schemes.gal(hidden=0.1, output=0.1), 150, seed=0)
    with torch.no_grad():
        error = float((net(problem.x).squeeze(-1) - problem.y).square().mean())
    assert error < 0.5 * float(problem.y.square().mean())


def test_the_references_sample_and_report():
    problem = make(rows=8, tests=4)
    state = torch.get_rng_state()
    draws, found = nuts(problem, chains=2, warmup=8, samples=6, depth=3, seed=0)
    assert draws.shape == (12, 12)
    assert found["chains"] == 2
    assert found["function_rhat_max"] > 0
    assert 1 <= found["function_ess_min"] <= 12 * 10
    again, _ = nuts(problem, chains=2, warmup=8, samples=6, depth=3, seed=0)
    assert torch.equal(draws, again)
    assert mean_field(problem, 10, 5, 0).shape == (5, 12)
    assert torch.equal(state, torch.get_rng_state())


def test_a_whole_run_writes_table_figure_and_record(tmp_path, capsys):
    chains = {"chains": 2, "warmup": 4, "samples": 4, "depth": 2}
    result = posterior.run(chains, steps=3, draws=16, seed=0, folder=tmp_path)
    assert {"posterior.json", "posterior.md", "posterior.png"} == {p.name for p in tmp_path.iterdir()}
    assert set(result["methods"]) == {"NUTS", "mean field", "concrete dropout", *posterior.METHODS}
    assert table(result["methods"]).count("\n") == 1 + 3 * len(result["methods"])
    assert set(result["learned_rates"]) == {"gru.hidden_l0", "readout.output"}
    assert result["methods"]["deterministic"]["inside"]["spread"] == 0.0
    assert "NUTS" in capsys.readouterr().out
    written = {name: (tmp_path / name).read_bytes() for name in ("posterior.md", "posterior.png")}
    for name in written:
        (tmp_path / name).unlink()
    assert posterior.main(["--report", "--results", str(tmp_path)]) == 0  # from the JSON alone
    assert {name: (tmp_path / name).read_bytes() for name in written} == written


def test_curves_are_means_and_spreads_along_u():
    problem = make(rows=6, tests=5)
    draws = torch.randn(40, 15)
    found = curves(problem, {"NUTS": draws, "one": draws[:1]})
    places = problem.points.argsort().tolist()
    assert found["u"] == sorted(found["u"])
    for k, place in enumerate(places):
        column = draws[:, place].double().numpy()
        assert found["methods"]["NUTS"]["mean"][k] == pytest.approx(column.mean(), abs=1e-5)
        assert found["methods"]["NUTS"]["spread"][k] == pytest.approx(column.std(ddof=1), abs=1e-5)
        assert found["truth"][k] == pytest.approx(0.8 * math.sin(3 * float(problem.points[place])), abs=1e-5)
    assert found["methods"]["one"]["spread"] == [0.0] * 15


def test_a_report_without_a_result_says_what_to_run(tmp_path, capsys):
    assert posterior.main(["--report", "--results", str(tmp_path)]) == 2
    assert "python -m evaluation.posterior" in capsys.readouterr().err
    (tmp_path / "posterior.json").write_text("{}", encoding="utf-8")
    assert posterior.main(["--report", "--results", str(tmp_path)]) == 2
    assert "no curves" in capsys.readouterr().err
