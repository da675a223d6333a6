"""Sentiment runs that take a second, for tests."""

from pathlib import Path

from evaluation.sentiment.corpus import synthetic_split
from evaluation.sentiment.training import Run, Settings
from evaluation.sentiment.variants import Variant

TINY = Settings(epochs=2, batch=32, draws=4, draws_every=1, draws_final=16, measured=40, units=8)
SPLITS = {name: synthetic_split(name, 60, 20) for name in ("paper", "sound")}


def tiny(folder: Path, variant: Variant, settings: Settings = TINY, split: str = "sound") -> Run:
    """Return a run on made reviews, with its files in `folder`."""
    return Run("gru", variant, SPLITS[split], 0, settings, folder / "results", folder / "state")
