"""A recurrent forecaster of one regular, seasonal series: all steps of the horizon under one set of masks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from bayesrnn import likelihoods
from bayesrnn._checks import check_choice, check_finite, check_whole
from bayesrnn.data.patterns import pattern_of
from bayesrnn.likelihoods.counts import StudentT
from bayesrnn.models.seasonal_parts import Parts, take_apart
from bayesrnn.nn import LSTM, Dropout
from bayesrnn.schemes import Scheme, as_scheme

_HEADS = {"gaussian": (likelihoods.gaussian, 2), "student_t": (likelihoods.student_t, 3)}
_FEATURES = 4
_WIDTH = 2.0
"""Spread of the initial mean over draws. Started at 0, a network that few data hardly move would claim to know."""


class Forecaster(nn.Module):
    r"""The distribution of the next H values of a series, given the last C.

    The context is taken apart into level, drift, season and remainder, $y_t = \ell + d (t - o) + p_t + r_t$, where $d$
    is the mean change from season to season (per step) and $p$ the mean pattern of the seasons of length m. The
    forecast continues these and adds what the network has learned:

    $$y_{o+h} \sim N\big(\ell + p_{o+h} + \psi_h d h + \varphi_h r_o + s_h \mu_h,\; s_h^2 e^{v_h}\big)$$

    $\psi_h$ and $\varphi_h$ (how much of the drift and of the last remainder lasts) are fitted by least squares in
    training, and $s_h$ is the error that they leave: so $\mu_h, v_h$ are of unit size and intervals widen from the
    start. One stack of layers reads the context and goes on through the horizon in a single pass: the masks of a draw
    are the same for every step of the roll-out. The network sees remainders and the season, no level and no date, so a
    series may drift out of the range it was trained in.

    Inputs of a step: (context) $r_t$, its change since the step before, $p_t$, 0; (horizon) $r_o$, 0, $p_{o+h}$, $h/H$.

    Args:
        context: Values that are read, C; at least two seasons.
        horizon: Values that are forecast, H.
        period: Steps of a season, m; 1 for a series without one.
        hidden_size: Units of each layer.
        num_layers: Layers.
        dropout: Rate p (= ``schemes.gal(p)``) or a scheme (or what `Scheme.to_dict` says).
        likelihood: `gaussian` or `student_t`; both heteroscedastic.

    Raises:
        ValueError: If a size is below 1, the context below two seasons, or the likelihood unknown.

    Example:
        >>> model = Forecaster(context=24, horizon=6, period=12, hidden_size=8, dropout=0.2).eval()
        >>> model(torch.randn(5, 24)).mean.shape
        torch.Size([5, 6])
    """

    remainder_scale: Tensor
    season_scale: Tensor
    persistence: Tensor
    drift_weight: Tensor
    horizon_scale: Tensor

    def __init__(
        self,
        context: int,
        horizon: int,
        *,
        period: int = 1,
        hidden_size: int = 32,
        num_layers: int = 2,
        dropout: float | Scheme | Mapping[str, Any] = 0.0,
        likelihood: str = "gaussian",
    ) -> None:
        super().__init__()
        self.period = check_whole(period, "period")
        self.horizon = check_whole(horizon, "horizon")
        self.context = check_whole(context, "context")
        if context < 2 * period:
            raise ValueError(
                f"context must span at least two seasons, 2 * {period} = {2 * period} values, but {context} was given. "
                "Lengthen the context, or pass period=1 for a series without a season."
            )
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.num_layers = check_whole(num_layers, "num_layers")
        self.likelihood = check_choice(likelihood, "likelihood", _HEADS)
        self.scheme = Scheme.from_dict(dropout) if isinstance(dropout, Mapping) else as_scheme(dropout)
        output = self.scheme.placement("output")
        self.embedding = nn.Linear(_FEATURES, hidden_size)
        self.recurrent = LSTM(hidden_size, hidden_size, num_layers, batch_first=True, dropout=self.scheme)
        self.output_dropout = Dropout(output.rate, output.span) if output else nn.Identity()
        self.head = nn.Linear(hidden_size, _HEADS[likelihood][1])
        nn.init.zeros_(self.head.weight)  # an untrained forecaster continues drift and season, with unit noise,
        nn.init.zeros_(self.head.bias)
        nn.init.normal_(
            self.head.weight[0], std=_WIDTH / hidden_size**0.5
        )  # but its draws differ: few data, wide distribution
        self.register_buffer("remainder_scale", torch.ones(()))
        self.register_buffer("season_scale", torch.ones(()))
        self.register_buffer("persistence", torch.zeros(horizon))
        self.register_buffer("drift_weight", torch.ones(horizon))
        self.register_buffer("horizon_scale", torch.ones(horizon))

    def forward(self, context: Tensor) -> Normal | StudentT:
        """Return the distribution of the next values, batch shape (rows, H), in target units.

        Args:
            context: The last C values, oldest first, (rows, C), target units; in float64 where small changes ride on
                large values, whatever the type of the weights.

        Raises:
            ValueError: If the shape is not (rows, C).
        """
        self._check(context)
        parts = take_apart(context, self.period, self.horizon)
        inputs = self._inputs(parts).to(self.head.weight.dtype)
        hidden, _ = self.recurrent(self.embedding(inputs))
        raw = self.head(self.output_dropout(hidden[:, -self.horizon :]))
        distribution: Any = _HEADS[self.likelihood][0](raw.to(context.dtype))
        location = self._continued(parts) + self.horizon_scale * distribution.loc
        scale = self.horizon_scale * distribution.scale
        if isinstance(distribution, StudentT):
            return StudentT(distribution.df, location, scale, validate_args=False)
        return Normal(location, scale, validate_args=False)

    def windows(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Cut a series into every pair of context (rows, C) and target (rows, H) that it holds.

        Raises:
            ValueError: If the series is not one row of finite numbers, or too short for one pair.
        """
        if values.dim() != 1:
            raise ValueError(f"a series is one row of values, but its shape is {tuple(values.shape)}.")
        needed = self.context + self.horizon
        if len(values) < needed:
            raise ValueError(
                f"a context of {self.context} and a horizon of {self.horizon} need at least {needed} values, but the "
                f"series has {len(values)}. Shorten them, or bring more data."
            )
        rows = check_finite(values, "the series").unfold(0, needed, 1)
        return rows[:, : self.context], rows[:, self.context :]

    @torch.no_grad()
    def standardize(self, context: Tensor, target: Tensor, observed: Tensor | None = None) -> "Forecaster":
        """Set weights of drift and remainder, and the scales, from training windows; they are saved with the model.

        Args:
            context: (rows, C), target units.
            target: (rows, H), target units.
            observed: Which targets count, (rows, H); all if not given.

        Raises:
            ValueError: If a value is not finite, or nothing in the windows departs from drift and season.
        """
        self._check(check_finite(context, "context"))
        parts = take_apart(context.double(), self.period, self.horizon)
        weight = torch.ones_like(target).double() if observed is None else observed.double()
        missing = check_finite(target, "target").double() - parts.steady
        regressors = torch.stack([parts.last.expand_as(missing), parts.drift * self._ahead(missing)], -1)
        weighted = (regressors * weight.unsqueeze(-1)).permute(1, 2, 0)
        products = weighted @ regressors.transpose(0, 1)
        fitted = torch.linalg.pinv(products, hermitian=True) @ (weighted @ missing.T.unsqueeze(-1))
        self.persistence.copy_(fitted[:, 0, 0])
        self.drift_weight.copy_(fitted[:, 1, 0])
        error = missing - (regressors * fitted.squeeze(-1)).sum(-1)
        spread = ((weight * error.square()).sum(0) / weight.sum(0).clamp(min=1)).sqrt()
        size = missing.abs().mean() + context.double().std()
        if not bool((spread > 1e-9 * size).all()):
            raise ValueError(
                f"the training values {pattern_of(torch.cat([context[:, 0], context[-1, 1:]]))}, so there is no error "
                "to learn from. Such a series needs no forecaster; check that the right column was read."
            )
        self.horizon_scale.copy_(spread)
        for scale, part in ((self.remainder_scale, parts.remainder), (self.season_scale, parts.season)):
            width = part.square().mean().sqrt()
            scale.copy_(width if width > 1e-9 * size else torch.zeros_like(width))  # only rounding: nothing to read
        return self

    def config(self) -> dict[str, Any]:
        """Return the arguments that make a forecaster of this shape, as plain data."""
        return {
            "context": self.context,
            "horizon": self.horizon,
            "period": self.period,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "dropout": self.scheme.to_dict(),
            "likelihood": self.likelihood,
        }

    def _continued(self, parts: Parts) -> Tensor:
        return parts.steady + self.persistence * parts.last + self.drift_weight * parts.drift * self._ahead(parts.drift)

    def _ahead(self, like: Tensor) -> Tensor:
        return torch.arange(1, self.horizon + 1, device=like.device, dtype=like.dtype)

    def _inputs(self, parts: Parts) -> Tensor:
        rows = parts.drift.shape[0]
        remainder = _over(parts.remainder, self.remainder_scale)
        season = _over(parts.season, self.season_scale) if self.period > 1 else parts.season
        ahead = self._ahead(remainder).expand(rows, -1)
        zeros = torch.zeros_like(remainder)
        change = torch.diff(remainder, dim=1, prepend=remainder[:, :1])
        read = torch.stack([remainder, change, season[:, : self.context], zeros], -1)
        last = remainder[:, -1:].expand_as(ahead)
        future = torch.stack([last, torch.zeros_like(ahead), season[:, self.context :], ahead / self.horizon], -1)
        return torch.cat([read, future], 1)

    def _check(self, context: Tensor) -> None:
        if not isinstance(context, Tensor) or context.dim() != 2 or context.shape[1] != self.context:
            given = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
            raise ValueError(
                f"the context must be (rows, {self.context}), the last {self.context} values of each row, but {given} "
                "was given. For one series take values[-context:][None]."
            )


def _over(value: Tensor, scale: Tensor) -> Tensor:
    """Return value / scale, or zeros where there is nothing but rounding to scale."""
    return torch.where(scale > 0, value / torch.where(scale > 0, scale, 1.0), 0.0)
