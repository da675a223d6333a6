"""A recurrent network that learns what a linear forecast leaves: where the rest lies and how far it spreads."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal
from torch.nn import functional as F

from bayesrnn import likelihoods
from bayesrnn._checks import check_choice, check_whole
from bayesrnn.likelihoods.counts import StudentT
from bayesrnn.nn import LSTM, Dropout
from bayesrnn.schemes import Scheme, as_scheme

_HEADS = {"gaussian": 2, "student_t": 3, "mixture": 4}
"""Numbers per step that each likelihood is made of."""
_WIDTH = 0.3
"""Spread over draws of the mean of an untrained network, in standard deviations of the errors of the linear part."""


class ResidualForecaster(nn.Module):
    r"""The distribution of the next H values, around the forecast $b_h$ of a linear part.

    $$y_{o+h} \sim N\big(b_h + c\, s_h \mu_h,\; c^2 s_h^2 e^{v_h}\big)$$

    c is the scale of the series and $c\,s_h$ the error that the linear part leaves h steps ahead, so $\mu_h, v_h$ are
    of unit size. One stack of layers reads the context and goes on through the horizon in a single pass: the masks of a
    draw hold for the whole roll-out.

    Args:
        context_size: Features of a step of the context.
        horizon_size: Features of a step of the horizon.
        horizon: Values that are forecast, H.
        hidden_size: Units of each layer.
        num_layers: Layers.
        dropout: Rate p (= ``schemes.gal(p)``) or a scheme (or what `Scheme.to_dict` says).
        likelihood: `gaussian`, `student_t`, or `mixture`: two Gaussians at one place, one wider than the other, with
            heavy tails whose quantiles are fast.

    Raises:
        ValueError: If a size is below 1, or the likelihood unknown.

    Example:
        >>> model = ResidualForecaster(3, 2, horizon=6, hidden_size=8, dropout=0.2).eval()
        >>> model(torch.randn(5, 24, 3), torch.randn(5, 6, 2), torch.zeros(5, 6), torch.ones(5, 1)).mean.shape
        torch.Size([5, 6])
    """

    context_center: Tensor
    context_scale: Tensor
    horizon_center: Tensor
    horizon_scale: Tensor
    error: Tensor

    def __init__(
        self,
        context_size: int,
        horizon_size: int,
        horizon: int,
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float | Scheme | Mapping[str, Any] = 0.0,
        likelihood: str = "gaussian",
    ) -> None:
        super().__init__()
        self.context_size = check_whole(context_size, "context_size")
        self.horizon_size = check_whole(horizon_size, "horizon_size")
        self.horizon = check_whole(horizon, "horizon")
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.num_layers = check_whole(num_layers, "num_layers")
        self.likelihood = check_choice(likelihood, "likelihood", _HEADS)
        self.scheme = Scheme.from_dict(dropout) if isinstance(dropout, Mapping) else as_scheme(dropout)
        output = self.scheme.placement("output")
        self.read = nn.Linear(context_size, hidden_size)
        self.ahead = nn.Linear(horizon_size, hidden_size)
        self.recurrent = LSTM(hidden_size, hidden_size, num_layers, batch_first=True, dropout=self.scheme)
        self.output_dropout = Dropout(output.rate, output.span) if output else nn.Identity()
        self.head = nn.Linear(hidden_size, _HEADS[likelihood])
        nn.init.zeros_(self.head.weight)  # an untrained network is the linear part with its own errors,
        nn.init.zeros_(self.head.bias)
        nn.init.normal_(self.head.weight[0], std=_WIDTH / hidden_size**0.5)  # but its draws differ
        for name, size in (("context", context_size), ("horizon", horizon_size)):
            self.register_buffer(f"{name}_center", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("error", torch.ones(horizon))

    def forward(self, context: Tensor, ahead: Tensor, base: Tensor, scale: Tensor) -> Distribution:
        """Return the distribution of the next values, batch shape (rows, H), in the units and dtype of `base`.

        Args:
            context: Features of the last C steps, (rows, C, context features).
            ahead: Features of the next H steps, (rows, H, horizon features).
            base: The linear forecast, (rows, H), target units; in float64 where small changes ride on large values.
            scale: The scale of each row's series, (rows, 1), target units.
        """
        return self.distribution(self.parameters_of(context, ahead), base, scale)

    def parameters_of(self, context: Tensor, ahead: Tensor) -> Tensor:
        """Return the numbers that the distributions are made of, (rows, H, numbers); all 0 for the linear part."""
        read = self.read((context - self.context_center) / self.context_scale)
        later = self.ahead((ahead - self.horizon_center) / self.horizon_scale)
        hidden, _ = self.recurrent(torch.cat([read, later], 1))
        return self.head(self.output_dropout(hidden[:, -self.horizon :]))

    @torch.no_grad()
    def standardize(self, context: Tensor, ahead: Tensor, error: Tensor) -> "ResidualForecaster":
        """Set the scales of the features from training windows, and the error of the linear part, (H,)."""
        for name, values in (("context", context), ("horizon", ahead)):
            flat = values.reshape(-1, values.shape[-1]).double()
            width = flat.std(0, correction=0)
            getattr(self, f"{name}_center").copy_(flat.mean(0))
            getattr(self, f"{name}_scale").copy_(torch.where(width > 1e-6 * flat.abs().amax(0), width, 1.0))
        self.error.copy_(error)
        return self

    @torch.no_grad()
    def shrink(self, share: float) -> "ResidualForecaster":
        """Keep a share of what was learned: place and spread move towards the linear part and its errors."""
        self.head.weight.mul_(share)
        self.head.bias.mul_(share)
        return self

    def distribution(self, raw: Tensor, base: Tensor, scale: Tensor) -> Distribution:
        """Return the distributions that `parameters_of` describe, around the forecasts `base`."""
        raw, unit = raw.to(base.dtype), scale * self.error
        if self.likelihood == "student_t":
            t: Any = likelihoods.student_t(raw)
            return StudentT(t.df, base + unit * t.loc, unit * t.scale, validate_args=False)
        normal: Any = likelihoods.gaussian(raw[..., :2])
        location, spread = base + unit * normal.loc, unit * normal.scale
        if self.likelihood == "gaussian":
            return Normal(location, spread, validate_args=False)
        share = torch.sigmoid(raw[..., 2] - 2.0)  # of the wide part: an eighth at first, three times as wide
        wider = spread * (1.0 + F.softplus(raw[..., 3] + 2.0))
        parts = Normal(torch.stack([location, location], -1), torch.stack([spread, wider], -1), validate_args=False)
        weights = Categorical(probs=torch.stack([1 - share, share], -1), validate_args=False)
        return MixtureSameFamily(weights, parts, validate_args=False)

    def config(self) -> dict[str, Any]:
        """Return the arguments that make a network of this shape, as plain data."""
        return {
            "context_size": self.context_size,
            "horizon_size": self.horizon_size,
            "horizon": self.horizon,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "dropout": self.scheme.to_dict(),
            "likelihood": self.likelihood,
        }
