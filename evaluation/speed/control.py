"""What the first order in the masks is worth: errors of epistemic variance and mean, and the CPU time they take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import bayesrnn as br
from evaluation import records
from evaluation.options import named
from evaluation.speed import propagation

__all__ = ["Forecasts", "compared", "markdown", "run"]

_HIDDEN, _WINDOW, _ROWS = 32, 24, 24
_METHODS = ("independent", "stratified", "control 16", "control 96", "first order", "propagation")


class Forecasts(nn.Module):
    """A window of a series to Gaussian forecasts of the next values; masks on everything that enters a product."""

    def __init__(self, depth: int, rate: float, horizon: int) -> None:
        super().__init__()
        self.rate, self.horizon = rate, horizon
        self.embedding = nn.Linear(1, _HIDDEN)
        self.recurrent = br.nn.LSTM(
            _HIDDEN, _HIDDEN, depth, batch_first=True, dropout=br.schemes.gal(rate, gates="tied")
        )
        self.dropout = br.nn.Dropout(rate)
        self.readout = nn.Linear(_HIDDEN, 2 * horizon)

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        features = self.dropout(self.recurrent(self.embedding(x))[0][:, -1])
        output = self.readout(features).unflatten(-1, (self.horizon, 2))
        return br.likelihoods.gaussian(output[:, 0] if self.horizon == 1 else output)

    def propagated(self, x: Tensor) -> Tensor:
        """Return the variance that propagation gives, (rows, ...)."""
        features = propagation.lstm(self.recurrent, self.embedding(x), self.rate)
        moments = propagation.linear(propagation.dropped(features, self.rate), self.readout.weight, self.readout.bias)
        variance = moments.variance.unflatten(-1, (self.horizon, 2))[..., 0]
        return variance[:, 0] if self.horizon == 1 else variance


class Usual(nn.Module):
    """What a user writes: torch's layers with dropout between them, left on, one pass per draw."""

    def __init__(self, depth: int, rate: float, horizon: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(1, _HIDDEN)
        self.recurrent = nn.LSTM(_HIDDEN, _HIDDEN, depth, batch_first=True, dropout=rate if depth > 1 else 0.0)
        self.dropout = nn.Dropout(rate)
        self.readout = nn.Linear(_HIDDEN, 2 * horizon)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.dropout(self.recurrent(self.embedding(x))[0][:, -1]))


@dataclass(frozen=True)
class Case:
    """One network."""

    rate: float
    depth: int
    horizon: int
    trained: bool

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        return f"{self.rate:g}-{self.depth}-{self.horizon}-{'trained' if self.trained else 'untrained'}"


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Measure every network (or those named), save it as JSON and return the name of the result."""
    name = "_".join(filter(None, ("speed_control", "plain" if plain else "", "quick" if quick else "")))
    return records.save(name, {"rows": compared(quick, only)}, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = [
        "### Epistemic standard deviation without and with the first order in the masks",
        "",
        "Root mean square relative error over rows and outputs / CPU time in deterministic passes. Independent and "
        "stratified: 96 draws. Last columns: the time of the usual loop to the same error of the variance, over that "
        "of the first order, and of 96 draws under control.",
        "",
        "| rate, layers, horizon | network | independent | stratified | control, 16 draws | control, 96 draws "
        "| first order | propagation | first order | control |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        cells = [f"{row['methods'][m]['sd']:.3f} / {row['methods'][m]['passes']:.0f}" for m in _METHODS]
        gains = [f"{row['methods'][m]['gain']:.1f}" for m in ("first order", "control 96")]
        kind = "trained" if row["trained"] else "untrained"
        lines.append(f"| {row['rate']:g}, {row['depth']}, {row['horizon']} | {kind} | {' | '.join([*cells, *gains])} |")
    return "\n".join(lines)


def compared(quick: bool, only: list[str] | None = None) -> list[dict[str, Any]]:
    """Return errors and times of every network."""
    grid = [Case(*values) for values in product((0.1, 0.25, 0.5), (1, 2), (1, 24), (False, True))]
    if quick:
        grid = [case for case in grid if case.rate == 0.25 and case.trained]
    chosen = named(only, {case.name: (case.name, case) for case in grid})
    return [_case(case, quick) for _, case in chosen]


def _case(case: Case, quick: bool) -> dict[str, Any]:
    model, x = _network(case, 40 if quick else 300)
    truth = br.predict(model, x, draws=512 if quick else 4096, control="linear", keep_draws=False, seed=99)
    usual = Usual(case.depth, case.rate, case.horizon)

    def drawn(draws: int, seed: int, **options: Any) -> Any:
        return br.predict(model, x, draws=draws, seed=seed, keep_draws=False, **options)

    ways: dict[str, Callable[[int], Any]] = {
        "independent": lambda seed: drawn(96, seed, sampling="independent"),
        "stratified": lambda seed: drawn(96, seed),
        "control 16": lambda seed: drawn(16, seed, control="linear"),
        "control 96": lambda seed: drawn(96, seed, control="linear"),
        "first order": lambda _: br.linearize(model, x),
        "propagation": lambda _: model.propagated(x),
    }
    with torch.no_grad():
        one, loop = _seconds(lambda: model(x), 30), _seconds(lambda: usual(x), 30)
        methods = {name: _judged(way, truth, one, 1 if quick else 4) for name, way in ways.items()}
    for method in methods.values():
        needed = 96 * (methods["independent"]["variance"] / method["variance"]) ** 2
        method["gain"] = needed * loop / (method["passes"] * one)
    facts = {"rate": case.rate, "depth": case.depth, "horizon": case.horizon, "trained": case.trained}
    return facts | {"pass_ms": 1e3 * one, "usual_pass_ms": 1e3 * loop, "methods": methods}


def _judged(way: Callable[[int], Any], truth: Any, one: float, seeds: int) -> dict[str, float]:
    """Return root mean square errors, in shares of the true spread, and the time in deterministic passes."""
    spread = truth.epistemic.double()
    results = [way(seed) for seed in range(seeds)]
    epistemic = torch.stack([r if isinstance(r, Tensor) else r.epistemic for r in results]).double()
    errors = {"sd": (epistemic / spread).sqrt() - 1, "variance": epistemic / spread - 1}
    if not isinstance(results[0], Tensor):
        errors["mean"] = (torch.stack([r.mean for r in results]).double() - truth.mean) / spread.sqrt()
    measured = {name: float(error.square().mean().sqrt()) for name, error in errors.items()}
    return measured | {"passes": _seconds(lambda: way(0), 3) / one}


def _seconds(call: Callable[[], object], times: int) -> float:
    """Return the median CPU time of a call, which other work on the machine hardly moves."""
    call()
    seconds = []
    for _ in range(times):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return median(seconds)


def _network(case: Case, steps: int) -> tuple[Forecasts, Tensor]:
    """Return a network, trained on a noisy sum of two oscillations or as it began, and windows."""
    torch.manual_seed(0)
    t = torch.arange(800.0)
    values = (t / 6).sin() + 0.5 * (t / 17).sin() + 0.2 * torch.randn(800)
    pieces = values.unfold(0, _WINDOW + case.horizon, 1)
    windows, targets = pieces[:, :_WINDOW].unsqueeze(-1), pieces[:, _WINDOW:]
    model = Forecasts(case.depth, case.rate, case.horizon)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps if case.trained else 0):
        chosen = torch.randint(len(windows), (32,))
        wanted = targets[chosen, 0] if case.horizon == 1 else targets[chosen]
        loss = -model(windows[chosen]).log_prob(wanted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), windows[:: len(windows) // _ROWS][:_ROWS]
