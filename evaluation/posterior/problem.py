"""The problem: sequences told by one number, a small GRU, its prior and likelihood."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bayesrnn as br

STEPS = 4
NOISE = 0.25
LENGTH_SCALE = 1.0
PRECISION = NOISE**-2
RATE = 0.1


@dataclass(frozen=True)
class Problem:
    """Training rows, and test rows in three regions.

    Attributes:
        x: Training sequences (N, STEPS, 1).
        y: Their targets (N,).
        regions: Name -> the numbers u that tell the test sequences, and noisy targets.
    """

    x: Tensor
    y: Tensor
    regions: dict[str, tuple[Tensor, Tensor]]

    @property
    def size(self) -> int:
        """How many training rows."""
        return len(self.y)

    @property
    def points(self) -> Tensor:
        """The u of all test rows, region after region."""
        return torch.cat([u for u, _ in self.regions.values()])


def sequences(u: Tensor) -> Tensor:
    """Return the ramps from 0 to u, (N, STEPS, 1)."""
    return (u[:, None] * torch.linspace(1 / STEPS, 1, STEPS)).unsqueeze(-1)


def truth(u: Tensor) -> Tensor:
    """The noiseless target."""
    return 0.8 * torch.sin(3.0 * u)


def make(rows: int = 24, tests: int = 60, seed: int = 0) -> Problem:
    """Sequences with |u| in [.4, 1.2] to train on; tests inside, in the gap between, and beyond (1.5 to 2.5)."""
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, count: int) -> Tensor:
        size = low + (high - low) * torch.rand(count, generator=generator)
        return size * (2.0 * torch.randint(0, 2, (count,), generator=generator) - 1.0)

    def noisy(u: Tensor) -> Tensor:
        return truth(u) + NOISE * torch.randn(len(u), generator=generator)

    u = between(0.4, 1.2, rows)
    tested = {"inside": (0.4, 1.2), "gap": (0.0, 0.25), "beyond": (1.5, 2.5)}
    regions = {}
    y = noisy(u)
    for name, (low, high) in tested.items():
        points = between(low, high, tests).sort().values
        regions[name] = (points, noisy(points))
    return Problem(sequences(u), y, regions)


class Net(nn.Module):
    """A GRU of four units and a linear readout; 89 weights.

    Args:
        scheme: Its dropout. The input has one feature, so it is never dropped: that would drop the whole sequence.
        units: Hidden units.
    """

    def __init__(self, scheme: br.schemes.Scheme | None = None, units: int = 4) -> None:
        super().__init__()
        chosen = scheme or br.schemes.none()
        self.gru = br.nn.GRU(1, units, batch_first=True, dropout=chosen)
        self.readout = br.nn.Dropout(chosen.rate("output")) if chosen.rate("output") else nn.Identity()
        self.head = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (rows, 1)."""
        return self.head(self.readout(self.gru(x)[0][:, -1]))


class Flat:
    """The network without masks as a function of one vector of all weights."""

    def __init__(self, units: int = 4) -> None:
        with torch.random.fork_rng(devices=[]):
            self.net = Net(units=units).eval()
        self.sizes = [p.numel() for p in self.net.parameters()]

    @property
    def size(self) -> int:
        """How many weights."""
        return sum(self.sizes)

    def __call__(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the outputs (rows,) of the network with these weights; written out, because NUTS calls it often."""
        w_ih, w_hh, b_ih, b_hh, readout, bias = weights.split(self.sizes)
        units = len(readout)
        recurrent, h = w_hh.view(-1, units), x.new_zeros(len(x), units)
        inward = x * w_ih + b_ih  # (rows, steps, 3 * units), gates r z n; the input has one feature
        for t in range(x.shape[1]):
            now, back = inward[:, t], torch.nn.functional.linear(h, recurrent, b_hh)
            r, z = torch.sigmoid(now[:, : 2 * units] + back[:, : 2 * units]).chunk(2, 1)
            h = torch.lerp(torch.tanh(now[:, 2 * units :] + r * back[:, 2 * units :]), h, z)
        return h @ readout + bias

    def draws(self, weights: Tensor, x: Tensor) -> Tensor:
        """Return the outputs (S, rows) for S weight vectors."""
        with torch.no_grad():
            return torch.stack([self(w, x) for w in weights])
