"""The predictive of a token stream: statistics of the observed tokens, never a (draws, tokens, vocabulary) tensor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import check_lengths, rows_of
from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.columns import flat, index_columns
from bayesrnn.predictive.finite_draws import block_indices, nll_without_each_block, spread
from bayesrnn.predictive.origin import DETERMINISTIC, Origin

_STATISTICS = (
    "deterministic_log_prob", "entropy", "aleatoric", "epistemic", "between_networks", "target", "confidence",
    "correct",
)  # fmt: skip
_PER_TOKEN = ("log_prob", "mask", *_STATISTICS)


@dataclass(frozen=True, eq=False, repr=False)
class TokenPredictive(Predictive):
    r"""Log probability of each observed token, probabilities averaged over draws, and what goes with it.

    $\log \bar p(y_t) = \log \frac1S \sum_s p(y_t \mid \omega_s)$; perplexity $= \exp(-\text{mean} \log \bar p)$ over
    the scored tokens. Averaging the logs instead gives the perplexity of a typical draw, which is larger.

    Attributes:
        log_prob: (B, T) nats.
        origin: Where the draws came from.
        mask: (B, T) bool, True where a token is scored (padding is False); all by default.
        deterministic_log_prob: (B, T) of the pass without masks.
        block_log_prob: (R, B, T) log mean probability over each of R equal, independent blocks of draws: they give
            the Monte Carlo error and the correction for finitely many draws.
        entropy: (B, T) of the mean probabilities, nats.
        aleatoric: (B, T) expected entropy, nats.
        epistemic: (B, T) mutual information, nats.
        between_networks: (B, T) its part between the networks of an ensemble, nats.
        target: (B, T) the tokens.
        confidence: (B, T) largest mean probability.
        correct: (B, T) bool, whether the most probable token is the target.
    """

    log_prob: Tensor
    origin: Origin
    mask: Tensor = None  # type: ignore[assignment]  # all tokens; set in __post_init__
    deterministic_log_prob: Tensor | None = None
    block_log_prob: Tensor | None = None
    entropy: Tensor | None = None
    aleatoric: Tensor | None = None
    epistemic: Tensor | None = None
    between_networks: Tensor | None = None
    target: Tensor | None = None
    confidence: Tensor | None = None
    correct: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.log_prob.shape
        if len(shape) != 2:
            raise ValueError(f"log_prob must have shape (rows, steps), but {tuple(shape)} was given.")
        if self.mask is None:
            object.__setattr__(self, "mask", torch.ones(shape, dtype=torch.bool, device=self.log_prob.device))
        for name in _PER_TOKEN:
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{name} must have the shape of log_prob, {tuple(shape)}, not {tuple(value.shape)}.")
        if self.block_log_prob is not None and self.block_log_prob.shape[1:] != shape:
            raise ValueError(
                f"block_log_prob must have shape (blocks, {shape[0]}, {shape[1]}), "
                f"not {tuple(self.block_log_prob.shape)}."
            )
        if not bool(self.mask.any()):
            raise ValueError("no token is scored: the mask leaves none over.")
        scored = self.log_prob[self.mask]
        if bool((~(scored <= 1e-3)).any()):
            rows = rows_of(~(self.log_prob <= 1e-3) & self.mask)[:5]
            raise ValueError(
                f"log_prob holds NaN or positive values (rows {rows}). It takes log probabilities in nats, which are "
                "zero or below: pass log_softmax outputs gathered at the tokens."
            )
        self.origin.check_rows(len(self))

    @classmethod
    def from_blocks(
        cls, block_log_prob: Tensor, *, origin: Origin, lengths: Tensor | None = None, **statistics: Any
    ) -> "TokenPredictive":
        """Return the predictive of R equal blocks of draws, each given as its log mean probability (R, B, T).

        A block may be a single draw. `statistics` are the other per-token attributes.
        """
        wide = block_log_prob.double()
        log_prob = (torch.logsumexp(wide, 0) - math.log(len(wide))).to(block_log_prob.dtype)
        if lengths is not None:
            rows, steps = log_prob.shape
            counts = check_lengths(lengths, rows, steps).to(log_prob.device)
            statistics["mask"] = torch.arange(steps, device=log_prob.device) < counts[:, None]
        return cls(log_prob, origin, block_log_prob=block_log_prob, **statistics)

    @staticmethod
    def per_token() -> tuple[str, ...]:
        """Return the names of the attributes of shape (B, T)."""
        return _PER_TOKEN

    @property
    def between_masks(self) -> Tensor | None:
        """(B, T) the part of `epistemic` between the masks of a network, nats: the rest."""
        apart = self.between_networks
        return self.epistemic if self.epistemic is None or apart is None else (self.epistemic - apart).clamp(min=0)

    @cached_property
    def nll(self) -> float:
        """Mean negative log probability of the scored tokens, nats per token."""
        return self._mean(self.log_prob)

    @property
    def perplexity(self) -> float:
        """exp(nll).

        Raises:
            ValueError: If that is beyond float64: a token is as good as impossible.
        """
        if _LARGEST_NLL < self.nll < math.inf:
            row, step = divmod(int(self.log_prob.where(self.mask, 0.0).argmin()), self.shape[1])
            raise ValueError(
                f"the perplexity exp({self.nll:.3g}) is beyond float64: the token of row {row}, step {step} has "
                f"the log probability {float(self.log_prob[row, step]):.3g}. Did the training diverge? Use nll."
            )
        return _exp(self.nll)

    @cached_property
    def deterministic_nll(self) -> float:
        """The same for the pass without masks (the standard dropout approximation)."""
        if self.deterministic_log_prob is None:
            raise ValueError("the deterministic pass was not made: ask for it when computing the perplexity.")
        return self._mean(self.deterministic_log_prob)

    @property
    def deterministic_perplexity(self) -> float:
        """exp(deterministic_nll)."""
        return _exp(self.deterministic_nll)

    @cached_property
    def nll_corrected(self) -> float:
        r"""Jackknife estimate of the nll of infinitely many draws, nats.

        nll $+ (R-1)(\theta - \bar\theta_{(-r)})$ with $\theta$ of the R blocks: removes the order 1/S bias of the log
        of an average. Draws that are in no block count in the nll only.
        """
        left_out = nll_without_each_block(self.block_log_prob, self.mask)
        if left_out is None:
            raise ValueError("the correction needs at least 2 blocks of draws (block_log_prob), which were not kept.")
        blocks = self.block_log_prob[:, self.mask].double()  # type: ignore[index]
        pooled = math.log(len(blocks)) - float(torch.logsumexp(blocks, 0).mean())
        return self.nll + (len(left_out) - 1) * (pooled - float(left_out.mean()))

    @property
    def perplexity_corrected(self) -> float:
        """exp(nll_corrected)."""
        return _exp(self.nll_corrected)

    @cached_property
    def standard_error(self) -> float | None:
        """Monte Carlo standard error of the nll (jackknife over blocks), nats: None where one block tells nothing."""
        if self.sampling == DETERMINISTIC:
            return 0.0
        left_out = nll_without_each_block(self.block_log_prob, self.mask)
        return None if left_out is None else spread(left_out)

    def to_frame(self) -> Any:
        """Return a DataFrame with one line per scored token: row, step, log probability and what else is known."""
        import pandas as pd

        columns = index_columns(self.shape, self.sequence_ids)
        names = ("target", "log_prob", *_STATISTICS)
        known = {name: getattr(self, name) for name in dict.fromkeys(names)}
        columns |= {name: flat(value) for name, value in known.items() if value is not None}
        return pd.DataFrame(columns)[flat(self.mask)].reset_index(drop=True)

    def keep_draws(self, draws: Tensor | Sequence[int]) -> "TokenPredictive":
        """Return the predictive of a subset of the blocks of draws (their indices); the other statistics stay.

        The origin says how many draws and degrees of freedom are left. Entropies and confidences are averages over all
        draws.

        Raises:
            ValueError: If the blocks were not kept, or an index is none of a block.
        """
        if self.block_log_prob is None:
            raise ValueError("this predictive kept the averages only, not its blocks of draws (block_log_prob).")
        blocks = self.block_log_prob[block_indices(draws, len(self.block_log_prob)).to(self.device)]
        wide = torch.logsumexp(blocks.double(), 0) - math.log(len(blocks))
        return replace(self, log_prob=wide.to(self.dtype), block_log_prob=blocks, origin=self._origin_of(len(blocks)))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(shape={tuple(self.shape)}, tokens={int(self.mask.sum())}, "
            f"perplexity={_exp(self.nll):.4g}, draws={self.draws_used})"
        )

    @property
    def shape(self) -> torch.Size:
        """Shape of the stream, (B, T)."""
        return self.log_prob.shape

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the results."""
        return self.log_prob.dtype

    @property
    def device(self) -> torch.device:
        """Where the results live."""
        return self.log_prob.device

    def _origin_of(self, blocks: int) -> Origin:
        """The origin of a few of the blocks; draws that filled no block are in none of them."""
        origin, whole = self.origin, len(self.block_log_prob)  # type: ignore[arg-type]
        size = origin.block_size if origin.draws // origin.block_size == whole else max(origin.draws // whole, 1)
        freedom = float(blocks - 1) if blocks > 1 else None
        return replace(origin, draws=blocks * size, block_size=size, degrees_of_freedom=freedom)

    def _mean(self, log_prob: Tensor) -> float:
        return -float(log_prob[self.mask].double().mean())


_LARGEST_NLL = 700.0


def _exp(nll: float) -> float:
    return math.exp(nll) if nll < _LARGEST_NLL else math.inf
