"""`fit`: train a model and leave it with its best weights."""

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from bayesrnn._checks import as_values, check_choice, check_seed, check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.models import SequenceRegressor
from bayesrnn.nn.precision import usable_precision
from bayesrnn.training.batches import Batches, Data, as_batches
from bayesrnn.training.checkpoint import Checkpoint
from bayesrnn.training.history import History
from bayesrnn.training.interrupts import interruptible
from bayesrnn.training.loss import Loss

if TYPE_CHECKING:
    from bayesrnn.training.lightning import Training

__all__ = ["fit", "warn_of_scale"]

_OFF = 10.0
"""How many units of the head from its start targets may lie, or how many times smaller than one they may be."""


def warn_of_scale(model: nn.Module, train: Any) -> None:
    """Warn if the targets are far from the mean or the unit that a `SequenceRegressor` starts from.

    The head starts near mean m and standard deviation s (0 and 1 until `standardize` is called); steps of AdamW are
    about as long as the learning rate, so that a target a thousand units away takes thousands of steps to reach.
    """
    target = _target(train)
    if not isinstance(model, SequenceRegressor) or target is None or not model.head.form.real:
        return
    head = model.head
    values = target.detach().to(head.target_mean).reshape(-1, head.outputs)
    if len(values) < 2:
        return
    mean, std = values.mean(0), values.std(0)
    distance = float(((mean - head.target_mean).abs() / head.target_std).max())
    units = std / head.target_std
    far = distance > _OFF or bool((units > _OFF).any()) or bool(((units > 0) & (units < 1 / _OFF)).any())
    if far:
        warnings.warn(
            f"the targets have mean {_listed(mean)} and standard deviation {_listed(std)}, but the untrained model "
            f"predicts about {_listed(head.target_mean)} +- {_listed(head.target_std)}: training may take very long to "
            "get there. Call model.standardize(x, y) with the training rows first; predictions stay in the units of y.",
            stacklevel=3,
        )


def _target(train: Any) -> Tensor | None:
    """Return the targets where they are held as one tensor."""
    if isinstance(train, TensorDataset):
        train = train.tensors
    if isinstance(train, Mapping):
        value = train.get("target")
    else:
        value = train[-1] if isinstance(train, Sequence) and len(train) else None
    values = None if value is None else as_values(value, "target")
    return values if values is not None and values.is_floating_point() else None


def _listed(values: Tensor) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values[:3].tolist())
    return shown if len(values) <= 3 else f"{shown}, ..."


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
    resume: bool = True,
    seed: int = 0,
    progress: bool = True,
    precision: str | None = None,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    schedule: Callable[[int], float] | None = None,
) -> History:
    r"""Train `model` where it stands (CPU or GPU), by AdamW on the mean of $-\log p(y \mid x, z)$ over fresh masks z.

    With validation rows the model ends with the weights of the epoch whose validation loss (deterministic pass) was
    lowest, else with the last ones; it is left in eval mode. The order of the rows and the masks of an epoch are
    functions of the seed and the epoch; torch's global random state is as before afterwards. So a training that was
    killed and is called again with the same `checkpoint` goes on after its last whole epoch and, on a CPU, ends with
    the same weights bit for bit.

    Args:
        model: Any torch module; with the default loss its forward returns a torch Distribution.
        train: ``(input, ..., target)`` tensors with the rows in dimension 0; or a mapping of forward's keyword
            arguments and ``target``; or a TensorDataset, a Dataset, or a DataLoader of such. Padding beyond an input
            named ``lengths`` does not enter a loss per step.
        validation: The same for the validation rows.
        loss: From the model's output and the target to a scalar or one number a target; by default nats.
        epochs: How often to see every row.
        batch_size: Rows a batch; a DataLoader keeps its own.
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled decay of AdamW.
        gradient_clip: Largest norm of the gradient; None for no bound.
        patience: Stop after so many epochs without a better validation loss; None for never.
        checkpoint: Folder for the state after each epoch; made if missing.
        resume: Whether to go on from the state in that folder, or to overwrite it.
        seed: Seed of the order and of the masks. The initial weights are the model's own.
        progress: Whether to show a bar on a terminal.
        precision: None, or ``"bf16"`` for bfloat16 matrix products.
        optimizer: Makes another optimizer from the parameters; then `learning_rate` and `weight_decay` are unused.
        schedule: Factor of the learning rate in epoch e, counted from 0.

    Returns:
        The losses of each epoch.

    Raises:
        ValueError: On values that are not finite, targets that do not fit, a checkpoint of another training, or a loss
            that becomes infinite.
        TypeError: If the data or the model's output are of a kind that cannot be trained on.

    Example:
        >>> import torch, bayesrnn as br
        >>> model = br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.1)
        >>> x = torch.randn(16, 5, 1)
        >>> fit(model, (x, x.sum((1, 2))), epochs=2, progress=False).epochs
        2
    """
    _check_numbers(epochs, batch_size, learning_rate, weight_decay, gradient_clip, patience, validation)
    check_choice(str(precision), "precision", ("None", "bf16"))
    batches = as_batches(train, batch_size, check_seed(seed), shuffle=True, name="train")
    held_out = None
    if validation is not None:
        held_out = as_batches(validation, batch_size, seed, shuffle=False, name="validation")
    settings = {
        "trained by": "fit",
        "seed": seed,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "gradient_clip": gradient_clip,
        "precision": precision,
        "parameters": _fingerprint(model),
        "train": batches.fingerprint(),
        "validation": held_out.fingerprint() if held_out else None,
    }
    folder = None if checkpoint is None else Path(checkpoint)
    point = _begin(folder, resume, settings)
    if point.history.epochs < epochs and not point.history.stopped_early:
        if point.history.epochs:
            model.load_state_dict(point.tensors["weights"])
        elif loss is None:
            warn_of_scale(model, train)
        from bayesrnn.training.lightning import Training

        training = Training(
            model,
            loss,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            optimizer=optimizer,
            schedule=schedule,
        )
        _run(training, batches, held_out, point, epochs, patience, gradient_clip, folder, progress, precision)
    final = point.tensors.get("best") or point.tensors.get("weights")
    if final:
        model.load_state_dict(final)
    model.eval()
    return point.history


