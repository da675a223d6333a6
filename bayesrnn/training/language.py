"""Training of language models: truncated back-propagation over a stream, resumable after a kill at any moment."""

import inspect
import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import check_number, check_seed
from bayesrnn._progress import progress_bar
from bayesrnn.data.text import check_stream
from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.models.language_model import LanguageModel
from bayesrnn.training.batches import TensorBatches
from bayesrnn.training.checkpoint import History
from bayesrnn.training.language_run import LanguageRun
from bayesrnn.training.recipes import NonMonotoneAverage, Recipe, defaults_of
from bayesrnn.training.resume import model_settings, resumed


def train_language_model(
    model: LanguageModel,
    train: Tensor,
    recipe: Recipe,
    validation: Tensor | None = None,
    *,
    vocabulary: Vocabulary | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool | str = True,
    checkpoint_seconds: float = 60.0,
    on_epoch: Callable[[History], None] | None = None,
    on_start: Callable[[], None] | None = None,
    progress: bool = True,
) -> History:
    r"""Train a language model where it stands (CPU or GPU) on one stream of tokens, as a recipe says.

    The stream is cut into rows that are read side by side in windows; the state goes on from window to window, the
    gradient does not. The loss of a window is $\frac1B \sum_b \sum_t -\log p(w_{b,t+1} \mid w_{b,\le t}, z)$ under
    fresh masks z. The masks of a step depend only on (seed, step), so a training that was killed and resumed ends, on a
    CPU, with the same weights bit for bit as one that was not. Ctrl-C writes the checkpoint before it stops. On a CUDA
    device each step is played back from a CUDA graph, which is recorded anew where rates, hooks or frozen weights
    change between epochs.

    Args:
        model: The model; it is left in eval mode with its last weights, their average, or the best (see `Recipe`).
        train: Token numbers (N,).
        recipe: How to train.
        validation: Token numbers of the validation text, judged by the deterministic pass after each epoch.
        vocabulary: Vocabulary of the text, if a checkpoint for another one shall be refused.
        seed: Seed of the masks. The initial weights are the model's own.
        checkpoint: Folder for the state of the training; made if missing.
        resume: Whether to go on from the state in that folder, or to overwrite it. A state of another training is
            refused; "force" goes on with its weights at the beginning of its epoch, with a fresh optimizer.
        checkpoint_seconds: The state is written at the start, after each epoch, and after so many seconds.
        on_epoch: Called with the history after each new epoch.
        on_start: Called when all arguments are right, before the first step.
        progress: Whether to show a bar on a terminal.

    Returns:
        The losses of each epoch in nats per token, its learning rate, its seconds and its words per second.

    Raises:
        ValueError: If the text is shorter than a window in each row, a token is not in the model's vocabulary, the
            checkpoint belongs to another training or is damaged, the folder cannot be written to, or the training
            diverges.
        TypeError: If an argument is of another class.

    Source: Zaremba et al. (2014), arXiv:1409.2329; Gal & Ghahramani (2016), arXiv:1512.05287.

    Example:
        >>> import torch, bayesrnn as br
        >>> from bayesrnn.training import Recipe
        >>> model = br.models.LanguageModel(5, 4, 4, dropout=0.2)
        >>> train_language_model(model, torch.arange(60) % 5, Recipe(2, batch_size=2, window=8), progress=False).epochs
        2
    """
    check_seed(seed)
    if checkpoint_seconds != math.inf:
        check_number(checkpoint_seconds, "checkpoint_seconds", "seconds between two checkpoints, at least 0", 0.0)
    _check_classes(model, recipe, vocabulary)
    if validation is None and (recipe.keep == "best" or isinstance(recipe.averaging, NonMonotoneAverage)):
        raise ValueError("the best weights and non-monotone averages are judged by validation text: give validation=.")
    rows = _as_rows(train, recipe, model.vocabulary_size)
    if validation is not None:
        _check_tokens(validation, "validation", model.vocabulary_size)
    settings = _settings_of(model, recipe, vocabulary, seed, train, validation)
    folder = None if checkpoint is None else Path(checkpoint)
    run = LanguageRun(model, rows, recipe, seed, folder)
    with ExitStack() as stack:
        point, forced = stack.enter_context(resumed(folder, settings, resume, _defaults_of(recipe)))
        run.take_up(point, forced)
        if on_start is not None:
            on_start()
        if not run.step:
            run.save()  # a folder that cannot be written to is refused before the first step
        stack.enter_context(torch.random.fork_rng())
        bar = stack.enter_context(progress_bar(progress, recipe.epochs * run.windows, f"epoch 1/{recipe.epochs}"))
        bar(run.step)
        try:
            while run.epoch < recipe.epochs:
                run.train_epoch(checkpoint_seconds, bar)
                run.close_epoch(validation)
                if on_epoch is not None:
                    on_epoch(run.point.history)
        except KeyboardInterrupt:
            run.save()
            raise
    run.finish()
    return run.point.history


