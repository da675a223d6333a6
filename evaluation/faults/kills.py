"""Processes killed at random moments; what they leave must be whole, and the same call must end as if never killed."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import bayesrnn as br
from bayesrnn.predictive import Predictive
from bayesrnn.training import AdamW, Recipe, fit, train_language_model
from evaluation.faults.trials import scratch

State = dict[str, torch.Tensor]
_LONGEST = 120.0  # seconds that a child may take


def kills(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Kill `count` processes doing work of a kind; return how many were killed in its midst, and what was lost."""
    return KINDS[kind](count, random.Random(seed))


def _child(work: Callable[[], object]) -> int:
    """Start a process that does the work, and return its id; it shares nothing that it changes."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work()
        status = 0
    finally:
        os._exit(status)


def _killed(process: int, moment: float) -> bool:
    """Kill a process after a moment; return whether it was still at work."""
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the work failed by itself")
    return os.WIFSIGNALED(status)


def _to_the_end(work: Callable[[], object]) -> None:
    process = _child(work)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("the work failed by itself")


def _saves(count: int, draw: random.Random) -> dict[str, Any]:
    models = [br.models.SequenceRegressor(3, 64), br.models.LanguageModel(500, 64, 64, 2)]
    sizes = [sum(weight.numel() for weight in model.state_dict().values()) for model in models]
    lost = leftovers = 0
    with scratch() as folder:
        path = Path(folder) / "model"
        br.save(models[0], path)

        def over_and_over() -> None:
            for k in range(10**6):
                br.save(models[k % 2], path)

        for _ in range(count):
            _killed(_child(over_and_over), draw.uniform(0.02, 0.15))
            try:
                back = br.load(path)
                lost += sum(weight.numel() for weight in back.state_dict().values()) not in sizes
            except ValueError:
                lost += 1
        br.save(models[0], path)
        leftovers = len(list(path.iterdir())) - 2
    return {"kills": count, "lost": lost, "left over after the next save": leftovers}


def _folders(count: int, draw: random.Random) -> dict[str, Any]:
    predictive = Predictive.from_gaussian(torch.zeros(40), torch.ones(40))
    report = br.calibration_report(predictive, torch.linspace(-2, 2, 40))
    contents, mixed = report.files() | {f"picture{k}.svg": "x" * 100_000 for k in range(12)}, 0
    from bayesrnn._folders import MANIFEST, atomic_folder

    with scratch() as folder:
        path = Path(folder) / "out"

        def write(mark: int) -> None:
            with atomic_folder(path) as staged:
                for name, content in contents.items():
                    (staged / name).write_text(f"{mark}\n{content!s}")

        def over_and_over() -> None:
            for k in range(10**6):
                write(k)

        write(0)
        (path / "notes.txt").write_text("mine")
        for _ in range(count):
            _killed(_child(over_and_over), draw.uniform(0.02, 0.1))
            write_marks = {
                p.read_text().partition("\n")[0] for p in path.iterdir() if p.name not in (MANIFEST, "notes.txt")
            }
            kept = (path / "notes.txt").is_file() and len(list(path.iterdir())) == len(contents) + 2
            mixed += len(write_marks) != 1 or not kept
        write(0)
        leftovers = len(list(Path(folder).iterdir())) - 1
    return {"kills": count, "lost": mixed, "left over after the next save": leftovers}


def _fitted(folder: Path | None) -> State:
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = br.models.SequenceRegressor(1, 6, dropout=0.2)
    x = torch.randn(64, 5, 1, generator=generator)
    y = x.sum((1, 2))
    fit(model, (x, y), (x[:9], y[:9]), epochs=25, batch_size=16, checkpoint=folder, progress=False)
    return model.state_dict()


def _read(folder: Path | None) -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = br.models.LanguageModel(20, 6, 6, 1, dropout=0.2)
    tokens = torch.randint(20, (400,), generator=torch.Generator().manual_seed(1))
    recipe = replace(Recipe(25, AdamW(), 4, 8, clip=1.0))
    options = {"checkpoint": folder, "checkpoint_seconds": 0.0, "progress": False}
    train_language_model(model, tokens, recipe, tokens[:60], **options)
    return model.state_dict()


def _trainings(train: Callable[[Path | None], State], count: int, draw: random.Random) -> dict[str, Any]:
    from safetensors.torch import load_file, save_file

    done = killed = different = unreadable = leftovers = 0
    with scratch() as folder:
        place = Path(folder)
        start = time.monotonic()
        _to_the_end(lambda: save_file(train(None), place / "whole.safetensors"))
        whole, taken = load_file(place / "whole.safetensors"), time.monotonic() - start
        while killed < count:
            run, end = place / f"run{done}", place / f"end{done}.safetensors"

            def work(run: Path = run, end: Path = end) -> None:
                save_file(train(run), end)

            while killed < count and _killed(_child(work), draw.uniform(0.1 * taken, 0.7 * taken)):
                killed += 1
                try:
                    br.training.checkpoint.Checkpoint.load(run)
                except ValueError:
                    unreadable += 1
            _to_the_end(work)
            ended = load_file(end)
            different += not all(torch.equal(ended[key], whole[key]) for key in whole)
            leftovers += len(list(run.iterdir())) - 1
            done += 1
    return {
        "kills": killed, "trainings ended": done, "lost": unreadable + different, "unreadable checkpoints": unreadable,
        "ended with other bits": different, "left over after the end": leftovers,
    }  # fmt: skip


KINDS: dict[str, Callable[[int, random.Random], dict[str, Any]]] = {
    "save": _saves,
    "folder": _folders,
    "fit": lambda count, draw: _trainings(_fitted, count, draw),
    "language": lambda count, draw: _trainings(_read, count, draw),
}
