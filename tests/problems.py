"""Tiny networks whose masks can all be enumerated: exact predictive answers, from an independent numpy loop."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import likelihoods, schemes

RATE = 0.4
CELLS = {"lstm": br.nn.LSTM, "gru": br.nn.GRU}
TASKS = ("regression", "classes")


class TinyNet(nn.Module):
    """One recurrent layer of two units, masks on inputs and hidden states tied over gates, and a masked readout."""

    def __init__(self, cell: str, task: str) -> None:
        super().__init__()
        scheme = schemes.gal(input=RATE, hidden=RATE, gates="tied")
        self.recurrent = CELLS[cell](1, 2, batch_first=True, dropout=scheme)
        self.dropout = br.nn.Dropout(RATE)
        self.readout = nn.Linear(2, 2 if task == "regression" else 3)
        self.likelihood = likelihoods.gaussian if task == "regression" else likelihoods.categorical

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        return self.likelihood(self.readout(self.dropout(self.recurrent(x)[0][:, -1])))


class WordNet(nn.Module):
    """Token numbers to the head's output at the last step; the masks of a scheme at every site that it names."""

    def __init__(
        self,
        scheme: schemes.Scheme | float,
        cell: str = "lstm",
        sizes: tuple[int, int, int] = (7, 3, 3),
        layers: int = 1,
        outputs: int = 1,
        shared: bool = False,
    ) -> None:
        super().__init__()
        scheme, (vocabulary, features, hidden) = schemes.as_scheme(scheme), sizes
        self.cell = cell
        self.words = br.nn.Embedding(vocabulary, features, dropout=scheme)
        self.add_module(cell, CELLS[cell](features, hidden, layers, batch_first=True, dropout=scheme))
        output = scheme.placement("output")
        self.dropout = br.nn.Dropout(output.rate, output.span) if output else nn.Identity()
        self.head = nn.Linear(hidden, outputs)
        if shared:
            self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.dropout(self.get_submodule(self.cell)(self.words(tokens))[0])[:, -1])


@dataclass(frozen=True)
class Problem:
    """A model, its inputs (B, T, 1), the output of every mask (M, B, K) and the probability of every mask (M,)."""

    model: TinyNet
    inputs: Tensor
    outputs: np.ndarray
    weights: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Exact predictive mean."""
        return np.einsum("m,mb->b", self.weights, self.outputs[..., 0])

    @property
    def aleatoric(self) -> np.ndarray:
        """Exact expected variance."""
        return np.einsum("m,mb->b", self.weights, np.exp(self.outputs[..., 1]))

    @property
    def epistemic(self) -> np.ndarray:
        """Exact variance of the mean over masks."""
        return np.einsum("m,mb->b", self.weights, (self.outputs[..., 0] - self.mean) ** 2)

    @property
    def draw_probabilities(self) -> np.ndarray:
        """Class probabilities of every mask, (M, B, K)."""
        p = np.exp(self.outputs - self.outputs.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)

    @property
    def probabilities(self) -> np.ndarray:
        """Exact predictive probabilities."""
        return np.einsum("m,mbk->bk", self.weights, self.draw_probabilities)

    @property
    def expected_entropy(self) -> np.ndarray:
        """Exact aleatoric part, nats."""
        p = self.draw_probabilities
        return np.einsum("m,mb->b", self.weights, -(p * np.log(p)).sum(-1))

    @property
    def mutual_information(self) -> np.ndarray:
        """Exact epistemic part, nats."""
        p = self.probabilities
        return -(p * np.log(p)).sum(-1) - self.expected_entropy


def problem(cell: str, task: str, rows: int = 6, steps: int = 4, seed: int = 0) -> Problem:
    """Return the problem with the answers of all 2^5 masks."""
    generator = torch.Generator().manual_seed(seed)
    model = TinyNet(cell, task).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(rows, steps, 1, generator=generator, dtype=torch.float64)
    outputs, weights = [], []
    for bits in itertools.product((0, 1), repeat=5):
        kept = np.array(bits) / (1 - RATE)
        weights.append(math.prod(1 - RATE if b else RATE for b in bits))
        hidden = _last(cell, model, x.numpy(), kept[:1], kept[1:3])
        w, b = (p.detach().numpy() for p in model.readout.parameters())
        outputs.append((hidden * kept[3:]) @ w.T + b)
    return Problem(model, x, np.stack(outputs), np.array(weights))


def _last(cell: str, model: TinyNet, x: np.ndarray, z_x: np.ndarray, z_h: np.ndarray) -> np.ndarray:
    w, u, b, d = (p.detach().numpy() for p in model.recurrent.parameters())
    h = c = np.zeros((x.shape[0], 2))
    for t in range(x.shape[1]):
        inward, recurrent = (x[:, t] * z_x) @ w.T + b, (h * z_h) @ u.T + d
        if cell == "lstm":
            i, f, g, o = np.split(inward + recurrent, 4, -1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        else:
            (xr, xz, xn), (hr, hz, hn) = np.split(inward, 3, -1), np.split(recurrent, 3, -1)
            z = _sigmoid(xz + hz)
            h = (1 - z) * np.tanh(xn + _sigmoid(xr + hr) * hn) + z * h
    return h


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
