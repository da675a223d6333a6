"""Flipped bits, cut ends and exchanged files: whatever differs by a bit from what was written must be refused."""

import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import bayesrnn as br
from bayesrnn._documents import read_document, write_document
from bayesrnn.data import Vocabulary
from bayesrnn.estimators import BayesianRNNForecaster
from bayesrnn.predictive import Predictive
from bayesrnn.storage.run import Manifest, read_run, write_run
from bayesrnn.training import fit
from bayesrnn.training.checkpoint import Checkpoint
from evaluation.faults.trials import scratch


@dataclass(frozen=True)
class Kept:
    """A file that is kept, and how it is read."""

    name: str
    file: Path
    read: Callable[[], Any]


def kept_files(folder: Path, seed: int) -> list[Kept]:
    """Write one file of every kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = br.models.SequenceRegressor(2, 5, 2, dropout=0.2)
        net = torch.nn.Linear(3, 2)
        x = torch.randn(40, 4, 2)
        fit(br.models.SequenceRegressor(2, 3, dropout=0.1), (x, x.sum((1, 2))), epochs=1, checkpoint=folder / "fit",
            progress=False)  # fmt: skip
        spread = Predictive.from_gaussian(torch.zeros(40), torch.ones(40))
        recalibration = br.recalibration.SplitConformal().fit(spread, torch.randn(40))
    _forecaster(seed).save(folder / "forecaster")
    br.save_predictive(br.predict(model.eval(), x, draws=4, seed=seed), folder / "mixture.safetensors")
    br.save_predictive(Predictive.from_samples(x[..., 0].T), folder / "samples.safetensors")
    br.save(model, folder / "model", recalibration=recalibration, seed=seed)
    br.storage.save_weights(net, folder / "net.safetensors")
    Vocabulary(["the", "cat", f"cat{seed}", "<unk>"]).save(folder / "vocabulary.json")
    (folder / "run").mkdir()
    write_run(folder / "run", Manifest("classify", {"rows": 3}, {"accuracy": 0.5}, {"seed": seed}))
    history = folder / "history.json"
    keys = ("level", "vocabulary", "text", "train", "epochs")
    write_document(history, "bayesrnn.history/2", dict.fromkeys(keys, f"x{seed}"))
    (weights,), plain = (folder / "model").glob("weights-*"), folder / "net.safetensors"
    (series,) = (folder / "forecaster").glob("weights-*")
    return [
        Kept("model.json", folder / "model" / "model.json", lambda: br.load(folder / "model")),
        Kept("recalibration", folder / "model" / "model.json", lambda: br.storage.load_recalibration(folder / "model")),
        Kept("weights", weights, lambda: br.load(folder / "model")),
        Kept("save_weights", plain, lambda: br.storage.load_weights(net, plain)),
        Kept("checkpoint", folder / "fit" / "checkpoint.safetensors", lambda: Checkpoint.load(folder / "fit")),
        Kept("vocabulary", folder / "vocabulary.json", lambda: Vocabulary.load(folder / "vocabulary.json")),
        Kept("run", folder / "run" / "run.json", lambda: read_run(folder / "run")),
        Kept("history", history, lambda: read_document(history, "bayesrnn.history/2", keys)),
        *(Kept(file.name, file, lambda: BayesianRNNForecaster.load(folder / "forecaster"))
          for file in (folder / "forecaster" / "forecaster.json", series)),
        *(Kept("predictive", file, lambda file=file: br.load_predictive(file))
          for file in (folder / "mixture.safetensors", folder / "samples.safetensors")),
    ]  # fmt: skip


def _forecaster(seed: int) -> BayesianRNNForecaster:
    days = np.arange(80)
    table = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=80), "y": days % 7})
    table["y"] += np.random.default_rng(seed).normal(size=80)
    return BayesianRNNForecaster(2, draws=4, seed=seed, epochs=1, hidden_size=4, likelihood="gaussian").fit(table)


def flips(count: int, seed: int) -> dict[str, Any]:
    """Flip one bit, or cut the end off, `count` times; and put every file in the place of those of other kinds."""
    draw, outcomes, worst = random.Random(seed), Counter[str](), dict[str, str]()
    with scratch() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = kept_files(Path(place), seed)
        for number in range(count):
            kept = files[number % len(files)]
            whole = kept.file.read_bytes()
            changed, what = bytearray(whole), "flip"
            if number % 5:
                bit = draw.randrange(8 * len(whole))
                changed[bit // 8] ^= 1 << bit % 8
            else:
                changed, what = changed[: draw.randrange(len(whole))], "cut"
            _note(kept, bytes(changed), f"{what} {kept.name} {number}", outcomes, worst)
        for kept in files:
            whole = kept.file.read_bytes()
            for other in files:
                if other.name != kept.name and other.file.read_bytes() != whole:
                    _note(kept, other.file.read_bytes(), f"{other.name} in place of {kept.name}", outcomes, worst)
    return {"trials": outcomes.total(), "outcomes": dict(outcomes), "worst": worst}


def _note(kept: Kept, content: bytes, what: str, outcomes: Counter[str], worst: dict[str, str]) -> None:
    whole = kept.file.read_bytes()
    kept.file.write_bytes(content)
    try:
        kept.read()
        verdict, words = "silent", "loaded"
    except ValueError as error:
        named = kept.file.name in str(error)
        verdict, words = ("refused" if named else "raw error"), str(error)
    except Exception as error:
        verdict, words = "raw error", f"{type(error).__name__}: {error}"
    kept.file.write_bytes(whole)
    outcomes[verdict] += 1
    if verdict != "refused" and len(worst) < 20:
        worst[what] = f"{verdict}: {words:.300}"


def exchanged(count: int, seed: int) -> dict[str, Any]:
    """Exchange files of two saves of one shape: the parts of one model must stay together."""
    outcomes, worst = Counter[str](), dict[str, str]()
    with scratch() as place:
        for number in range(count):
            for name in ("a", "b"):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(2 * (seed + number) + (name == "b"))
                    br.save(br.models.SequenceRegressor(2, 4), Path(place) / name)
            (a,), (b,) = (list((Path(place) / name).glob("weights-*")) for name in ("a", "b"))
            shutil.copyfile(b, a)
            try:
                br.load(Path(place) / "a")
                outcomes["silent"] += 1
                worst[f"weights of another save {number}"] = "loaded"
            except ValueError:
                outcomes["refused"] += 1
    return {"trials": outcomes.total(), "outcomes": dict(outcomes), "worst": worst}
