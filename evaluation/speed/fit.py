"""What a forecast costs: a default fit beside a plain `nn.LSTM`, 200 draws for an origin, a batch, and the import.

CPU seconds of one thread, which a busy machine changes little. The plain network is what a user would write: a Gaussian
`nn.LSTM` of the same units without masks in a loop over tensors, on the windows of every training of the fit, for as
many epochs, with as many passes over validation. What torch imports with its first optimizer counts for neither.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import pad, softplus

import bayesrnn as br
from evaluation import records
from evaluation.options import named
from evaluation.speed.stages import Stages

__all__ = ["markdown", "run"]

_UNITS, _BATCH = 32, 64
_OUTSIDE = "first recalibration"
_WATCHED = {
    "bayesrnn.estimators.forecaster.read_panel": "reading the table",
    "bayesrnn.forecasting.learn.choose": "choosing the linear part",
    "bayesrnn.forecasting.learn.fit_skeleton": "fitting the linear part",
    "bayesrnn.forecasting.features.Reader.windows": "windows",
    "bayesrnn.forecasting.learn.fit": "loop, batches, digests",
    "bayesrnn.training.loop.batch_loss": "likelihood",
    "bayesrnn.models.forecaster_residual.ResidualForecaster.forward": "forward",
    "bayesrnn.training.loop.Alone.backward": "backward",
    "torch.optim.AdamW.step": "optimizer",
    "bayesrnn.forecasting.state.State.validated": _OUTSIDE,
}
"""Functions by the stage that their CPU time counts for, each without what it calls of the others."""
_IMPORTS = {
    "import torch": "import torch",
    "import bayesrnn": "import bayesrnn",
    "and use it": "import bayesrnn as br; br.nn.LSTM, br.models, br.schemes, br.predict, br.fit",
}


class Plain(nn.Module):
    """torch's LSTM over the steps of context and horizon, a Gaussian for each step of the horizon."""

    def __init__(self, context: int, ahead: int, units: int = _UNITS) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(context + ahead, units, batch_first=True), nn.Linear(units, 2)

    def forward(self, context: Tensor, ahead: Tensor) -> Normal:
        steps = torch.cat([pad(context, (0, ahead.shape[2])), pad(ahead, (context.shape[2], 0))], 1)
        location, raw = self.head(self.recurrent(steps)[0][:, -ahead.shape[1] :]).unbind(-1)
        return Normal(location, softplus(raw) + 1e-4)


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Measure everything (or parts by name: fit, batch, import), save it as JSON and return the name of the result."""
    parts: dict[str, Callable[[bool], Any]] = {"fit": _fit, "batch": _batch, "import": _imports}
    threads = torch.get_num_threads()
    result = {part.__name__.strip("_"): part(quick) for part in named(only, parts)}
    torch.set_num_threads(threads)
    name = "_".join(filter(None, ("speed_fit", "plain" if plain else "", "quick" if quick else "", *(only or []))))
    return records.save(name, result, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the tables of a result."""
    lines: list[str] = []
    if fit := result.get("fit"):
        lines += [f"### A default fit on {fit['steps']:,} hourly steps, horizon {fit['horizon']}", ""]
        lines += ["| | CPU s |", "|---|---:|"]
        lines += [f"| {stage} | {seconds:.2f} |" for stage, seconds in fit["stages"].items()]
        lines += [f"| **fit** (reach: 90 s) | {fit['seconds']:.1f} |"]
        lines += [f"| plain `nn.LSTM`, as many epochs ({fit['epochs']}) | {fit['plain']:.1f} |"]
        lines += [f"| **ratio** (reach: 2) | {fit['seconds'] / fit['plain']:.2f} |", ""]
        lines += ["| | ms, all threads | CPU ms, one thread |", "|---|---:|---:|"]
        lines += [f"| an origin with 200 draws (reach: 50 ms) | {fit['origin_ms']:.1f} | {fit['origin_cpu_ms']:.1f} |"]
        lines += [f"| an origin of a backtest over {fit['origins']} | | {fit['backtest_cpu_ms']:.1f} |", ""]
    if rows := result.get("batch"):
        lines += ["### A batch of a training, CPU ms", "", "| LSTM | `nn.LSTM`, loop | with masks, loop | `fit` |"]
        lines += ["|---|---:|---:|---:|"]
        lines += [f"| {r['network']} | {r['plain']:.2f} | {r['loop']:.2f} | {r['fit']:.2f} |" for r in rows]
        lines += [""]
    if imports := result.get("imports"):
        lines += ["### Import, CPU seconds of a process", "", "| | s | × `import torch` |", "|---|---:|---:|"]
        lines += [f"| {name} | {r['seconds']:.2f} | {r['ratio']:.2f} |" for name, r in imports.items()]
    return "\n".join(lines).rstrip()


