"""The same seed again: over runs, thread counts, batch compositions and workers; equal to the bit, or how far apart."""

import json
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import bayesrnn as br
from bayesrnn.training import fit

Values = dict[str, list[float]]


def sameness() -> dict[str, Any]:
    """Return what changes which result, each against a first run with one thread."""
    first = _apart(_predictions, 1)
    tried: dict[str, Callable[[], Values]] = {
        "the same call again": lambda: _apart(_predictions, 1),
        "2 threads": lambda: _apart(_predictions, 2),
        "rows one by one": lambda: _apart(_one_by_one, 1),
        "rows in another order": lambda: _apart(_shuffled, 1),
        "batches of 3": lambda: _apart(lambda: _loaded(3, 0), 1),
        "batches of 3, 2 workers": lambda: _apart(lambda: _loaded(3, 2), 1),
        "a small memory": lambda: _apart(lambda: _predictions(max_memory=2**20), 1),
    }
    rows = {name: _difference(first, work()) for name, work in tried.items()}
    trained = _apart(_trained, 1)
    rows["training again"] = _difference(trained, _apart(_trained, 1))
    rows["training, 2 threads"] = _difference(trained, _apart(_trained, 2))
    return {"rows": rows}


def _apart(work: Callable[[], Values], threads: int) -> Values:
    """Do work in a process of its own with a number of threads."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.close(read)
        torch.set_num_threads(threads)
        with os.fdopen(write, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        values = json.load(pipe)
    os.waitpid(process, 0)
    return values


def _difference(first: Values, second: Values) -> dict[str, Any]:
    """Return whether two results are equal, and the largest difference relative to the largest value."""
    apart = 0.0
    for name, values in first.items():
        a, b = torch.tensor(values, dtype=torch.float64), torch.tensor(second[name], dtype=torch.float64)
        apart = max(apart, float((a - b).abs().max() / a.abs().max()))
    return {"equal bits": first == second, "largest relative difference": apart}


def _task() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = br.models.SequenceRegressor(2, 48, 2, dropout=0.2).eval()
    return model, torch.randn(12, 30, 2), torch.arange(12)


def _values(predictive: Any, order: torch.Tensor | None = None) -> Values:
    names = ("mean", "aleatoric", "epistemic")
    order = torch.arange(len(predictive)) if order is None else order
    return {name: getattr(predictive, name)[order].double().tolist() for name in names}


def _predictions(**options: Any) -> Values:
    model, x, ids = _task()
    return _values(br.predict(model, x, draws=32, sequence_ids=ids, **options))


def _shuffled() -> Values:
    model, x, ids = _task()
    order = torch.randperm(len(x))
    return _values(br.predict(model, x[order], draws=32, sequence_ids=ids[order]), order.argsort())


def _one_by_one() -> Values:
    model, x, ids = _task()
    single = [_values(br.predict(model, x[k : k + 1], draws=32, sequence_ids=ids[k : k + 1])) for k in ids]
    return {name: [values[name][0] for values in single] for name in single[0]}


def _loaded(size: int, workers: int) -> Values:
    model, x, _ = _task()
    return _values(br.predict(model, DataLoader(TensorDataset(x), size, num_workers=workers), draws=32))


def _trained() -> Values:
    model, x, _ = _task()
    fit(model, (x, x.sum((1, 2))), epochs=2, batch_size=4, progress=False)
    return {name: value.flatten().tolist() for name, value in model.state_dict().items()}
