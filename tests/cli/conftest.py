"""Data and runs that the tests of several files share and leave as they are: of `forecast`, `lm` and `classify`."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from tests.cli.series import QUICK, SMALL_LM, SMALL_SEQUENCES, panel


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a series of 160 days, of which the last ten are in `later.csv`."""
    folder = tmp_path_factory.mktemp("series")
    steps = np.arange(170)
    values = np.sin(2 * np.pi * steps / 7) + 0.05 * np.random.default_rng(0).normal(size=170).cumsum()
    table = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=170, freq="D"), "sales": values})
    table.head(160).to_csv(folder / "early.csv", index=False)
    table.tail(20).to_csv(folder / "later.csv", index=False)  # ten days are in both
    table.tail(7).to_csv(folder / "gap.csv", index=False)
    options = ["--time", "day", "--target", "sales", "--horizon", "5", *QUICK]
    assert main(["forecast", str(folder / "early.csv"), *options, "-o", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    panel(200, 6).to_csv(folder / "early.csv", index=False)
    panel(230, 6, skip=200).to_csv(folder / "later.csv", index=False)
    options = ["--time", "day", "--id", "shop", "--target", "sold", "--known", "holiday", "--horizon", "6", *QUICK]
    assert main(["forecast", str(folder / "early.csv"), *options, "-o", str(folder / "run"), "--epochs", "3"]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def lm_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences by three rules, made here."""
    choice = random.Random(0).choice
    subjects, verbs, objects = ("the cat", "a dog", "one bird"), ("sees", "hears"), ("the moon .", "some rain .")
    lines = [f"{choice(subjects)} {choice(verbs)} {choice(objects)}" for _ in range(150)]
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def lm_run(lm_text: Path) -> Path:
    folder = lm_text.parent / "run"
    assert main(["lm", "train", str(lm_text), str(folder), *SMALL_LM]) == 0
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose verdict is in one word, three in twenty of them wrong."""
    choice = random.Random(0).choice
    good, bad, things = ("fine", "great", "lovely"), ("dull", "poor", "weak"), ("film", "book", "song", "plot")
    lines = []
    for k in range(400):
        verdict = choice(("good", "bad"))
        word = choice(good if verdict == "good" else bad)
        lines.append({"id": k, "review": f"a {word} {choice(things)}, {choice(things)} and all", "verdict": verdict})
    table = pd.DataFrame(lines)
    flipped = np.random.default_rng(0).random(400) < 0.15
    table.loc[flipped, "verdict"] = table.loc[flipped, "verdict"].map({"good": "bad", "bad": "good"})
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def classify_run(reviews: Path) -> Path:
    folder = reviews.parent / "run"
    command = ["classify", str(reviews), "-o", str(folder), "--text", "review", "--target", "verdict"]
    assert main([*command, *SMALL_SEQUENCES, "--epochs", "12"]) == 0  # not --quick: that means four epochs
    return folder


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of 4 to 9 steps whose target is the sum of a feature, with noise."""
    draw = np.random.default_rng(0)
    lines = []
    for k in range(160):
        heat = draw.normal(size=draw.integers(4, 10))
        wear = heat.sum() + 0.3 * draw.normal()
        lines += [{"machine": f"m{k}", "hour": t, "heat": v, "wear": wear} for t, v in enumerate(heat)]
    path = tmp_path_factory.mktemp("machines") / "machines.csv"
    pd.DataFrame(lines).sample(frac=1, random_state=0).to_csv(path, index=False)
    return path
