"""Recordings as sequences of cepstra: read, checked, stacked and cut to one tensor."""

import os
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE = 8000
"""Samples per second of the recordings behind the features."""


@dataclass(frozen=True)
class Recordings:
    """Utterances of one corpus: frames (N of (steps, D)) and what is known of each utterance."""

    frames: list[NDArray[np.float32]]
    label: Tensor  # (N,) the word, or the speaker where the corpus asks for it
    speaker: Tensor  # (N,)
    test: Tensor  # (N,) bool, the published test part
    validation: Tensor  # (N,) bool, of the training part

    def __post_init__(self) -> None:
        """Refuse what is no utterance.

        Raises:
            ValueError: If utterances and what is known of them differ in number, or an utterance has no frames, other
                features than the first, or values that are not finite.
        """
        known = {name: len(getattr(self, name)) for name in ("label", "speaker", "test", "validation")}
        if set(known.values()) != {len(self.frames)}:
            raise ValueError(f"{len(self.frames)} utterances, but {known}: each must be known of every utterance.")
        for k, frame in enumerate(self.frames):
            if frame.ndim != 2 or not len(frame):
                raise ValueError(
                    f"utterance {k} has no frames (shape {frame.shape}). Leave out recordings shorter than a frame."
                )
            if not np.isfinite(frame).all():
                raise ValueError(f"utterance {k} holds NaN or infinite values: its features were not computed.")
            if frame.shape[1] != self.frames[0].shape[1]:
                raise ValueError(
                    f"utterance {k} has {frame.shape[1]} features per step, but the first has "
                    f"{self.frames[0].shape[1]}: compute all with the same settings."
                )

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, rows: Tensor) -> "Recordings":
        """Return the utterances of a mask or an index."""
        index = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        frames = [self.frames[int(k)] for k in index]
        return Recordings(frames, self.label[index], self.speaker[index], self.test[index], self.validation[index])

    def with_frames(self, frames: list[NDArray[np.float32]]) -> "Recordings":
        """Return the same utterances with other features."""
        return Recordings(frames, self.label, self.speaker, self.test, self.validation)

    def with_labels(self, label: Tensor) -> "Recordings":
        """Return the same utterances with other targets."""
        return Recordings(self.frames, label, self.speaker, self.test, self.validation)

    def tensors(self, stack: int, steps: int) -> tuple[Tensor, Tensor]:
        """Return (N, steps, stack * D) and lengths (N,): `stack` frames make a step, what is longer is cut."""
        rows = [_stacked(frame, stack)[:steps] for frame in self.frames]
        x = torch.zeros(len(rows), max(map(len, rows)), rows[0].shape[1])
        for row, values in zip(x, rows):
            row[: len(values)] = torch.from_numpy(values)
        return x, torch.tensor([len(values) for values in rows])


def _stacked(frame: NDArray[np.float32], stack: int) -> NDArray[np.float32]:
    """Join `stack` frames to one step; the last one is repeated where frames are missing."""
    missing = -len(frame) % stack
    return np.concatenate([frame, np.repeat(frame[-1:], missing, 0)]).reshape(-1, stack * frame.shape[1])


def data_folder() -> Path:
    """Return the folder that BAYESRNN_DATA names.

    Raises:
        ValueError: If it names none.
    """
    folder = os.environ.get("BAYESRNN_DATA", "")
    if not Path(folder).is_dir() or not folder:
        raise ValueError("set BAYESRNN_DATA to the folder that holds fsdd and japanese_vowels, or use --synthetic.")
    return Path(folder)


def corpus_place(corpus: str) -> Path:
    """Return the file of the digits, or the folder of the vowels, in the data folder."""
    return data_folder() / {"digits": "fsdd/fsdd_mfcc13.npz", "vowels": "japanese_vowels"}[corpus]


