"""Saved models that the tests share, and what lies in their folders."""

import json
from pathlib import Path

import torch
from torch import nn

from bayesrnn import models, schemes
from bayesrnn._documents import sealed_text


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def weights_of(folder: Path) -> Path:
    (weights,) = folder.glob("weights-*.safetensors")
    return weights


MODELS = {
    "regressor": lambda: models.SequenceRegressor(3, 8, 2, outputs=2, dropout=0.2, likelihood="student_t"),
    "naive": lambda: models.SequenceRegressor(3, 8, dropout=schemes.naive(0.3), likelihood="homoscedastic"),
    "classifier": lambda: models.SequenceClassifier(vocabulary=9, hidden_size=4, classes=3, dropout=schemes.moon(0.1)),
    "forecaster": lambda: models.Forecaster(24, 6, period=12, hidden_size=4, dropout=schemes.gal(0.1, gates="tied")),
    "translator": lambda: models.EncoderDecoder(30, 20, 4, 6, dropout=0.3),
    "language": lambda: models.LanguageModel(30, 4, 6, dropout=0.3),
    "shared": lambda: models.LanguageModel(30, 6, 6, dropout=0.3, shared_embeddings=True),
}


def edit(folder: Path, **changes: object) -> None:
    """Change a card as somebody would who knows the format: with a digest that fits."""
    file = folder / "model.json"
    card = json.loads(file.read_text()) | changes
    kind = card.pop("format")
    del card["digest"]
    file.write_text(sealed_text(kind, card))
