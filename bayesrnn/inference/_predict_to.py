"""`predict_to`: predictions of any number of rows, written as they come."""

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from bayesrnn._checks import check_choice, check_levels, check_path, check_whole
from bayesrnn._documents import read_document, write_document
from bayesrnn._files import atomic_write, remove_leftovers
from bayesrnn._progress import logger, progress_bar
from bayesrnn.inference._predict import predict
from bayesrnn.inference.distributed import alone
from bayesrnn.inference.ensemble import as_models, as_one
from bayesrnn.inference.inputs import Batch, batches
from bayesrnn.inference.nested import leaves, sums, take_rows, values
from bayesrnn.predictive import ContinuousPredictive, Predictive

_PLAN, _MANIFEST = "_plan.json", "_manifest.json"  # names with a _ are passed over by those who read the folder
_FORMAT, _PLANNED = "bayesrnn.predictions/1", "bayesrnn.predicting/1"
_MOST = 2**24  # values of a manifest


def predict_to(
    path: str | os.PathLike[str],
    model: nn.Module | Sequence[nn.Module],
    *inputs: Any,
    draws: int = 100,
    seed: int = 0,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    chunk: int = 1000,
    format: str = "parquet",
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
    batch_dim: int = 0,
    progress: bool = False,
    **options: Any,
) -> Path:
    """Predict chunk by chunk and write each as a file as soon as it is done; return the folder.

    The lines equal ``predict(model, ...).to_frame()``, whatever the chunks. A process that is killed loses the
    chunk at work; called again with the same arguments it goes on and repeats nothing. Memory holds one chunk. A line
    goes to the log `bayesrnn` every minute.

    Under torchrun rank r of R predicts the chunks r, r + R, ...; the last rank to finish writes the manifest that
    lists all files. ``pandas.read_parquet(path)`` reads the whole folder.

    Args:
        path: Folder, made if missing.
        model: As for `predict`.
        *inputs: As for `predict`: what the model takes, or one DataLoader; each batch of a loader is a chunk.
        draws: As for `predict`.
        seed: As for `predict`.
        levels: Levels of the intervals, `lo-80` and `hi-80`; classes have none.
        chunk: Rows of a chunk, where the inputs are no loader.
        format: "parquet" (needs pyarrow) or "csv".
        sequence_ids: As for `predict`; 0, 1, 2, ... over all chunks if not given.
        lengths: As for `predict`.
        batch_dim: As for `predict`.
        progress: Whether to show a progress bar.
        **options: As for `predict` (likelihood=, sharing=, tolerance=, max_memory=, ...).

    Raises:
        ValueError: If the folder holds other predictions, the model has several outputs, or as `predict` does.
        ImportError: If Parquet is asked for and pyarrow is not installed.

    Example:
        >>> import tempfile, bayesrnn as br
        >>> model, x = br.models.SequenceRegressor(1, 4, dropout=0.2), torch.randn(25, 5, 1)
        >>> folder = predict_to(tempfile.mkdtemp(), model, x, draws=16, chunk=10, format="csv")
        >>> sorted(p.name[:10] for p in folder.glob("part-*"))
        ['part-00000', 'part-00001', 'part-00002']
    """
    check_choice(format, "format", ("parquet", "csv"))
    if format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ImportError("Parquet is written by pyarrow, which is not here: pip install pyarrow, or format='csv'.")
    models = as_models(model, "predict_to")
    folder = check_path(path)
    folder.mkdir(parents=True, exist_ok=True)
    own = _Options(draws, seed, tuple(check_levels(levels)), batch_dim, options)
    facts = {"draws": draws, "seed": seed, "levels": list(own.levels), "chunk": check_whole(chunk, "chunk")}
    facts |= {"weights": sums(as_one(models).state_dict()), "options": own.plain}
    _check_plan(folder, facts)
    rank, size = _rank()
    given = {"batch_dim": batch_dim, "sequence_ids": sequence_ids, "lengths": lengths}
    files: list[dict[str, Any]] = []
    total = None if isinstance(inputs[0] if inputs else None, DataLoader) else _rows(inputs, models[0], given)
    with progress_bar(progress, total, f"{folder.name}: rows", stays=False) as advance, alone():
        for number, piece in enumerate(_chunks(inputs, models[0], chunk, given)):
            file = _file(folder, number, piece, format)
            if number % size == rank and not file.exists():
                remove_leftovers(file)
                frame = _frame(models, piece, own)
                atomic_write(file, lambda target, frame=frame: _write(frame, target, format))  # type: ignore[misc]
            files.append({"file": file.name, "first_row": piece.offset, "rows": len(piece.ids)})
            advance(len(piece.ids))
    if all((folder / entry["file"]).exists() for entry in files):
        rows = sum(entry["rows"] for entry in files)
        write_document(folder / _MANIFEST, _FORMAT, {"rows": rows, "files": files}, most=_MOST)
        logger.info("%s: all %s rows are written", folder, f"{rows:,}")
    return folder


