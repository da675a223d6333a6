"""One reading of a text by a language model's draws, averaged in one way or in several."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice, check_flag, check_seed, check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.data.text import fold_stream
from bayesrnn.inference._audit import check_stochastic
from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.context import lower_products, undisturbed
from bayesrnn.inference.decoder import Decoder, Scores, check_one_vocabulary
from bayesrnn.inference.ensemble import as_one
from bayesrnn.inference.token_stream import Member, as_factor, as_stream, chunked_draws, draws_at_once
from bayesrnn.masks import BLOCK, Binding, Memory, stream
from bayesrnn.predictive import Origin, TokenPredictive

LIFETIMES = ("stream", "window")
_MOST_BLOCKS = 16  # replicates that the Monte Carlo error is computed from


@dataclass(frozen=True)
class TextReading:
    """How draws read a text; attributes are the arguments of `perplexity` but for its averages.

    Raises:
        ValueError: If a number or a choice is none of those that `perplexity` allows.
        TypeError: If one is of another type.
    """

    draws: int = 100
    seed: int = 0
    lifetime: str = "stream"
    batch_size: int = 1
    window: int = 35
    weighting: str = "equal"
    drop_words: bool = True
    sampling: str = "stratified"
    multiplier: float = 1.0
    carry: str = "own"
    statistics: bool = True
    precision: str | None = None
    max_memory: int = 2**29
    progress: bool = False

    def __post_init__(self) -> None:
        check_whole(self.draws, "draws", 0)
        check_seed(self.seed)
        check_choice(self.lifetime, "lifetime", LIFETIMES)
        past = check_choice(self.weighting, "weighting", ("equal", "past")) == "past"
        if past and self.lifetime != "stream":
            raise ValueError(
                f"weighting='past' weighs draws by what they have read, but with lifetime={self.lifetime!r} a draw has "
                "new masks in each window, about which the past says nothing. Use lifetime='stream', or "
                "weighting='equal'."
            )
        check_whole(self.window, "window")
        check_whole(self.max_memory, "max_memory")
        check_flag(self.drop_words, "drop_words")
        check_flag(self.statistics, "statistics")
        check_choice(self.carry, "carry", ("own", "deterministic"))
        object.__setattr__(self, "multiplier", as_factor(self.multiplier, "multiplier", "scales the rates"))

    def predictives(
        self, models: list[nn.Module], tokens: Tensor | Iterable[int], averagings: list[Averaging]
    ) -> list[TokenPredictive]:
        """Return the predictive of each averaging, from one reading where the draws count alike."""
        tokens = as_stream(tokens)
        if self.weighting == "past" and len(averagings) > 1:  # shares of draws depend on their temperature
            return [self.predictives(models, tokens, [averaging])[0] for averaging in averagings]
        if self.weighting == "past" and not averagings[0].plain:
            raise ValueError(
                "weighting='past' is Bayes' rule for the mean of probabilities: it goes with average='arithmetic' and "
                "temperature_of='draws'."
            )
        _check_vocabularies(models)
        if self.draws:
            check_stochastic(models, self.multiplier, drop_words=self.drop_words)
        device = next((p.device for m in models for p in m.parameters()), torch.device("cpu"))
        inputs, targets, exists = (part.to(device) for part in fold_stream(tokens, self.batch_size))
        blocks = _Blocks.of(self.draws, BLOCK if self.sampling == "stratified" else 1)
        plans = [blocks if a.plain and not self._past else _Blocks([], self.draws) for a in averagings]
        shape = tuple(targets.shape)
        scores = [Scores.empty(shape, plan.count, self.statistics, device) for plan in plans]
        together = as_one(models)
        with undisturbed(together, self.seed), lower_products(together, self.precision):
            members = [self._member(part, len(models), device) for part in models]
            decoder = Decoder(members, self.max_memory, averagings)
            read = torch.zeros(len(models), self.draws, self.batch_size, dtype=torch.float64, device=device)
            for index, start in enumerate(self._starts(inputs.shape[1])):
                span = slice(start, start + self.window)
                now, then = inputs[:, span], targets[:, span]
                plain = [[m.read_plainly(now)[None]] for m in members]
                for score, averages in zip(scores, decoder.averaged(plain, then, statistics=False)):
                    score.put_plain(span, averages)
                if self.draws or self.statistics:
                    drawn = [list(m.read(now, start, index)) for m in members] if self.draws else plain
                    weights = None
                    if self._past:
                        logs = decoder.averaged(drawn, then, statistics=False)[0].log_probs.double()
                        weights, read = _weights(read, logs)
                    all_averages = decoder.averaged(drawn, then, weights, statistics=self.statistics)
                    for score, plan, averages in zip(scores, plans, all_averages):
                        score.put(span, averages, plan.slices)
        return [
            score.predictive(targets, exists, self._origin(len(models), plan)) for score, plan in zip(scores, plans)
        ]

    @property
    def _past(self) -> bool:
        return self.weighting == "past" and self.draws > 0

    def _member(self, model: nn.Module, members: int, device: torch.device) -> Member:
        """Return a reader of the text, with its draws in pieces that fit the memory."""
        source, rows = stream(self.sampling, self.seed), torch.arange(self.batch_size, device=device)
        at_once = draws_at_once(model, self.batch_size * self.window, self.max_memory)
        memory = self.max_memory // (4 * members)
        chunks = chunked_draws(self.draws, at_once, BLOCK, device) if self.draws else []
        bindings = [
            Binding(source, some, rows, multiplier=self.multiplier, masked_words=self.drop_words, memory=Memory(memory))
            for some in chunks
        ]
        return Member(model, bindings, self.lifetime, self.carry)

    def _origin(self, models: int, plan: "_Blocks") -> Origin:
        if not self.draws:
            return Origin(models, sampling="deterministic", networks=models)
        freedom = float(plan.count - 1) if plan.count > 1 else None
        size = min(plan.size, self.draws) * models
        draws = self.draws * models
        return Origin(draws, self.seed, self.sampling, size, degrees_of_freedom=freedom, networks=models)

    def _starts(self, steps: int) -> Iterable[int]:
        starts = range(0, steps, self.window)
        what = f"windows of {self.batch_size * self.window} tokens"
        with progress_bar(self.progress, len(starts), what) as advance:
            for start in starts:
                yield start
                advance(1)


def _weights(read: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (M, S, B, T) that draws have before each token, and their log likelihoods after the window.

    Args:
        read: Log likelihoods of what was read before the window, (M, S, B).
        logs: Log probabilities of the window's tokens, (M, S, B, T).
    """
    after = read.unsqueeze(-1) + logs.cumsum(-1)
    before = torch.cat([read.unsqueeze(-1), after[..., :-1]], -1)
    return before.flatten(0, 1).softmax(0).view(before.shape), after[..., -1]


@dataclass(frozen=True)
class _Blocks:
    """The equal blocks of draws that give the Monte Carlo error; draws left over count in the mean only."""

    slices: list[slice]
    size: int

    @classmethod
    def of(cls, draws: int, block: int) -> "_Blocks":
        whole = draws // block
        merged = max(whole // _MOST_BLOCKS, 1) * block
        return cls([slice(k * merged, (k + 1) * merged) for k in range(draws // merged)], merged)

    @property
    def count(self) -> int:
        return len(self.slices)


def _check_vocabularies(models: list[nn.Module]) -> None:
    sizes = [getattr(m, "vocabulary_size", None) for m in models]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(models):
        check_one_vocabulary(known)
