"""Splits of a corpus, and the networks that are trained on one: each resumes where it was stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import bayesrnn as br
from evaluation.speech.recordings import Recordings

MEMBERS = 5  # of the deep ensemble: networks without masks
WORDS_HELD_BACK = 2


@dataclass(frozen=True)
class Settings:
    """How the networks of a corpus are made and trained; nothing was chosen on a test part."""

    units: int = 96
    rate: float = 0.25
    epochs: int = 12
    batch: int = 64
    learning_rate: float = 3e-3
    stack: int = 3  # frames per step
    steps: int = 24  # .72 s: 2.7 % of the digits are longer, and cut
    draws: int = 32

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """What is trained on, what is judged, and what lies outside of what was trained on."""

    name: str
    train: Recordings
    validation: Recordings
    test: Recordings
    outside: Recordings | None = None
    classes: int = 10

    def checked(self) -> "Split":
        """Return the split, if it can be trained on and judged.

        Raises:
            ValueError: If one of its parts holds no utterance.
        """
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        if empty := [name for name, part in parts.items() if not len(part)]:
            raise ValueError(
                f"the split {self.name} has no utterances in its {' and '.join(empty)} part: judge others."
            )
        return self

    @property
    def judged(self) -> Recordings:
        """What the scores are about: the unseen speaker where there is one who says known words, else the test part."""
        heard = self.name.startswith("speaker") and self.outside is not None and int(self.outside.label.min()) >= 0
        return self.outside if heard and self.outside is not None else self.test


def splits(corpus: Recordings, speakers_are_classes: bool) -> dict[str, Split]:
    """Return the splits of a corpus by name: by recording, by word, and one per speaker left out.

    Where speakers are the classes, a speaker who is left out is a class outside, whose label is -1.
    """
    if not len(corpus):
        raise ValueError("there are no utterances in these data.")
    kept = ~corpus.test & ~corpus.validation

    def split(name: str, inside: Tensor, outside: Recordings | None) -> Split:
        labels = corpus.label[inside].unique()
        parts = [corpus.take(part & inside) for part in (kept, corpus.validation, corpus.test)]
        numbered = [_numbered(part, labels) for part in parts]
        if outside is not None and name.startswith("speaker"):
            outside = _numbered(outside, labels)
        return Split(name, *numbered, outside, len(labels))

    everything = torch.ones(len(corpus), dtype=torch.bool)
    all_splits = [split("recording", everything, None)]
    if not speakers_are_classes:
        known = corpus.label < int(corpus.label.max()) + 1 - WORDS_HELD_BACK
        all_splits.append(split("words", known, corpus.take(corpus.test & ~known)))
    for speaker in corpus.speaker.unique().tolist():
        other = corpus.speaker != speaker
        unheard = corpus.test & ~other if speakers_are_classes else ~other
        all_splits.append(split(f"speaker{speaker}", other, corpus.take(unheard)))
    return {one.name: one for one in all_splits}


def _numbered(part: Recordings, labels: Tensor) -> Recordings:
    """Number the classes that are known 0, 1, 2, ...; any other is -1."""
    if not len(labels):
        return part
    place = torch.searchsorted(labels, part.label).clamp(max=len(labels) - 1)
    return part.with_labels(torch.where(labels[place] == part.label, place, -1))


def schemes(rate: float) -> dict[str, br.schemes.Scheme]:
    """The compared schemes, every site at one rate."""
    return {
        "none": br.schemes.none(),
        "naive": br.schemes.naive(rate),
        "zaremba": br.schemes.zaremba(rate),
        "gal": br.schemes.gal(input=rate, hidden=rate, output=rate),
    }


def trained(split: Split, cell: str, scheme: str, seed: int, settings: Settings, folder: Path) -> torch.nn.Module:
    """Return the network with the weights of its best validation epoch; trained if its folder does not hold it yet."""
    parts = {
        name: (*part.tensors(settings.stack, settings.steps), part.label)
        for name, part in (("train", split.train), ("validation", split.validation))
    }
    x, lengths, _ = parts["train"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = br.models.SequenceClassifier(
            x.shape[2], settings.units, split.classes, dropout=schemes(settings.rate)[scheme], cell=cell
        )
    net.standardize(x, lengths)
    train, validation = (dict(zip(("x", "lengths", "target"), parts[name])) for name in ("train", "validation"))
    br.fit(
        net, train, validation, epochs=settings.epochs, batch_size=settings.batch,
        learning_rate=settings.learning_rate, checkpoint=folder / f"{split.name}-{cell}-{scheme}-seed{seed}",
        seed=seed, schedule=lambda epoch: 1 - epoch / settings.epochs, progress=False,
    )  # fmt: skip
    return net


def predicted(net: torch.nn.Module, part: Recordings, settings: Settings, draws: int, seed: int = 0) -> Any:
    """Return the predictive of the classes of a part; 0 draws: the deterministic pass."""
    x, lengths = part.tensors(settings.stack, settings.steps)
    return br.predict(net, x, lengths=lengths, draws=draws, seed=seed)
