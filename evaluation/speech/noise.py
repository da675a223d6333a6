"""Noise added where the features allow it: to the smoothed power spectrum that the cepstra of a frame describe.

The corpora hold cepstra and no sound, so noise cannot be added to a waveform. A cepstrum truncated after D numbers is
the spectrum smoothed: it is turned back into power per band, the power of the noise is added (powers of independent
sounds add up on average), and the sum is turned into cepstra again. Of a frame without noise nothing changes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from evaluation.speech.recordings import RATE, Recordings

BANDS = 26
"""Mel bands that the truncated cepstra are taken to come from: the usual number; the features do not say it."""
TALKERS = 6
FRAMES_OF_A_BIN = 6.0
"""Shape of the gamma distribution of a noise band's power: a band averages about so many bins of a frame."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Spectrum:
    """How the features of a corpus become power per band, and back."""

    mel: bool

    def power(self, frames: Array) -> Array:
        """Return (steps, BANDS) of cepstra (steps, D)."""
        size = len(frames), BANDS
        full = np.zeros(size)
        if self.mel:
            full[:, : frames.shape[1]] = frames
        else:  # linear prediction: log power = 2 sum_k c_k cos(k w), k from 1 on; the gain is unknown and taken as 1
            full[:, 1 : frames.shape[1] + 1] = frames * np.sqrt(2 * BANDS)
        return np.exp(idct(full, axis=1, norm="ortho"))

    def cepstra(self, power: Array, width: int) -> Array:
        """Return (steps, width) of power (steps, BANDS)."""
        full = dct(np.log(power), axis=1, norm="ortho")
        kept = full[:, :width] if self.mel else full[:, 1 : width + 1] / np.sqrt(2 * BANDS)
        return kept.astype(np.float32)

    def white(self) -> Array:
        """Power per band of noise that is flat per Hz: a mel band gathers in proportion to its width."""
        if not self.mel:
            return np.ones(BANDS)
        edges = 700 * (10 ** (np.linspace(0, _mel(RATE / 2), BANDS + 2) / 2595) - 1)
        return edges[2:] - edges[:-2]


def noisy(recordings: Recordings, kind: str, decibel: float, mel: bool, seed: int = 0) -> Recordings:
    """Return the recordings in white noise, or in babble of TALKERS others, at a signal-to-noise ratio in decibel.

    Raises:
        ValueError: If the kind is neither `white` nor `babble`.
    """
    if kind not in ("white", "babble"):
        raise ValueError(f"noise must be white or babble, but {kind!r} was given.")
    make, spectrum = np.random.default_rng(seed), Spectrum(mel)
    clean = [spectrum.power(frame) for frame in recordings.frames]
    frames = []
    for number, (power, frame) in enumerate(zip(clean, recordings.frames)):
        if kind == "white":
            noise = spectrum.white() * make.gamma(FRAMES_OF_A_BIN, 1 / FRAMES_OF_A_BIN, power.shape)
        else:
            noise = _babble(clean, number, len(power), make)
        scale = power.sum() / noise.sum() * 10 ** (-decibel / 10)
        frames.append(spectrum.cepstra(power + scale * noise, frame.shape[1]))
    return recordings.with_frames(frames)


def _babble(clean: list[Array], number: int, steps: int, make: np.random.Generator) -> Array:
    """The sum of other recordings at equal power, each begun anywhere and repeated."""
    others = make.choice(np.delete(np.arange(len(clean)), number), min(TALKERS, len(clean) - 1), replace=False)
    total = np.zeros((steps, BANDS))
    for other in others:
        talk = clean[other]
        total += talk[(make.integers(len(talk)) + np.arange(steps)) % len(talk)] / talk.sum(1).mean()
    return total


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))
