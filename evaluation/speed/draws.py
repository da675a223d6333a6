"""How many independent draws a stratified one is worth: the variance of the predictive mean over seeds, by model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import bayesrnn as br
from evaluation import records
from evaluation.options import named

__all__ = ["efficiency", "markdown", "run"]


class Series(nn.Module):
    """One LSTM that reads a window of a series and says the distribution of the next value."""

    def __init__(self, scheme: br.schemes.Scheme, readout: float) -> None:
        super().__init__()
        self.recurrent = br.nn.LSTM(1, 32, batch_first=True, dropout=scheme)
        self.dropout = br.nn.Dropout(readout) if readout else nn.Identity()
        self.readout = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        return br.likelihoods.gaussian(self.readout(self.dropout(self.recurrent(x)[0][:, -1])))


class Language(nn.Module):
    """A small language model over symbols."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embedding = br.nn.Embedding(symbols, 32, dropout=0.3)
        self.recurrent = br.nn.LSTM(32, 32, batch_first=True, dropout=0.3)
        self.dropout = br.nn.Dropout(0.3)
        self.readout = nn.Linear(32, symbols)

    def forward(self, x: Tensor) -> torch.distributions.Categorical:
        features = self.dropout(self.recurrent(self.embedding(x))[0])
        return torch.distributions.Categorical(logits=self.readout(features))


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Measure every model (or those named), save it as JSON and return the name of the result."""
    name = "_".join(filter(None, ("speed_draws", "plain" if plain else "", "quick" if quick else "")))
    return records.save(name, {"rows": efficiency(quick, only)}, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = [
        "### Time to equal standard error: independent draws that a stratified draw is worth",
        "",
        "| model | draws | variance, independent / stratified |",
        "|---|---:|---:|",
    ]
    lines += [f"| {g['model']} | {g['draws']} | {g['variance_ratio']:.1f} |" for g in result["rows"]]
    return "\n".join(lines)


def efficiency(quick: bool, only: list[str] | None = None) -> list[dict[str, Any]]:
    """Return, for each model and number of draws, the variance of independent over that of stratified sampling."""
    steps, seeds, sizes = (60, 8, (96,)) if quick else (600, 40, (16, 32, 96, 192))
    windows, targets = _series()

    def forecaster(hidden: float, readout: float) -> tuple[nn.Module, Tensor]:
        return _fit(Series(br.schemes.gal(hidden=hidden), readout), windows, targets, steps), windows

    def language(sequences: int) -> tuple[nn.Module, Tensor]:
        text = _text(sequences)
        return _fit(Language(50), text[:, :-1], text[:, 1:], steps), text[:, :-1]

    models: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
        "forecaster, hidden states only": lambda: forecaster(0.25, 0.0),
        "forecaster, hidden states and readout": lambda: forecaster(0.25, 0.25),
        "forecaster, readout dominates": lambda: forecaster(0.05, 0.5),
        "language model": lambda: language(4096),
        "language model that learned 64 sequences by heart": lambda: language(64),
    }
    chosen = named(only, {name: (name, build) for name, build in models.items()})
    rows = []
    for name, build in chosen:
        model, x = build()
        for draws in sizes:
            spread = {
                sampling: _variance(model, x[:16], draws, sampling, seeds) for sampling in ("independent", "stratified")
            }
            gain = spread["independent"] / spread["stratified"]
            rows.append({"model": name, "draws": draws, "seeds": seeds, "variance_ratio": gain})
    return rows


def _variance(model: nn.Module, x: Tensor, draws: int, sampling: str, seeds: int) -> float:
    """Mean over rows and targets of the variance over seeds of the predictive mean (or log probabilities)."""
    means = []
    for seed in range(seeds):
        p = br.predict(model, x, draws=draws, sampling=sampling, seed=seed, keep_draws=False)
        means.append(p.mean if hasattr(p, "mean") else p.probabilities.gather(-1, x.unsqueeze(-1).roll(-1, 1)).log())
    return float(torch.stack(means).double().var(0).mean())


def _series() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(600.0)
    values = (t / 6).sin() + 0.5 * (t / 17).sin() + 0.2 * torch.randn(600, generator=generator)
    windows = values.unfold(0, 25, 1)
    return windows[:, :24].unsqueeze(-1), windows[:, 24]


def _text(sequences: int) -> Tensor:
    """Sequences of a Markov chain over 50 symbols, (sequences, 21)."""
    generator = torch.Generator().manual_seed(2)
    chain = torch.softmax(3 * torch.randn(50, 50, generator=generator), -1)
    state = torch.randint(50, (sequences,), generator=generator)
    states = [state]
    for _ in range(20):
        state = torch.multinomial(chain[state], 1, generator=generator).squeeze(1)
        states.append(state)
    return torch.stack(states, 1)


def _fit(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> nn.Module:
    torch.manual_seed(3)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.18, 0.18)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        chosen = torch.randint(len(x), (32,))
        loss = -model(x[chosen]).log_prob(y[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
