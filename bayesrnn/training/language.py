"""Training of language models: truncated back-propagation over a stream, resumable after a kill at any moment."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from bayesrnn._checks import check_seed
from bayesrnn._progress import progress_bar
from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.models.language_model import LanguageModel
from bayesrnn.training.history import History
from bayesrnn.training.language_inputs import as_rows, check_classes, check_stream, settings_of
from bayesrnn.training.language_run import LanguageRun
from bayesrnn.training.recipes import NonMonotoneAverage, Recipe
from bayesrnn.training.resume import resumed

__all__ = ["train_language_model"]


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
    check_classes(model, recipe, vocabulary)
    if validation is None and (recipe.keep == "best" or isinstance(recipe.averaging, NonMonotoneAverage)):
        raise ValueError("the best weights and non-monotone averages are judged by validation text: give validation=.")
    rows = as_rows(train, recipe, model.vocabulary_size)
    if validation is not None:
        check_stream(validation, "validation", model.vocabulary_size)
    settings = settings_of(model, recipe, vocabulary, seed, train, validation)
    folder = None if checkpoint is None else Path(checkpoint)
    run = LanguageRun(model, rows, recipe, seed, folder)
    with ExitStack() as stack:
        point, forced = stack.enter_context(resumed(folder, settings, resume))
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
