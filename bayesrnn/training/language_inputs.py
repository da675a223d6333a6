"""Checks of the arguments of a language model's training, and the settings that its checkpoint keeps."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.models.language_model import LanguageModel
from bayesrnn.training.recipes import Recipe
from bayesrnn.training.resume import model_settings

__all__ = ["as_rows", "check_classes", "check_stream", "settings_of"]


def check_classes(model: Any, recipe: Any, vocabulary: Any) -> None:
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


def check_stream(tokens: Any, name: str, vocabulary_size: int) -> Tensor:
    """Return `tokens` if they are one stream of at least two tokens of the model's vocabulary."""
    if not isinstance(tokens, Tensor):
        raise TypeError(
            f"{name} must be a tensor of token numbers (N,), but a {type(tokens).__name__} was given. Make one with "
            "vocabulary.encode(words) or torch.tensor(numbers)."
        )
    if tokens.dim() != 1 or tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(
            f"{name} must be one stream of token numbers (N,), but {tokens.dtype} of shape {tuple(tokens.shape)} was "
            "given."
        )
    if tokens.numel() < 2:
        raise ValueError(f"{name} has {tokens.numel()} tokens, but at least 2 are needed: one to read, one to predict.")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary_size:
        raise ValueError(
            f"the text {name} holds the token {low if low < 0 else high}, but the model's vocabulary has "
            f"{vocabulary_size} tokens. Encode the text with the vocabulary that the model was built for."
        )
    return tokens


def as_rows(train: Tensor, recipe: Recipe, vocabulary_size: int) -> Tensor:
    """Return the stream as rows (B, N // B), each of at least one window; a remainder is not trained on."""
    check_stream(train, "train", vocabulary_size)
    length = train.numel() // recipe.batch_size
    if length < recipe.window + 1:
        raise ValueError(
            f"{train.numel()} tokens make {recipe.batch_size} rows of {length}, too short for a window of "
            f"{recipe.window} steps and its targets. Give more text, or a smaller batch_size or window."
        )
    return train[: length * recipe.batch_size].view(recipe.batch_size, length)


def settings_of(
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
        "train": _digest(train),
        "validation": None if validation is None else _digest(validation),
    }


def _digest(tokens: Tensor) -> str:
    """Return a short digest that two streams share only if they are equal."""
    return hashlib.sha256(tokens.detach().cpu().long().contiguous().numpy().tobytes()).hexdigest()[:16]