def load_digits(path: Path | None = None) -> Recordings:
    """Read the Free Spoken Digit Dataset: 13 mel cepstra per 10 ms; recordings 0-4 are the test part, 5-9 validation.

    Raises:
        ValueError: If the file holds no such features, or those of another sampling rate.
    """
    path = corpus_place("digits") if path is None else path
    names = ("mfcc", "offsets", "label", "speaker", "index", "is_test")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path.name} is no .npz file of features ({error}). Compute cepstra of sound files first and save them "
            f"with the arrays {', '.join(names)}."
        ) from None
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(
            f"{path.name} holds {sorted(arrays)}, but {', '.join(missing)} are missing: no audio features."
        )
    for name in names:
        kinds, axes, legal = ("fiu", 2, "numbers (frames, cepstra)") if name == "mfcc" else ("iub", 1, "whole numbers")
        array = arrays[name]
        if array.dtype.kind not in kinds or array.ndim != axes:
            raise ValueError(
                f"{name} of {path.name} must hold {legal}, but holds {array.dtype} of shape {array.shape}."
            )
    rates = np.ravel(arrays.get("sampling_rate", RATE)).tolist()
    if rates != [RATE]:
        raise ValueError(
            f"{path.name} holds features of sound at {', '.join(map(str, rates))} Hz, but the networks read {RATE} Hz, "
            "whose mel bands are others. Resample the sound and compute the features again."
        )
    mfcc, offsets = arrays["mfcc"].astype(np.float32), arrays["offsets"].astype(np.int64)
    if len(offsets) != len(arrays["label"]) + 1 or offsets[-1] != len(mfcc):
        raise ValueError(
            f"{path.name} is torn: {len(arrays['label'])} labels, {len(offsets) - 1} utterances that end at frame "
            f"{offsets[-1] if len(offsets) else 'none'}, and {len(mfcc)} frames. Copy it again."
        )
    frames = [mfcc[a:b] for a, b in pairwise(offsets)]
    index, test = arrays["index"], torch.from_numpy(arrays["is_test"].astype(bool))
    held = torch.from_numpy((index >= 5) & (index < 10))
    return Recordings(frames, _whole(arrays["label"]), _whole(arrays["speaker"]), test, held)


def load_vowels(folder: Path | None = None) -> Recordings:
    """Read Japanese Vowels: 12 cepstra per step, nine speakers, who are the classes; every fifth utterance validates.

    Raises:
        ValueError: If a line is no utterance.
    """
    folder = corpus_place("vowels") if folder is None else folder
    frames, labels, tests = [], [], []
    for part in ("TRAIN", "TEST"):
        lines = (folder / f"JapaneseVowels_{part}.ts").read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if line.strip() and line[0] not in "#@":
                *channels, label = line.split(":")
                try:
                    frames.append(np.array([c.split(",") for c in channels], dtype=np.float32).T)
                    labels.append(_class(label))
                except ValueError:
                    raise ValueError(
                        f"line {number} of JapaneseVowels_{part}.ts is no utterance: channels of equally many numbers "
                        "and a class, separated by colons, were expected."
                    ) from None
                tests.append(part == "TEST")
    label, test = torch.tensor(labels, dtype=torch.long), torch.tensor(tests, dtype=torch.bool)
    return Recordings(frames, label, label, test, ~test & (torch.arange(len(frames)) % 5 == 0))


def _class(text: str) -> int:
    """Return a class, which the file counts from 1."""
    if int(text) < 1:
        raise ValueError
    return int(text) - 1


def synthetic(speakers: int = 3, words: int = 4, takes: int = 20, seed: int = 0) -> Recordings:
    """Invent utterances: a word is a path through 13 cepstra, a speaker shifts it, a take varies length and noise."""
    make = np.random.default_rng(seed)
    path, voice = make.normal(0, 2, (words, 3, 13)), make.normal(0, 0.5, (speakers, 13))
    who = [(w, s, t) for s in range(speakers) for w in range(words) for t in range(takes)]
    frames = []
    for w, s, _ in who:
        steps = int(make.integers(9, 16))
        at = np.linspace(0, 2, steps)
        line = np.stack([np.interp(at, np.arange(3), path[w, :, d]) for d in range(13)], 1)
        frames.append((line + voice[s] + make.normal(0, 0.8, line.shape)).astype(np.float32))
    label, speaker, take = (torch.tensor(values) for values in zip(*who))
    return Recordings(frames, label, speaker, take < takes // 5, (take >= takes // 5) & (take < 2 * takes // 5))


def _whole(values: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
