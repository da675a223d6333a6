"""`fit_ensemble`: several networks trained from other first weights, side by side where there are cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bayesrnn._checks import check_seed, check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.training._fit import fit
from bayesrnn.training.batches import Data, epoch_seed
from bayesrnn.training.checkpoint import History


class Ensemble(list[nn.Module]):
    """The trained networks, as a list.

    Attributes:
        seeds: Seed of each network: of its first weights, the order of its rows and its masks.
        histories: What `fit` returned for each.
    """

    def __init__(self, networks: Sequence[nn.Module], seeds: Sequence[int], histories: Sequence[History]) -> None:
        super().__init__(networks)
        self.seeds, self.histories = tuple(seeds), tuple(histories)


def fit_ensemble(
    make: Callable[[], nn.Module],
    train: Data,
    validation: Data | None = None,
    *,
    members: int = 5,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Ensemble:
    r"""Train M networks by `fit`, each from a seed of its own, and return them as a list for `predict`.

    Network m is what `torch.manual_seed(seeds[m]); model = make(); fit(model, ..., seed=seeds[m])` gives, whatever the
    other networks and the number of workers (to rounding: threads sum in another order). Seeds are functions of `seed`
    and m, so an ensemble of seven begins with the networks of an ensemble of five.

    Args:
        make: Makes a network; called M times, each with torch's random state at the seed of the network.
        train: As for `fit`.
        validation: As for `fit`.
        members: How many networks M, at least 2.
        seed: From which the seeds of the networks follow.
        checkpoint: Folder in which each network has a folder, `member-0` and so on; a training that was killed goes on
            with the networks that are not done.
        workers: How many networks are trained at once, each in a process of its own with its share of the cores; by
            default as many as there are cores, and 1 on a GPU.
        progress: Whether to show a bar on a terminal.
        **options: As for `fit` (epochs=, batch_size=, patience=, ...).

    Returns:
        An `Ensemble`: a list of the networks with `seeds` and `histories`.

    Raises:
        TypeError: If `make` returns no torch module.
        ValueError: If `make` returns the same network twice, or as `fit` does; a note says for which network.

    Source: Lakshminarayanan, Pritzel & Blundell (2017), arXiv:1612.01474.

    Example:
        >>> import bayesrnn as br
        >>> x = torch.randn(16, 5, 1)
        >>> make = lambda: br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.1)
        >>> networks = fit_ensemble(make, (x, x.sum((1, 2))), members=2, epochs=2, workers=1, progress=False)
        >>> br.predict(networks, x, draws=16).between_networks.shape
        torch.Size([16])
    """
    seeds = [epoch_seed(check_seed(seed), place, "member") for place in range(check_whole(members, "members", 2))]
    networks = _made(make, seeds)
    device = next((p.device for p in networks[0].parameters()), torch.device("cpu"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = min(check_whole(workers or (1 if device.type == "cuda" else cores), "workers"), members)
    if checkpoint is not None:
        Path(checkpoint).mkdir(parents=True, exist_ok=True)

    def arguments(place: int) -> dict[str, Any]:
        folder = None if checkpoint is None else Path(checkpoint) / f"member-{place}"
        own = {"seed": seeds[place], "checkpoint": folder, "progress": progress and at_once == 1}
        return {"train": train, "validation": validation, **own, **options}

    histories = []
    with progress_bar(progress and at_once > 1, members, f"{members} networks, {at_once} at once") as advance:
        trained = _side_by_side if at_once > 1 else _one_by_one
        for history in trained(networks, arguments, at_once, max(cores // at_once, 1)):
            histories.append(history)
            advance(1)
    return Ensemble(networks, seeds, histories)


def _made(make: Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    """Return a new network for each seed."""
    networks: list[nn.Module] = []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for seed in seeds:
            torch.manual_seed(seed)
            network = make() if callable(make) and not isinstance(make, nn.Module) else make
            if not isinstance(network, nn.Module) or network is make:
                raise TypeError(
                    f"make must be a function that returns a new network, but {make!r:.60} was given. For one model "
                    "class: make=lambda: Model(...)."
                )
            networks.append(network)
    weights = [{p.data_ptr() for p in network.parameters() if p.numel()} for network in networks]
    if any(a & b for k, a in enumerate(weights) for b in weights[:k]):
        raise ValueError(
            "make returned the same network, or networks that share weights, twice: all members would be trained as "
            "one. Make the network inside the function: make=lambda: Model(...)."
        )
    return networks


def _one_by_one(
    networks: list[nn.Module], arguments: Callable[[int], dict[str, Any]], workers: int, threads: int
) -> Iterator[History]:
    for place, network in enumerate(networks):
        yield _trained(network, place, arguments(place))


def _side_by_side(
    networks: list[nn.Module], arguments: Callable[[int], dict[str, Any]], workers: int, threads: int
) -> Iterator[History]:
    """Train in processes, and give the networks here the weights that come back."""
    from sklearn.utils.parallel import Parallel, delayed

    tasks = (delayed(_in_process)(network, place, arguments(place), threads) for place, network in enumerate(networks))
    parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator", max_nbytes=None)
    for network, (history, weights) in zip(networks, parallel(tasks), strict=True):
        network.load_state_dict(weights)
        network.eval()
        yield history


def _in_process(network: nn.Module, place: int, arguments: dict[str, Any], threads: int) -> tuple[History, Any]:
    torch.set_num_threads(threads)
    return _trained(network, place, arguments), network.state_dict()


def _trained(network: nn.Module, place: int, arguments: dict[str, Any]) -> History:
    try:
        return fit(network, **arguments)
    except Exception as error:
        error.add_note(f"This was member {place} of the ensemble, with seed {arguments['seed']}.")
        raise
