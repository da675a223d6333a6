"""The predictive of a class target."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution
from torch.nn import functional as F

from bayesrnn._checks import as_values
from bayesrnn.likelihoods import families
from bayesrnn.predictive.base import Predictive, flat, index_columns, row_key
from bayesrnn.predictive.origin import DETERMINISTIC, Origin, block_standard_error


@dataclass(frozen=True, eq=False, repr=False)
class ClassPredictive(Predictive):
    r"""Class probabilities averaged over draws, with the entropy split into its parts (nats).

    $\bar p_k = \frac1S\sum_s p_{sk}$; entropy $H(\bar p)$ = aleatoric $\frac1S\sum_s H(p_s)$ + epistemic (the mutual
    information between target and weights). Shapes (B,) or (B, T, ...), classes last, draws on axis 0.
    """

    log_mean: Tensor  # (B, ..., K) float64
    expected_entropy: Tensor  # (B, ...) float64
    votes: Tensor  # (B, ..., K) how many draws prefer each class
    origin: Origin
    dtype: torch.dtype
    given_standard_error: Tensor | None = None
    draw_log_probabilities: Tensor | None = None  # (S, B, ..., K)

    def __post_init__(self) -> None:
        self.origin.check_rows(len(self))
        given = self.given_standard_error
        if given is not None and given.shape != self.log_mean.shape:
            raise ValueError(
                f"standard_error must have the shape of the probabilities, {tuple(self.log_mean.shape)}, "
                f"not {tuple(given.shape)}."
            )

    @classmethod
    def from_log_probabilities(
        cls, logs: Tensor, *, origin: Origin, dtype: torch.dtype, standard_error: Tensor | None = None
    ) -> "ClassPredictive":
        """Return the predictive of per-draw log probabilities (S, B, ..., K), each row normalized."""
        wide = logs.double()
        log_mean = torch.logsumexp(wide, 0) - math.log(len(wide))
        entropy = _entropy(wide).mean(0)
        votes = F.one_hot(wide.argmax(-1), wide.shape[-1]).sum(0)
        return cls(log_mean, entropy, votes, origin, dtype, standard_error, logs.detach())

    @classmethod
    def from_statistics(
        cls,
        probabilities: Tensor,
        aleatoric: Tensor,
        votes: Tensor,
        draws_used: int,
        standard_error: Tensor | None = None,
        degrees_of_freedom: float | None = None,
        *,
        seed: int | None = None,
        sampling: str = "independent",
        sequence_ids: Tensor | None = None,
    ) -> "ClassPredictive":
        """Return a predictive of streamed statistics: everything but the draws.

        Args:
            probabilities: Mean over draws, (B, ..., K).
            aleatoric: Expected entropy, (B, ...), nats.
            votes: How many draws have each class as their mode, (B, ..., K).
            draws_used: Number of draws.
            standard_error: Of the probabilities, (B, ..., K); unknown (inf) when not given.
            degrees_of_freedom: Of the standard error.
            seed: Seed of the draws.
            sampling: How they were drawn.
            sequence_ids: One id a row.
        """
        checked = check_probabilities(probabilities)
        if aleatoric.shape != checked.shape[:-1] or votes.shape != checked.shape:
            raise ValueError(
                f"probabilities of shape {tuple(checked.shape)} need an aleatoric part of shape "
                f"{tuple(checked.shape[:-1])} and votes of shape {tuple(checked.shape)}, but they have "
                f"{tuple(aleatoric.shape)} and {tuple(votes.shape)}."
            )
        if bool(torch.isnan(aleatoric).any()) or bool((aleatoric < 0).any()):
            raise ValueError("aleatoric is an expected entropy in nats and must be zero or more, without NaN.")
        origin = Origin(draws_used, seed, sampling, 1, sequence_ids, degrees_of_freedom)
        return cls(checked.log(), aleatoric.double(), votes, origin, probabilities.dtype, standard_error)

    @cached_property
    def probabilities(self) -> Tensor:
        """Mean probability of each class, (B, ..., K)."""
        return self._out(self.log_mean.exp())

    @cached_property
    def mode(self) -> Tensor:
        """Most probable class, (B, ...), int64."""
        return self.log_mean.argmax(-1)

    @cached_property
    def entropy(self) -> Tensor:
        """Entropy of the mean probabilities, (B, ...), nats: aleatoric + epistemic."""
        return self._out(_entropy(self.log_mean))

    @cached_property
    def aleatoric(self) -> Tensor:
        """Expected entropy of a draw, (B, ...), nats."""
        return self._out(torch.minimum(self.expected_entropy, _entropy(self.log_mean)))

    @cached_property
    def epistemic(self) -> Tensor:
        """Mutual information between target and weights, (B, ...), nats."""
        return self._out((_entropy(self.log_mean) - self.expected_entropy).clamp(min=0))

    @cached_property
    def variation_ratio(self) -> Tensor:
        """1 - share of the draws that prefer the most preferred class, (B, ...)."""
        return self._out(1 - self.votes.amax(-1).double() / self.votes.sum(-1))

    @cached_property
    def draws(self) -> Tensor:
        """Per-draw probabilities, (S, B, ..., K)."""
        if self.draw_log_probabilities is None:
            raise ValueError(
                "this predictive kept the averages only, not its draws. Predict with keep_draws=True (a recalibrated "
                "class predictive has no draws: its map acts on the mean probabilities)."
            )
        return self._out(self.draw_log_probabilities.double().exp())

    @cached_property
    def standard_error(self) -> Tensor:
        """Monte Carlo standard error of the probabilities, (B, ..., K): 0 where nothing was sampled, inf if unknown."""
        if self.given_standard_error is not None:
            return self.given_standard_error
        if self.draw_log_probabilities is None:
            unknown = 0.0 if self.sampling == DETERMINISTIC else torch.inf
            return torch.full_like(self.probabilities, unknown)
        return self._out(block_standard_error(self.draw_log_probabilities.double().exp(), self.origin))

    def log_prob(self, target: Tensor) -> Tensor:
        """Return the log of the mean probability of each target class, (B, ...), nats (-inf where it is 0)."""
        index = self.class_index(target)
        return self._out(self.log_mean.gather(-1, index[..., None])[..., 0])

    def to_frame(self) -> Any:
        """Return a DataFrame with one line per target: mode, entropies, variation ratio, probabilities."""
        import pandas as pd

        columns = index_columns(self.shape, self.sequence_ids)
        names = ("mode", "entropy", "aleatoric", "epistemic", "variation_ratio")
        columns |= {name: flat(getattr(self, name)) for name in names}
        columns |= {f"probability_{k}": flat(self.probabilities[..., k]) for k in range(self.classes)}
        return pd.DataFrame(columns)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> "ClassPredictive":
        """Return the predictive on another device or with results in another floating dtype."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        return replace(
            self,
            log_mean=self.log_mean.to(device),
            expected_entropy=self.expected_entropy.to(device),
            votes=self.votes.to(device),
            dtype=dtype or self.dtype,
            given_standard_error=_move(self.given_standard_error, device, dtype),
            draw_log_probabilities=_move(self.draw_log_probabilities, device, dtype),
        )

    def keep_draws(self, draws: Tensor) -> "ClassPredictive":
        """Return the predictive of a subset of the draws (indices): what fewer draws would have said."""
        if self.draw_log_probabilities is None:
            raise ValueError("this predictive kept the averages only: predict with keep_draws=True.")
        origin = replace(self.origin, draws=len(draws), block_size=1, degrees_of_freedom=None)
        logs = self.draw_log_probabilities[draws.to(self.device)]
        return ClassPredictive.from_log_probabilities(logs, origin=origin, dtype=self.dtype)

    def recalibrated(self, log_mean: Tensor) -> "ClassPredictive":
        """Return the predictive with other mean log probabilities; the entropy keeps the shares of its two parts.

        A map of the mean probabilities has no draws and no Monte Carlo error of its own: both are given up.
        """
        before, after = _entropy(self.log_mean), _entropy(log_mean)
        share = torch.where(before > 0, self.expected_entropy / before.clamp(min=1e-300), 1.0).clamp(0, 1)
        return replace(
            self,
            log_mean=log_mean,
            expected_entropy=share * after,
            given_standard_error=None,
            draw_log_probabilities=None,
        )

    def __len__(self) -> int:
        return self.log_mean.shape[0]

    def __getitem__(self, rows: Any) -> "ClassPredictive":
        key = row_key(rows, len(self))
        error, logs = self.given_standard_error, self.draw_log_probabilities
        return replace(
            self,
            log_mean=self.log_mean[key],
            expected_entropy=self.expected_entropy[key],
            votes=self.votes[key],
            origin=self.origin.map_ids(lambda ids: ids[key]),
            given_standard_error=None if error is None else error[key],
            draw_log_probabilities=None if logs is None else logs[:, key],
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(shape={tuple(self.shape)}, classes={self.classes}, draws={self.draws_used}, "
            f"sampling={self.sampling!r}, seed={self.seed})"
        )

    @property
    def shape(self) -> torch.Size:
        """Shape of the target, (B, ...)."""
        return self.log_mean.shape[:-1]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.log_mean.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the results live."""
        return self.log_mean.device

    def class_index(self, target: Tensor) -> Tensor:
        """Return the target as int64 class indices of the right shape and range, or say what is wrong with it."""
        target = as_values(target, "target").to(self.device)
        if target.shape != self.shape:
            raise ValueError(
                f"target of shape {tuple(target.shape)} does not fit the predictive of shape {tuple(self.shape)}: "
                "give one class index a target."
            )
        index = target.long()
        if bool((index != target).any()):
            raise ValueError("a class target must be whole numbers (class indices), but fractions were given.")
        if bool(((index < 0) | (index >= self.classes)).any()):
            raise ValueError(
                f"a class target must lie in 0..{self.classes - 1}, but values from {int(index.min())} to "
                f"{int(index.max())} were given. Padding is left out with mask= or lengths=."
            )
        return index

    def _out(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype)


def check_probabilities(p: Tensor) -> Tensor:
    """Return `p` in float64 with the last dimension normalized, if it holds probabilities.

    Raises:
        ValueError: If a value is NaN or outside [0, 1], or a row does not add up to 1.
    """
    wide = p.detach().double()
    bad = ~((wide >= -1e-6) & (wide <= 1 + 1e-6)).all(-1)
    off = ~((wide.sum(-1) - 1).abs() <= (2e-2 if p.dtype in (torch.bfloat16, torch.float16) else 1e-4))
    for wrong, what in ((bad, "values outside [0, 1] or NaN"), (off, "classes that do not add up to 1")):
        if bool(wrong.any()):
            rows = wrong.reshape(len(wrong), -1).any(1).nonzero().flatten()[:5].tolist()
            raise ValueError(
                f"probabilities hold {what} (rows {rows}). If these are logits, pass logits.softmax(-1); "
                "the classes are the last dimension."
            )
    wide = wide.clamp(min=0)
    return wide / wide.sum(-1, keepdim=True)


def class_log_probabilities(distribution: Distribution) -> Tensor:
    """Return normalized log probabilities (S, B, ..., K) of a Categorical, OneHotCategorical or Bernoulli."""
    distribution = families.peel(distribution)
    logits: Tensor = distribution.logits.detach()  # type: ignore[attr-defined]
    if isinstance(distribution, Bernoulli):
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -1)
    return torch.log_softmax(logits, -1)


def _entropy(logs: Tensor) -> Tensor:
    return -(logs.exp() * logs.clamp(min=torch.finfo(logs.dtype).min)).sum(-1)


def _move(tensor: Tensor | None, device: Any, dtype: torch.dtype | None) -> Tensor | None:
    return None if tensor is None else tensor.to(device=device, dtype=dtype)