def _check_classes(model: Any, recipe: Any, vocabulary: Any) -> None:
    """Refuse arguments of foreign classes, and a vocabulary of another size than the model's."""
    if not isinstance(model, LanguageModel):
        raise TypeError(
            f"model must be a bayesrnn.models.LanguageModel, but a {type(model).__name__} was given. Modules of your "
            "own are trained by bayesrnn.fit."
        )
    if not isinstance(recipe, Recipe):
        raise TypeError(
            f"recipe must be a Recipe, but {recipe!r:.60} was given. Take bayesrnn.training.zaremba() or gal(), or "
            "write one: Recipe(epochs=10)."
        )
    if vocabulary is not None and not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary must be a Vocabulary, but a {type(vocabulary).__name__} was given.")
    if vocabulary is not None and len(vocabulary) != model.vocabulary_size:
        raise ValueError(
            f"the vocabulary has {len(vocabulary)} tokens, but the model is for {model.vocabulary_size}. Build the "
            "model with vocabulary_size=len(vocabulary)."
        )


def _check_tokens(tokens: Tensor, name: str, vocabulary_size: int) -> None:
    """Refuse what is not one stream of at least two tokens of the model's vocabulary."""
    check_stream(tokens, name)
    if tokens.numel() < 2:
        raise ValueError(f"{name} has {tokens.numel()} tokens, but at least 2 are needed: one to read, one to predict.")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary_size:
        raise ValueError(
            f"the text {name} holds the token {low if low < 0 else high}, but the model's vocabulary has "
            f"{vocabulary_size} tokens. Encode the text with the vocabulary that the model was built for."
        )


def _as_rows(train: Tensor, recipe: Recipe, vocabulary_size: int) -> Tensor:
    """Return the stream as rows (B, N // B), each of at least one window; a remainder is not trained on."""
    _check_tokens(train, "train", vocabulary_size)
    length = train.numel() // recipe.batch_size
    if length < recipe.window + 1:
        raise ValueError(
            f"{train.numel()} tokens make {recipe.batch_size} rows of {length}, too short for a window of "
            f"{recipe.window} steps and its targets. Give more text, or a smaller batch_size or window."
        )
    return train[: length * recipe.batch_size].view(recipe.batch_size, length)


def _settings_of(
    model: LanguageModel,
    recipe: Recipe,
    vocabulary: Vocabulary | None,
    seed: int,
    train: Tensor,
    validation: Tensor | None,
) -> dict[str, Any]:
    """Return what a checkpoint must share with a training that goes on from it."""
    return {
        "trained by": "train_language_model",
        "vocabulary": None if vocabulary is None else vocabulary.fingerprint(),
        "model": model.config(),
        "recipe": recipe.to_dict(),
        "seed": int(seed),
        **model_settings(model),
        "train": TensorBatches([train.long()], 1).fingerprint(),
        "validation": None if validation is None else TensorBatches([validation.long()], 1).fingerprint(),
    }


def _defaults_of(recipe: Recipe) -> dict[str, Any]:
    """Return what a checkpoint means that is older than a setting of the model or of the recipe."""
    model = {name: p.default for name, p in inspect.signature(LanguageModel).parameters.items() if p.default != p.empty}
    return {"model": model, "recipe": defaults_of(recipe)}