def _run(
    training: "Training",
    batches: Batches,
    held_out: Batches | None,
    point: Checkpoint,
    epochs: int,
    patience: int | None,
    gradient_clip: float | None,
    folder: Path | None,
    progress: bool,
    precision: str | None,
) -> None:
    import lightning.pytorch as pl

    from bayesrnn.training.lightning import Bookkeeping, quiet

    device = next(training.model.parameters()).device
    done = training.first_epoch = point.history.epochs
    training.resumed = point if done else None
    cuda = [device] if device.type == "cuda" else []
    bar = progress_bar(progress, epochs * len(batches), f"epoch {done}/{epochs}")
    with quiet(), interruptible(), torch.random.fork_rng(devices=cuda), bar as advance:
        advance(done * len(batches))
        trainer = pl.Trainer(
            accelerator=device.type,
            devices=1 if device.index is None or device.type == "cpu" else [device.index],
            max_epochs=epochs - done,
            callbacks=[Bookkeeping(point, batches, patience, folder, advance, epochs)],
            gradient_clip_val=gradient_clip,
            precision="bf16-mixed" if usable_precision(precision, device) == "bf16" else None,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
        training.train()
        try:
            trainer.fit(training, batches, held_out)
        finally:
            training.model.to(device)  # the trainer leaves the model on the CPU


def _begin(folder: Path | None, resume: bool, settings: dict[str, Any]) -> Checkpoint:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        point = Checkpoint.load(folder) if resume else None
        if point is not None:
            point.check_settings(settings, folder)
            return point
    return Checkpoint(settings)


def _fingerprint(model: nn.Module) -> str:
    described = [f"{type(model).__name__}"]
    described += [f"{name}{tuple(value.shape)}{value.dtype}" for name, value in model.state_dict().items()]
    return hashlib.blake2b("\n".join(described).encode(), digest_size=16).hexdigest()


def _check_numbers(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    gradient_clip: float | None,
    patience: int | None,
    validation: object,
) -> None:
    check_whole(epochs, "epochs")
    check_whole(batch_size, "batch_size")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be positive and finite, but {learning_rate!r} was given. Try 1e-3.")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay must be at least 0 and finite, but {weight_decay!r} was given.")
    if gradient_clip is not None and not (math.isfinite(gradient_clip) and gradient_clip > 0):
        raise ValueError(f"gradient_clip must be positive, or None for no bound, but {gradient_clip!r} was given.")
    if patience is not None:
        check_whole(patience, "patience")
        if validation is None:
            raise ValueError("patience watches the validation loss: pass validation rows, or leave out patience.")
