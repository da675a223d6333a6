"""Monte Carlo dropout for an LSTM in one file: torch and nothing else.

Masks are drawn once per sequence and multiply what enters the gates at every step (Gal & Ghahramani 2016,
arXiv:1512.05287). At test time they stay on: each set of masks is one sample of the network, and the spread of the
predictions over many sets is what the network does not know. The library does the same, faster and for any module;
`tests/test_minimal.py` holds the two against each other.

Axes: S draws, B rows (sequences), T steps, D features, H hidden units.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Masks(NamedTuple):
    """The masks of one forward pass, one row per sequence: 0 for a dropped unit, 1 / (1 - p) for a kept one."""

    input: Tensor  # (B, D)
    hidden: Tensor  # (B, H)
    output: Tensor  # (B, H)


class Prediction(NamedTuple):
    """The distribution of the target, averaged over draws; every field is (B,)."""

    mean: Tensor
    aleatoric: Tensor  # variance that stays when the network is known
    epistemic: Tensor  # variance that comes from not knowing the network
    low: Tensor
    high: Tensor


class MaskedLSTM(nn.Module):
    """One LSTM layer and a Gaussian head; `forward` takes the masks as values, or none for the deterministic pass."""

    def __init__(self, inputs: int, hidden: int, p: float, p_input: float) -> None:
        super().__init__()
        self.hidden, self.p, self.p_input = hidden, p, p_input
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, inputs))  # gates in torch's order: i, f, g, o
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(4 * hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)
        self.head = nn.Linear(hidden, 2)  # mean and log variance of the target

    def draw_masks(self, rows: int) -> Masks:
        """Draw one set of masks per row: Bernoulli(1 - p), scaled so that the mean is 1."""

        def mask(width: int, p: float) -> Tensor:
            return torch.bernoulli(torch.full((rows, width), 1 - p)) / (1 - p)

        inputs = self.weight_ih.shape[1]
        return Masks(mask(inputs, self.p_input), mask(self.hidden, self.p), mask(self.hidden, self.p))

    def forward(self, x: Tensor, masks: Masks | None) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the target of each row, (B,) each, for inputs (B, T, D)."""
        h = c = x.new_zeros(x.shape[0], self.hidden)  # (B, H)
        for x_t in x.unbind(1):  # (B, D)
            into_input, into_hidden = (x_t, h) if masks is None else (x_t * masks.input, h * masks.hidden)
            gates = into_input @ self.weight_ih.T + into_hidden @ self.weight_hh.T + self.bias  # (B, 4 H)
            i, f, g, o = gates.chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # the carried memory is never masked
            h = o.sigmoid() * c.tanh()
        mean, log_variance = self.head(h if masks is None else h * masks.output).unbind(-1)
        return mean, log_variance.exp()


def train(model: MaskedLSTM, x: Tensor, y: Tensor, epochs: int = 60, rate: float = 0.01, batch: int = 64) -> None:
    """Minimise the Gaussian negative log likelihood, with fresh masks for every sequence of every batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            mean, variance = model(x[rows], model.draw_masks(len(rows)))
            loss = (0.5 * (variance.log() + (y[rows] - mean) ** 2 / variance)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def predict(model: MaskedLSTM, x: Tensor, draws: int = 20, level: float = 0.9) -> Prediction:
    """Average the Gaussians of many sets of masks: p(y) = 1/S sum_s N(y; mean_s, variance_s).

    Var y = mean_s variance_s (aleatoric) + Var_s mean_s (epistemic).
    """
    passes = [model(x, model.draw_masks(len(x))) for _ in range(draws)]
    means, variances = (torch.stack(values) for values in zip(*passes, strict=True))  # (S, B) each
    low, high = (mixture_quantile(means, variances, q) for q in ((1 - level) / 2, (1 + level) / 2))
    return Prediction(means.mean(0), variances.mean(0), means.var(0), low, high)


def mixture_quantile(means: Tensor, variances: Tensor, q: float) -> Tensor:
    """Return y with P(Y <= y) = q for the mixture of S Gaussians per row, by bisection; (S, B) -> (B,)."""
    stds = variances.sqrt()
    low, high = (means - 10 * stds).min(0).values, (means + 10 * stds).max(0).values
    for _ in range(60):
        middle = (low + high) / 2
        below = (0.5 * (1 + torch.erf((middle - means) / stds / math.sqrt(2)))).mean(0) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def main() -> None:
    """Forecast the next value of a noisy wave, and count how many fall inside the 90 % interval."""
    torch.manual_seed(0)
    wave = torch.sin(torch.arange(1000) / 5) + 0.1 * torch.randn(1000)
    x, y = wave.unfold(0, 21, 1)[..., :-1, None], wave[20:]  # 20 values in, the next one out
    model = MaskedLSTM(inputs=1, hidden=32, p=0.1, p_input=0.0)  # the only feature is not dropped
    train(model, x[:600], y[:600])
    result = predict(model, x[620:])
    inside = ((y[620:] >= result.low) & (y[620:] <= result.high)).float().mean()
    print(f"{inside:.0%} of the held-out values are inside the 90 % interval")
    print(f"mean variance: {result.aleatoric.mean():.4f} aleatoric, {result.epistemic.mean():.4f} epistemic")


if __name__ == "__main__":
    main()