@dataclass(frozen=True)
class _Options:
    """What is the same for all chunks."""

    draws: int
    seed: int
    levels: tuple[float, ...]
    batch_dim: int
    more: dict[str, Any]

    @property
    def plain(self) -> dict[str, str]:
        """The other options, as texts that are compared when a job goes on."""
        return {name: f"{value!r:.200}" for name, value in sorted(self.more.items()) if name != "likelihood"}


def _check_plan(folder: Path, facts: dict[str, Any]) -> None:
    """Write down what is predicted, or refuse a folder that holds something else."""
    file = folder / _PLAN
    if not file.exists():
        if any(folder.glob("part-*")):
            raise ValueError(f"{folder} holds files of another writer (part-*): give an empty folder.")
        write_document(file, _PLANNED, facts)
        return
    there = read_document(file, _PLANNED, facts)
    differing = [name for name, value in facts.items() if there[name] != value]
    if differing:
        raise ValueError(
            f"{folder} holds predictions that were begun with another {', '.join(differing)}. They are left as they "
            "are: give the arguments that they were begun with, or another folder."
        )


def _rank() -> tuple[int, int]:
    """Return the number of this process and how many share the work."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _rows(inputs: tuple[Any, ...], model: nn.Module, given: dict[str, Any]) -> int:
    return len(next(batches(inputs, model, **given)).ids)


def _chunks(inputs: tuple[Any, ...], model: nn.Module, chunk: int, given: dict[str, Any]) -> Iterator[Batch]:
    """Yield the batches of a loader, or the rows in chunks."""
    from_loader = len(inputs) == 1 and isinstance(inputs[0], DataLoader)
    for batch in batches(inputs, model, **given):
        if from_loader:
            yield batch
            continue
        for rows in torch.arange(len(batch.ids)).split(chunk):
            inside = take_rows((batch.inputs, batch.options), rows)
            yield Batch(inside[0], inside[1], batch.ids[rows], int(rows[0]))


def _file(folder: Path, number: int, piece: Batch, format: str) -> Path:
    """Return the file of a chunk, whose name says what its inputs were.

    Raises:
        ValueError: If the folder holds this chunk of other inputs.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name, leaf in leaves((values((piece.inputs, piece.options)), piece.ids)):
        data = leaf.data if isinstance(leaf, PackedSequence) else leaf
        plain = data.detach().cpu().contiguous().view(torch.uint8).numpy() if isinstance(data, Tensor) else data
        digest.update(name.encode() + (plain.tobytes() if isinstance(plain, np.ndarray) else repr(plain).encode()))
    start = f"part-{number:05d}"
    file = folder / f"{start}-{digest.hexdigest()}.{format}"
    others = [other.name for other in folder.glob(f"{start}-*") if other.name != file.name]
    if others:
        raise ValueError(
            f"{folder} holds {others[0]}, which was made of other inputs than those given now. Give the inputs in the "
            "same order and chunks, or another folder."
        )
    return file


def _frame(models: Sequence[nn.Module], piece: Batch, own: _Options) -> Any:
    """Return the predictions of a chunk as a table, rows counted from the first of all."""
    inputs, options = values((piece.inputs, piece.options))
    predictive = predict(
        models, *inputs, draws=own.draws, seed=own.seed, sequence_ids=piece.ids, batch_dim=own.batch_dim,
        **options, **own.more,
    )  # fmt: skip
    if not isinstance(predictive, Predictive):
        raise ValueError(
            "predict_to writes one table, but the model has several outputs. Choose one with likelihood=lambda output: "
            "output[0], and give each a folder of its own."
        )
    levels = {"levels": own.levels} if isinstance(predictive, ContinuousPredictive) else {}
    frame = predictive.to_frame(**levels)
    frame["row"] += piece.offset
    return frame


def _write(frame: Any, target: Path, format: str) -> None:
    if format == "csv":
        frame.to_csv(target, index=False)
    else:
        frame.to_parquet(target, index=False)
