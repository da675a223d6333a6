"""One training run: an epoch at a time, a checkpoint and a JSON after each, so that a killed run goes on."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.nn.cuda_graph import Recorded
from evaluation.records import load, save
from evaluation.sentiment.corpus import VOCABULARY, Segments, Split
from evaluation.sentiment.variants import UNITS, RatingDistribution, SentimentNet, Variant, groups

ROWS = 500  # of one evaluation pass, as published


@dataclass(frozen=True)
class Settings:
    """How long and with what a network is trained; defaults are those of the published scripts except `epochs`."""

    epochs: int = 60
    batch: int = 128
    learning_rate: float = 1e-3
    penalty: float = 1e-6
    draws: int = 10  # of the MC error along the way
    draws_every: int = 10  # epochs
    draws_final: int = 50
    measured: int = 1000  # training segments on which the training error is measured
    units: int = UNITS
    bfloat16: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """One network on one split from one seed; its files are named after it."""

    cell: str
    variant: Variant
    split: Split
    seed: int
    settings: Settings
    results: Path
    checkpoints: Path
    device: torch.device | str = "cpu"

    @property
    def name(self) -> str:
        """Name of the run's files."""
        return f"{self.split.name}-{self.cell}-{self.variant.name}-seed{self.seed}"

    @property
    def distribution(self) -> RatingDistribution:
        """Distribution of a rating whose spread does not matter: for errors of the mean."""
        return RatingDistribution(self.split.center, self.split.scale, 1.0)

    def network(self) -> SentimentNet:
        """The network as it starts."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return SentimentNet(self.cell, self.variant, VOCABULARY, self.settings.units).to(self.device)


def train(run: Run, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Train until `epochs` are done, from the last whole epoch if there is one; return the record.

    The state after epoch k is a function of (seed, k) alone: order and masks of an epoch come from the seed and its
    number, so that an interrupted run ends where an uninterrupted one does.
    """
    net, record = run.network(), _fresh(run)
    optimizer = torch.optim.Adam(groups(net, run.variant, run.settings.penalty, run.settings.learning_rate), fused=True)
    state = run.checkpoints / run.name / "last.safetensors"
    if state.is_file() and (run.results / f"{run.name}.json").is_file():
        record = _continued(run, load(run.name, run.results))
        record["epochs"] = record["epochs"][: _restore(net, optimizer, state)]
    gradients = Recorded(partial(_gradients, net, run.settings.bfloat16), list(net.parameters()))
    for epoch in range(len(record["epochs"]) + 1, run.settings.epochs + 1):
        record["epochs"].append(_epoch(run, net, gradients, optimizer, epoch))
        for stale in ("provenance", "scores"):
            record.pop(stale, None)
        save(run.name, record, seed=run.seed, folder=run.results, data=run.split.data)
        _keep(run, net, optimizer, record["epochs"])  # last: an epoch that is kept is in the record
        last = record["epochs"][-1]
        report(f"{run.name} epoch {epoch}: train {last['train']:.4f} test {last['test']:.4f} {last['seconds']:.0f} s")
    return record


