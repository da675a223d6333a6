"""A recurrent forecaster of one regular, seasonal series: all steps of the horizon under one set of masks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal, StudentT

from bayesrnn import likelihoods
from bayesrnn._checks import check_choice, check_finite, check_whole
from bayesrnn.nn import LSTM, Dropout
from bayesrnn.schemes import Scheme, as_scheme

__all__ = ["Forecaster"]

_HEADS = {"gaussian": (likelihoods.gaussian, 2), "student_t": (likelihoods.student_t, 3)}
_FEATURES = 4


class Forecaster(nn.Module):
    r"""The law of the next H values of a series, given the last C.

    With season $m$, seasonal change $d_t = y_t - y_{t-m}$ and its mean over the context $\bar d$, the forecast starts
    from last season's value plus that drift and adds what the network has learned:

    $$y_{o+h} \sim N\big(y_{o+h-km} + k \bar d + s_h \mu_h,\; s_h^2 e^{v_h}\big), \quad k = \lceil h/m \rceil$$

    $s_h$ is how far last season plus drift went astray in training, so that $\mu_h, v_h$ are of unit size and intervals
    widen from the start. One stack of layers reads the context and goes on through the horizon in a single pass: the
    masks of a draw are the same for every step of the roll-out. The network sees differences only, no level and no
    date, so a series may drift out of the range it was trained in.

    Inputs of a step: (context) how far $d_t$ is from $\bar d$, its change since the step before, the place in the
    season, 0; (horizon) the same of last season's twin of the step, 0, its place in the season, $h/H$.

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

    change_scale: Tensor
    place_scale: Tensor
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
        nn.init.zeros_(self.head.weight)  # an untrained forecaster is the seasonal drift with unit noise
        nn.init.zeros_(self.head.bias)
        self.register_buffer("change_scale", torch.ones(()))
        self.register_buffer("place_scale", torch.ones(()))
        self.register_buffer("horizon_scale", torch.ones(horizon))

    def forward(self, context: Tensor) -> Normal | StudentT:
        """Return the law of the next values, batch shape (rows, H), in target units.

        Args:
            context: The last C values, oldest first, (rows, C), target units; in float64 where small changes ride on
                large values, whatever the type of the weights.

        Raises:
            ValueError: If the shape is not (rows, C).
        """
        self._check(context)
        changes, drift, twins = self._seasonal(context)
        inputs = self._inputs(context, changes - drift, twins).to(self.head.weight.dtype)
        hidden, _ = self.recurrent(self.embedding(inputs))
        raw = self.head(self.output_dropout(hidden[:, -self.horizon :]))
        law: Any = _HEADS[self.likelihood][0](raw.to(context.dtype))
        location = self._baseline(context, drift, twins) + self.horizon_scale * law.loc
        scale = self.horizon_scale * law.scale
        if isinstance(law, StudentT):
            return StudentT(law.df, location, scale, validate_args=False)
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
    def normalize(self, context: Tensor, target: Tensor, observed: Tensor | None = None) -> "Forecaster":
        """Set the scales from training windows; they are buffers and are saved with the weights.

        Args:
            context: (rows, C), target units.
            target: (rows, H), target units.
            observed: Which targets count, (rows, H); all if not given.

        Raises:
            ValueError: If a value is not finite, or nothing in the windows changes from season to season.
        """
        self._check(check_finite(context, "context"))
        weight = torch.ones_like(target) if observed is None else observed.to(target)
        changes, drift, twins = self._seasonal(context)
        error = check_finite(target, "target") - self._baseline(context, drift, twins)
        place = context[:, -self.period :] - context[:, -self.period :].mean(1, keepdim=True)
        spread = ((weight * error.square()).sum(0) / weight.sum(0).clamp(min=1)).sqrt()
        if not bool((spread > 0).all()):
            raise ValueError(
                "the training values repeat exactly from season to season, so there is no error to learn from. A "
                "constant or strictly periodic series needs no forecaster; check that the right column was read."
            )
        self.horizon_scale.copy_(spread)
        self.change_scale.copy_((changes - drift).square().mean().sqrt())
        self.place_scale.copy_(place.square().mean().sqrt().clamp(min=torch.finfo(place.dtype).tiny))
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

    def _seasonal(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Seasonal changes (rows, C - m), their mean (rows, 1), where last season's twins of the horizon are (H,)."""
        changes = context[:, self.period :] - context[:, : -self.period]
        steps = torch.arange(self.horizon, device=context.device)
        return changes, changes.mean(1, keepdim=True), self.context - self.period + steps % self.period

    def _baseline(self, context: Tensor, drift: Tensor, twins: Tensor) -> Tensor:
        seasons = 1 + torch.arange(self.horizon, device=context.device) // self.period
        return context[:, twins] + seasons * drift

    def _inputs(self, context: Tensor, change: Tensor, twins: Tensor) -> Tensor:
        change = change / self.change_scale
        place = context - context[:, -self.period :].mean(1, keepdim=True)
        place = (place / self.place_scale)[:, self.period :] if self.period > 1 else torch.zeros_like(change)
        step = torch.diff(change, dim=1, prepend=change[:, :1])
        ahead = torch.arange(1, self.horizon + 1, device=context.device, dtype=context.dtype) / self.horizon
        ahead = ahead.expand(len(context), -1)
        read = torch.stack([change, step, place, torch.zeros_like(change)], -1)
        twin = twins - self.period
        told = torch.stack([change[:, twin], torch.zeros_like(ahead), place[:, twin], ahead], -1)
        return torch.cat([read, told], 1)

    def _check(self, context: Tensor) -> None:
        if not isinstance(context, Tensor) or context.dim() != 2 or context.shape[1] != self.context:
            given = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
            raise ValueError(
                f"the context must be (rows, {self.context}), the last {self.context} values of each row, but {given} "
                "was given. For one series take values[-context:][None]."
            )
