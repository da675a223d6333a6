"""The predictive of a class target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bayesrnn._checks import check_seed, check_whole, shortened
from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.columns import class_columns
from bayesrnn.predictive.finite_draws import block_standard_error, check_error_shape, check_errors, existing
from bayesrnn.predictive.origin import DETERMINISTIC, Origin
from bayesrnn.predictive.probabilities import class_index, class_numbers, entropy_of


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
    class_names: tuple[str, ...] | None = None  # K names; targets may then be texts
    network_entropy: Tensor | None = None  # (B, ...) float64: of each network's mean probabilities, averaged
    given_errors: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        self.origin.check_rows(len(self))
        names = self.class_names
        if names is not None and (len(names) != self.classes or len(set(names)) != self.classes):
            raise ValueError(
                f"class_names must be {self.classes} different names, one per class, but {shortened(names)} was given."
            )
        check_error_shape(self.given_standard_error, self.log_mean.shape, "the probabilities")

    @classmethod
    def from_log_probabilities(
        cls, logs: Tensor, *, origin: Origin, dtype: torch.dtype, standard_error: Tensor | None = None
    ) -> "ClassPredictive":
        """Return the predictive of per-draw log probabilities (S, B, ..., K), each row normalized."""
        wide = logs.double()
        log_mean = torch.logsumexp(wide, 0) - math.log(len(wide))
        entropy = entropy_of(wide).mean(0)
        votes = F.one_hot(wide.argmax(-1), wide.shape[-1]).sum(0)
        of_networks = wide.unflatten(0, (-1, origin.networks)).logsumexp(0).log_softmax(-1)
        apart = entropy_of(of_networks).mean(0) if origin.networks > 1 else None
        return cls(log_mean, entropy, votes, origin, dtype, standard_error, logs.detach(), network_entropy=apart)

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
        return self._out(entropy_of(self.log_mean))

    @cached_property
    def aleatoric(self) -> Tensor:
        """Expected entropy of a draw, (B, ...), nats."""
        return self._out(torch.minimum(self.expected_entropy, entropy_of(self.log_mean)))

    @cached_property
    def epistemic(self) -> Tensor:
        """Mutual information between target and weights, (B, ...), nats."""
        return self._out((entropy_of(self.log_mean) - self.expected_entropy).clamp(min=0))

    @cached_property
    def between_networks(self) -> Tensor:
        r"""Mutual information between target and network: $H(\bar p) - \frac1M \sum_m H(\bar p_m)$, (B, ...), nats."""
        if self.network_entropy is None:
            return torch.zeros_like(self.epistemic)
        return self._out((entropy_of(self.log_mean) - self.network_entropy).clamp(min=0))

    @cached_property
    def between_masks(self) -> Tensor:
        """Mutual information between target and masks in each network, averaged, (B, ...), nats: the other part."""
        return (self.epistemic - self.between_networks).clamp(min=0)

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
    def standard_error(self) -> Tensor | None:
        """Monte Carlo standard error of the probabilities, (B, ..., K): 0 without sampling, None if unknown."""
        if self.given_standard_error is not None:
            return existing(self.given_standard_error)
        if self.draw_log_probabilities is None:
            return torch.zeros_like(self.probabilities) if self.sampling == DETERMINISTIC else None
        error = existing(block_standard_error(self.draw_log_probabilities.double().exp(), self.origin))
        return None if error is None else self._out(error)

    @property
    def standard_errors(self) -> dict[str, Tensor]:
        """Monte Carlo standard errors of probabilities (B, ..., K), entropy, aleatoric and epistemic, by name.

        Raises:
            ValueError: If they were not computed.
        """
        return check_errors(self.given_errors)

    def log_prob(self, target: Tensor) -> Tensor:
        """Return the log of the mean probability of each target class, (B, ...), nats (-inf where it is 0)."""
        index = self.class_index(target)
        return self._out(self.log_mean.gather(-1, index[..., None])[..., 0])

    def to_frame(self) -> Any:
        """Return a DataFrame with one line per target: mode, entropies, variation ratio, probabilities."""
        import pandas as pd

        return pd.DataFrame(class_columns(self))

    def keep_draws(self, draws: Tensor) -> "ClassPredictive":
        """Return the predictive of a subset of the draws (indices): what fewer draws would have said."""
        if self.draw_log_probabilities is None:
            raise ValueError("this predictive kept the averages only: predict with keep_draws=True.")
        origin = self.origin.of_draws(draws)
        logs = self.draw_log_probabilities[draws.to(self.device)]
        fewer = ClassPredictive.from_log_probabilities(logs, origin=origin, dtype=self.dtype)
        return replace(fewer, class_names=self.class_names)

    def with_class_names(self, names: Sequence[Any]) -> "ClassPredictive":
        """Return the predictive with a name for each class: tables show them, and targets may be given by them."""
        return replace(self, class_names=tuple(map(str, names)))

    def paths(self, n: int, seed: int = 0) -> Tensor:
        """Return n sequences of classes of every row, (n, B, ...) int64: one draw serves all steps of a row.

        Given the draw the steps are independent; the global random state does not change.

        Raises:
            ValueError: If there are several steps and the draws were not kept.
        """
        check_whole(n, "n")
        generator = torch.Generator().manual_seed(check_seed(seed))
        if len(self.shape) == 1:
            p = self.log_mean.exp().cpu().expand(n, *self.log_mean.shape)
        else:
            draws = self.draws.double().cpu()
            chosen = torch.randint(len(draws), (n, len(self)), generator=generator)
            p = draws[chosen, torch.arange(len(self))]
        drawn = torch.multinomial(p.reshape(-1, self.classes), 1, generator=generator)
        return drawn.reshape(n, *self.shape).to(self.device)

    def recalibrated(self, log_mean: Tensor) -> "ClassPredictive":
        """Return the predictive with other mean log probabilities; the entropy keeps the shares of its two parts.

        A map of the mean probabilities has no draws and no Monte Carlo error of its own: both are given up.
        """
        before, after = entropy_of(self.log_mean), entropy_of(log_mean)

        def kept(part: Tensor) -> Tensor:
            return torch.where(before > 0, part / before.clamp(min=1e-300), 1.0).clamp(0, 1) * after

        return replace(
            self,
            log_mean=log_mean,
            expected_entropy=kept(self.expected_entropy),
            network_entropy=None if self.network_entropy is None else kept(self.network_entropy),
            given_standard_error=None,
            draw_log_probabilities=None,
            given_errors=None,
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
        return class_index(self.numbered(target), self.log_mean)

    def numbered(self, target: Any) -> Any:
        """Return texts as the numbers of the classes that they name; anything else as it is."""
        return class_numbers(target, self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each class: its name, or its number where there are no names."""
        return self.class_names or tuple(map(str, range(self.classes)))

    def _out(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype)
