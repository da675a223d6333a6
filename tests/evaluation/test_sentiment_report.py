"""Scores, tables and figures of the sentiment networks."""

import json

import pytest
import torch

import bayesrnn as br
from evaluation.sentiment import report
from evaluation.sentiment.__main__ import main
from evaluation.sentiment.scoring import abstention, fitted_precision, score
from evaluation.sentiment.training import Settings, deterministic, train, weights
from evaluation.sentiment.variants import (
    grid_variants,
    main_variants,
)
from tests.evaluation.tiny_sentiment import TINY, tiny


def test_the_precision_is_the_one_that_draws_deserve():
    torch.manual_seed(0)
    target = torch.randn(2000, dtype=torch.float64)
    one = fitted_precision(torch.zeros(1, 2000, dtype=torch.float64), target)
    assert one == pytest.approx(1 / float(target.square().mean()))
    draws = 0.6 * torch.randn(400, 2000, dtype=torch.float64)  # draws add .36, so .64 is left for the noise
    assert fitted_precision(draws, target) ** -0.5 == pytest.approx(0.8, abs=0.06)


def test_abstention_finds_errors_that_uncertainty_announces():
    torch.manual_seed(0)
    spread = torch.linspace(0.02, 0.6, 500)
    target = spread * torch.randn(500)
    judged = br.Predictive.from_gaussian(torch.zeros(500), spread)
    found = abstention(judged, target)
    assert found["variance"]["auroc"] > 0.8
    assert found["oracle_area"] < found["variance"]["area"] < found["random_area"]
    assert "epistemic" not in found


def test_a_whole_small_run(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("BAYESRNN_DATA", raising=False)
    options = ["--results", str(tmp_path / "results"), "--checkpoints", str(tmp_path / "state"), "--synthetic"]
    main(["--quick", *options, "--epochs", "1", "--cells", "gru", "--variants", "none", "gal_variance"])
    table = (tmp_path / "results/table.md").read_text()
    assert "| sound | gru | gal_variance | 1 | mc | 1 |" in table
    assert "A constant scores" in table
    names = {p.name for p in (tmp_path / "results").iterdir()}
    assert {"curves-sound-gru.png", "abstention-sound-gru.png", "sound-gru-none-seed0.json"} <= names
    assert "epoch 1" in capsys.readouterr().out
    for wrong, message in (
        (["--variants", "best"], "--variants must be of"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--penalty", "-1"], "--penalty at least 0"),
        (["--penalty", "nan"], "--penalty at least 0"),
        (["--rate", "2"], "--rate must be at least 0 and below 1"),
        (["--device", "mars"], "--device must be"),
        (["--seeds", "0", "-1"], "--seeds must be at least 0"),
        (["--results", __file__], "exists"),
        (["report", "--results", str(tmp_path / "state")], "there are no runs"),
    ):
        assert main(["--quick", *options, *wrong]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1


def test_the_report_draws_what_there_is_and_names_what_is_broken(tmp_path):
    bins = [{"predicted": 1.0, "measured": 0.5}, {"predicted": 2.0, "measured": 1.5}]
    (tmp_path / "vader.json").write_text(json.dumps({"vader": {"one": {"bins": bins, "spearman": 0.1}}}))
    report.write(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"vader.json", "vader.png"}
    (tmp_path / "sound-gru-none-seed0.json").write_text("{")
    with pytest.raises(ValueError, match=r"seed0.json cannot be read .*run what wrote it"):
        report.write(tmp_path)


def test_the_variational_network_is_the_missing_cell_of_the_grid(tmp_path):
    gal, cell = main_variants()["gal"], grid_variants()["pE0.5_pU0.5"]
    one, other = tiny(tmp_path, gal), tiny(tmp_path, cell)
    assert all(a.equal(b) for a, b in zip(one.network().parameters(), other.network().parameters(), strict=True))
    record = {"split": "paper", "cell": "gru", "variant": gal.to_dict(), "seed": 0}
    study = [record | {"variant": v.to_dict()} for n, v in grid_variants().items() if n != "pE0.5_pU0.5"]
    later, foreign = record | {"seed": 1}, record | {"variant": main_variants()["naive"].to_dict()}
    found = report.of_grid([later, foreign, record, *study])
    assert sorted(r["variant"]["name"] for r in found) == sorted(grid_variants())
    trained = record | {"variant": cell.to_dict(), "scores": {}}
    assert report.of_grid([record, trained]) == [trained]


def test_constant_noise_gives_no_confidence():
    judged = br.Predictive.from_gaussian(torch.randn(50), torch.full((50,), 0.3))
    assert set(abstention(judged, torch.randn(50))) == {"large_errors", "oracle_area", "random_area"}


@pytest.mark.filterwarnings("ignore:only .* independent sequences")  # a tiny corpus
def test_scores_hold_both_passes(tmp_path):
    run = tiny(tmp_path, main_variants(0.25)["gal"], Settings(**(TINY.to_dict() | {"epochs": 1})))
    train(run, report=lambda line: None)
    scores = score(run)["scores"]
    assert set(scores["last"]) == {"deterministic", "mc"}
    assert scores["last"]["mc"]["abstention"]["epistemic"]["area"] > 0
    net, target = weights(run, "last"), run.split.test.ratings
    mean = run.distribution(deterministic(net, run.split.test)).mean.double()
    assert scores["last"]["deterministic"]["rmse"] == pytest.approx(
        float((mean - target).square().mean().sqrt()), rel=1e-5
    )


def test_the_table_of_abstention_is_the_mean_over_seeds():
    def record(seed: int, name: str, outputs: int, area: float) -> dict:
        curve = {"area": area, "auroc": 0.5 + area, "coverage": [1.0], "risk": [area]}
        whole = {"random_area": 0.4, "oracle_area": 0.1, "variance": curve}
        drawn = whole | {"epistemic": curve}
        scores = {"best": {"deterministic": {"abstention": whole}, "mc": {"abstention": drawn}}}
        variant = {"name": name, "outputs": outputs}
        return {"split": "sound", "cell": "gru", "seed": seed, "variant": variant, "scores": scores}

    lines = report.abstention_table([record(0, "gal_variance", 2, 0.2), record(1, "gal_variance", 2, 0.3)]).splitlines()
    assert (
        "| sound | gru | gal_variance | deterministic | total variance | 2 | 0.40000 | 0.25000 | 0.10000 | 0.750 |"
        in lines
    )
    assert sum("| draws |" in line for line in lines) == 2
    of_one = report.abstention_table([record(0, "gal", 1, 0.2)])  # of constant noise: no confidence in one pass
    assert "| deterministic |" not in of_one
    assert "| draws | epistemic | 1 |" in of_one
    assert report.abstention_table([{"split": "paper", "variant": {"name": "none", "outputs": 1}, "scores": {}}]) == ""