def _continued(run: Run, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of an interrupted run, which may go on for more epochs but not as another network.

    Raises:
        ValueError: If it was trained with other rates or settings, or on other data.
    """
    now = {"variant": run.variant.to_dict(), **run.settings.to_dict(), **_data(run), "epochs": None}
    recorded = {**record["settings"], **{key: record[key] for key in ("variant", *_data(run))}, "epochs": None}
    foreign = [f"{key} {recorded.get(key)!r} (now {now[key]!r})" for key in now if recorded.get(key) != now[key]]
    if foreign:
        raise ValueError(
            f"{run.name} was trained with {', '.join(foreign)}. Go on with the same, or give other folders with "
            "--results and --checkpoints."
        )
    return record | {"settings": run.settings.to_dict()}


def best_epoch(run: Run, epochs: list[dict[str, Any]]) -> int:
    """The epoch (from 1) at which early stopping keeps the weights: lowest error on what there is to choose with.

    On the paper's split that is the test set itself, which flatters early stopping; the sound split has its own.
    """
    key = "test" if run.split.validation is None else "validation"
    return min(range(len(epochs)), key=lambda k: epochs[k][key]) + 1


def weights(run: Run, which: str) -> SentimentNet:
    """The network with its `last` or `best` weights, in eval mode."""
    net = run.network()
    tensors = load_file(run.checkpoints / run.name / f"{which}.safetensors")
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    return net.eval()


def deterministic(net: nn.Module, segments: Segments) -> Tensor:
    """Outputs of the pass without masks, (N, outputs), on the CPU."""
    net.eval()
    device = next(net.parameters()).device
    with torch.no_grad():
        return torch.cat([net(tokens.to(device)).cpu() for tokens in segments.tokens.split(ROWS)])


def _epoch(
    run: Run, net: SentimentNet, gradients: Recorded, optimizer: torch.optim.Optimizer, epoch: int
) -> dict[str, Any]:
    start, settings, train_rows = time.perf_counter(), run.settings, run.split.train
    generator = torch.Generator().manual_seed(1_000_003 * run.seed + epoch)
    order = torch.randperm(len(train_rows), generator=generator)
    tokens, target = train_rows.tokens.to(run.device), run.split.standardized(train_rows.ratings).to(run.device)
    total = 0.0
    net.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1_000_003 * run.seed + epoch)
        for rows in order.to(run.device).split(settings.batch):
            optimizer.zero_grad(set_to_none=True)
            (loss,) = gradients(tokens[rows], target[rows])
            optimizer.step()
            total += loss.item() * len(rows)
    record: dict[str, Any] = {"epoch": epoch, "loss": total / len(train_rows)}
    record |= {"training_seconds": round(time.perf_counter() - start, 2)} | _errors(run, net, epoch)
    return record | {"seconds": round(time.perf_counter() - start, 2)}


def _gradients(net: SentimentNet, bfloat16: bool, tokens: Tensor, target: Tensor) -> tuple[Tensor]:
    """Return the loss of a batch, and leave the gradients in the parameters."""
    with torch.autocast(tokens.device.type, torch.bfloat16) if bfloat16 else nullcontext():
        output = net(tokens).float()
    loss = _loss(output, target)
    loss.backward()
    return (loss.detach(),)


def _loss(output: Tensor, target: Tensor) -> Tensor:
    """Squared error as published, or the negative log-likelihood of a predicted mean and log variance."""
    error = (output[:, 0] - target).square()
    if output.shape[1] == 1:
        return error.mean()
    return 0.5 * (output[:, 1] + error * torch.exp(-output[:, 1])).mean()


def _errors(run: Run, net: SentimentNet, epoch: int) -> dict[str, float]:
    """RMSE in rating units on a fixed part of the training rows, the validation rows and the test rows."""
    settings, split = run.settings, run.split
    parts = {"train": split.train.take(slice(0, settings.measured)), "test": split.test}
    parts |= {} if split.validation is None else {"validation": split.validation}
    errors = {}
    for name, part in parts.items():
        mean = run.distribution(deterministic(net, part)).mean
        errors[name] = float((mean.double() - part.ratings).square().mean().sqrt())
    due = epoch % settings.draws_every == 0 or epoch == settings.epochs
    if run.variant.stochastic and due:
        precision = "bf16" if settings.bfloat16 else None
        errors["test_mc"] = monte_carlo_error(run, net, split.test, settings.draws, precision)
    return errors


def monte_carlo_error(run: Run, net: SentimentNet, part: Segments, draws: int, precision: str | None) -> float:
    """RMSE of the mean over draws, rating units."""
    mean = br.predict(
        net, part.tokens.to(run.device), draws=draws, seed=run.seed, likelihood=run.distribution, precision=precision,
        keep_draws=False,
    ).mean.cpu()  # fmt: skip
    return float((mean.double() - part.ratings).square().mean().sqrt())


def _fresh(run: Run) -> dict[str, Any]:
    known = {"run": run.name, "cell": run.cell, "split": run.split.name, "seed": run.seed}
    return known | {"variant": run.variant.to_dict(), "settings": run.settings.to_dict(), **_data(run), "epochs": []}


def _data(run: Run) -> dict[str, Any]:
    """What tells one set of reviews from another."""
    rows = {"train": len(run.split.train), "test": len(run.split.test)}
    return {"rows": rows, "constant_error": run.split.constant_error()}


def _keep(run: Run, net: SentimentNet, optimizer: torch.optim.Optimizer, epochs: list[dict[str, Any]]) -> None:
    """Write the last state (weights, moments, epoch) and, if this epoch is the best, its weights."""
    folder = run.checkpoints / run.name
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"net.{k}": v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    if best_epoch(run, epochs) == len(epochs):
        _write(tensors, folder / "best.safetensors")
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value.cpu().contiguous() for key, value in values.items()}
    _write(tensors | {"epoch": torch.tensor(len(epochs))}, folder / "last.safetensors")


def _restore(net: SentimentNet, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Load the last state; return how many epochs it has seen."""
    tensors = load_file(path)
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(tensors["epoch"])


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary)
    temporary.replace(path)
