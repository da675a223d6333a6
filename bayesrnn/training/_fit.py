"""`fit`: train a model and leave it with its best weights."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bayesrnn._checks import check_choice, check_number, check_seed, check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.nn.precision import usable_precision
from bayesrnn.training.batches import Batches, Data, as_batches
from bayesrnn.training.checkpoint import Checkpoint, History, restore_optimizer
from bayesrnn.training.loop import Alone, Loop
from bayesrnn.training.loss import Loss, negative_log_likelihood, warn_of_scale
from bayesrnn.training.optimizers import make_optimizer
from bayesrnn.training.resume import model_settings, optimizer_settings, resumed, source_of

_SCHEDULED = 1000
"""Of how many epochs a checkpoint keeps the schedule, to compare it."""


def fit(
    model: nn.Module,
    train: Data,
    validation: Data | None = None,
    *,
    loss: Loss | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    gradient_clip: float | None = 1.0,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool | str = True,
    seed: int = 0,
    progress: bool = True,
    precision: str | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    schedule: Callable[[int], float] | None = None,
    devices: int | str | Sequence[int] | None = None,
    strategy: str | None = None,
) -> History:
    r"""Train `model` on its device, by AdamW on the mean of $-\log p(y \mid x, z)$ over fresh masks z.

    With validation rows the model ends with the weights of the epoch whose validation loss (deterministic pass) was
    lowest, else with the last ones; it is left in eval mode. The order of the rows and the masks of an epoch are
    functions of the seed and the epoch; torch's global random state is as before afterwards. So a training that was
    killed and is called again with the same `checkpoint` loses about a minute at most (an epoch, where a DataLoader
    gives the rows) and, on a CPU, ends with the same weights bit for bit.

    Args:
        model: Any torch module; with the default loss its forward returns a torch Distribution.
        train: ``(input, ..., target)`` tensors with the rows in dimension 0; or a mapping of forward's keyword
            arguments and ``target``; or a TensorDataset, a Dataset, or a DataLoader of such. Padding beyond an input
            named ``lengths`` does not enter a loss per step.
        validation: The same for the validation rows.
        loss: From the model's output and the target to a scalar or one number per target; by default the negative
            log-likelihood in nats.
        epochs: Passes over the rows.
        batch_size: Rows per batch; a DataLoader has its own.
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled decay of AdamW.
        gradient_clip: Largest norm of the gradient; None for no bound.
        patience: Epochs without a better validation loss before the training stops; None for no early stop.
        checkpoint: Folder for the state after each epoch, and every minute within a long one; made if missing.
        resume: Whether to go on from the state in that folder, or to overwrite it. A state of another training (other
            optimizer, schedule, loss, rates, sizes or data) is refused; "force" goes on with its weights and a fresh
            optimizer, and warns of what differs.
        seed: Seed of the order and of the masks. The initial weights are the model's own.
        progress: Whether to show a bar on a terminal.
        precision: None, or ``"bf16"`` for bfloat16 matrix products.
        optimizer: Makes another optimizer from the parameters; then `learning_rate` and `weight_decay` are unused.
        schedule: Factor of the learning rate in epoch e, counted from 0.
        devices: As for `lightning.Fabric`: how many devices, or which; the model's own if not given.
        strategy: As for `lightning.Fabric`, such as ``"ddp"`` with the script started by torchrun: each process takes
            its share of the rows of every batch, with masks of its own, so that the training equals the training in one
            process with other masks; the first one writes the checkpoint.

    Returns:
        The losses of each epoch.

    Raises:
        ValueError: On values that are not finite, targets that do not fit, a checkpoint of another training, a loss
            that compares rows with other rows (shapes were broadcast), or one that becomes infinite.
        TypeError: If the data or the model's output are of a kind that cannot be trained on.

    Example:
        >>> import torch, bayesrnn as br
        >>> model = br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.1)
        >>> x = torch.randn(16, 5, 1)
        >>> fit(model, (x, x.sum((1, 2))), epochs=2, progress=False).epochs
        2
    """
    batch_size = check_whole(batch_size, "batch_size")
    _check_numbers(epochs, learning_rate, weight_decay, gradient_clip, patience, validation)
    check_choice(str(precision), "precision", ("None", "bf16"))
    batches = as_batches(train, batch_size, check_seed(seed), shuffle=True, name="train")
    held_out = None
    if validation is not None:
        held_out = as_batches(validation, batch_size, seed, shuffle=False, name="validation")
    built = make_optimizer(model, optimizer, learning_rate, weight_decay)
    settings = {
        "trained by": "fit",
        "seed": seed,
        "batch_size": batch_size,
        "gradient_clip": gradient_clip,
        "precision": precision,
        "loss": source_of(loss),
        "schedule": None if schedule is None else _factors(schedule, epochs),
        "optimizer": optimizer_settings(built),
        "train": batches.fingerprint(),
        "validation": held_out.fingerprint() if held_out else None,
        **model_settings(model),
    }
    folder = None if checkpoint is None else Path(checkpoint)
    first = _shared(strategy, batches, held_out)
    with resumed(folder if first else None, settings, resume) as (point, forced):
        if not first and folder is not None and resume:
            point = Checkpoint.load(folder) or point
        if point.history.epochs < epochs and not point.history.stopped_early:
            if forced:
                point.tensors.pop("begun", None)
            if "weights" in point.tensors:
                model.load_state_dict(point.tensors["weights"])
            elif loss is None:
                warn_of_scale(model, train)
            if "weights" in point.tensors and not forced:
                restore_optimizer(built, point.tensors.get("optimizer", {}), point.numbers)
            low = usable_precision(precision, next(model.parameters()).device) == "bf16"
            loop = Loop(
                model, negative_log_likelihood if loss is None else loss, built, schedule, gradient_clip, patience,
                folder if first else None, point, low,
            )  # fmt: skip
            _run(loop, batches, held_out, epochs, progress and first, devices, strategy)
    final = point.tensors.get("best") or point.tensors.get("weights")
    if final:
        model.load_state_dict(final)
    model.eval()
    return point.history


def _run(
    loop: Loop,
    train: Batches,
    held_out: Batches | None,
    epochs: int,
    progress: bool,
    devices: int | str | Sequence[int] | None,
    strategy: str | None,
) -> None:
    device, done = next(loop.model.parameters()).device, loop.point.history.epochs
    host: Any = Alone()
    if devices is not None or strategy is not None:
        from lightning.fabric import Fabric

        own = 1 if device.index is None or device.type == "cpu" else [device.index]
        host = Fabric(accelerator=device.type, devices=own if devices is None else devices, strategy=strategy or "auto")
        host.launch()
    cuda = [device] if device.type == "cuda" else []
    bar = progress_bar(progress, epochs * len(train), f"epoch {done}/{epochs}")
    with torch.random.fork_rng(devices=cuda), bar as advance:
        advance(done * len(train))
        try:
            loop.run(host, train, held_out, epochs, advance)
        finally:
            loop.model.to(device)


def _factors(schedule: Callable[[int], float], epochs: int) -> list[float]:
    """Return the factors of the first epochs; none may be negative, which would climb the loss."""
    factors = [float(schedule(epoch)) for epoch in range(min(epochs, _SCHEDULED))]
    for epoch, factor in enumerate(factors):
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"schedule must give finite factors of at least 0, but gives {factor!r} in epoch {epoch}.")
    return factors


def _shared(strategy: str | None, batches: Batches, held_out: Batches | None) -> bool:
    """Let the processes of a strategy share the batches, and return whether this is the first of them.

    Raises:
        ValueError: If the strategy starts processes that cannot give the result back.
    """
    if strategy is None:
        return True
    if any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise ValueError(
            f"strategy={strategy!r} starts processes whose losses and checkpoint never come back here. Start the "
            'script with torchrun and pass strategy="ddp".'
        )
    for part in (batches, held_out):
        if part is not None:
            part.shared = True
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def _check_numbers(
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    gradient_clip: float | None,
    patience: int | None,
    validation: object,
) -> None:
    check_whole(epochs, "epochs")
    check_number(learning_rate, "learning_rate", "positive and finite", 0.0, above=True, fix=" Try 1e-3.")
    check_number(weight_decay, "weight_decay", "at least 0 and finite", 0.0)
    if gradient_clip is not None:
        check_number(gradient_clip, "gradient_clip", "positive, or None for no bound", 0.0, above=True)
    if patience is not None:
        check_whole(patience, "patience")
        if validation is None:
            raise ValueError("patience watches the validation loss: pass validation rows, or leave out patience.")