def _fit(quick: bool) -> dict[str, Any]:
    import pandas as pd

    steps, horizon = (900, 6) if quick else (10_000, 48)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])  # with what torch imports for its first optimizer
    hours, rng = np.arange(steps), np.random.default_rng(0)
    values = np.sin(hours / 24 * 2 * np.pi) + 0.5 * np.sin(hours / 168 * 2 * np.pi) + 0.3 * rng.standard_normal(steps)
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=steps, freq="h"), "y": values})
    options: dict[str, Any] = {"epochs": 1, "draws": 16} if quick else {}
    forecaster = br.estimators.BayesianRNNForecaster(horizon, **options)
    stages, trainings = Stages(_WATCHED, _OUTSIDE), []
    with stages.watching(), _noted("bayesrnn.forecasting.learn.fit", trainings):
        forecaster.fit(frame)
    start = time.process_time()
    epochs = sum(_plain_training(arguments[1], options["epochs"]) for arguments, options in trainings)
    plain = time.process_time() - start
    count, every = (3, 300) if quick else (20, 50)
    origin_cpu = _median(lambda: forecaster.predict_distribution(), count, time.process_time)
    start = time.process_time()
    origins = len(forecaster.backtest(every=every))
    backtest = (time.process_time() - start) / origins
    torch.set_num_threads(threads)
    origin = _median(lambda: forecaster.predict_distribution(), count, time.perf_counter)
    return {
        "steps": steps, "horizon": horizon, "stages": stages.seconds, "seconds": sum(stages.seconds.values()),
        "plain": plain, "epochs": epochs, "origin_ms": 1e3 * origin, "origin_cpu_ms": 1e3 * origin_cpu,
        "backtest_cpu_ms": 1e3 * backtest, "origins": origins,
    }  # fmt: skip


def _plain_training(train: Mapping[str, Tensor], epochs: int) -> int:
    """Train the plain network as a fit trained its own, and return the epochs."""
    model = Plain(train["context"].shape[2], train["ahead"].shape[2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def loss(rows: Mapping[str, Tensor], index: Any) -> Tensor:
        target = ((rows["target"][index][..., 0] - rows["base"][index]) / rows["scale"][index]).float()
        return -model(rows["context"][index], rows["ahead"][index]).log_prob(target).mean()

    for _ in range(epochs):
        for index in torch.randperm(len(train["base"])).split(_BATCH):
            _step(optimizer, model, loss(train, index))
    return epochs


def _batch(quick: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    batches, rounds = (4, 1) if quick else (100, 5)
    rows = []
    for units, steps, size in ((8, 12, 32), (32, 24, 32), (64, 50, 32)):
        torch.manual_seed(0)
        x = torch.randn(batches * size, steps, 1)
        y = x.sum((1, 2))

        def ours(units: int = units) -> nn.Module:
            return br.models.SequenceRegressor(1, units, dropout=0.2)

        def loop(model: nn.Module, x: Tensor = x, y: Tensor = y, size: int = size) -> None:
            optimizer = torch.optim.AdamW(model.train().parameters())
            for index in torch.randperm(len(x)).split(size):
                _step(optimizer, model, -model(x[index]).log_prob(y[index]).mean())

        calls: dict[str, Callable[[], object]] = {
            "plain": lambda units=units: loop(_Last(units)),
            "loop": lambda: loop(ours()),
            "fit": lambda x=x, y=y, size=size: br.fit(ours(), (x, y), epochs=1, batch_size=size, progress=False),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds + 1):
            for name, call in calls.items():
                times[name].append(_median(call, 1, time.process_time))
        medians = {name: 1e3 * statistics.median(values[1:]) / batches for name, values in times.items()}
        rows.append({"network": f"1 x {units}, {size} x {steps}", **medians})
    return rows


class _Last(nn.Module):
    """torch's LSTM with a Gaussian after the last step."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(1, units, batch_first=True), nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Normal:
        location, raw = self.head(self.recurrent(x)[0][:, -1]).unbind(-1)
        return Normal(location, softplus(raw) + 1e-4)


def _step(optimizer: torch.optim.Optimizer, model: nn.Module, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _imports(quick: bool) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    with tempfile.TemporaryDirectory() as cache:  # with bytecode at hand, as of an installed package
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        for _ in range(2 if quick else 8):
            for name, code in _IMPORTS.items():
                before = os.times()
                subprocess.run([sys.executable, "-c", code], env=environment, check=True)
                after = os.times()
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                times[name].append(spent)
    torch_alone = times["import torch"][1:]
    return {
        name: {
            "seconds": statistics.median(values[1:]),
            "ratio": statistics.median(a / b for a, b in zip(values[1:], torch_alone, strict=True)),
        }
        for name, values in times.items()
    }


def _median(call: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(count):
        start = clock()
        call()
        times.append(clock() - start)
    return statistics.median(times)


@contextmanager
def _noted(place: str, calls: list[tuple[Any, Any]]) -> Iterator[None]:
    """Keep the arguments of every call of a function."""
    function = resolve_name(place)

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments, options))
        return function(*arguments, **options)

    with patch(place, call):
        yield
