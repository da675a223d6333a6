"""Perplexity of a token stream: probabilities averaged over draws before the logarithm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice, check_seed, check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.data.text import fold_stream
from bayesrnn.inference._audit import check_stochastic
from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.context import lower_products, undisturbed
from bayesrnn.inference.decoder import Decoder, Scores, check_one_vocabulary
from bayesrnn.inference.ensemble import as_models, as_one
from bayesrnn.inference.token_stream import Member, as_factor, as_stream, chunked_draws, draws_at_once
from bayesrnn.masks import BLOCK, Binding, Memory, stream
from bayesrnn.predictive import Origin, TokenPredictive

LIFETIMES = ("stream", "window")
_MOST_BLOCKS = 16  # replicates that the Monte Carlo error is computed from


def perplexity(
    model: nn.Module | Sequence[nn.Module],
    tokens: Tensor | Iterable[int],
    *,
    draws: int = 100,
    seed: int = 0,
    lifetime: str = "stream",
    batch_size: int = 1,
    window: int = 35,
    weighting: str = "equal",
    drop_words: bool = True,
    sampling: str = "stratified",
    multiplier: float = 1.0,
    average: str | float = "arithmetic",
    temperature: float = 1.0,
    temperature_of: str = "draws",
    carry: str = "own",
    statistics: bool = True,
    precision: str | None = None,
    max_memory: int = 2**29,
    progress: bool = False,
) -> TokenPredictive:
    r"""Return the log probability of each token after the first, averaged over draws, and its uncertainty.

    $\mathrm{perplexity} = \exp\bigl(-\frac1N \sum_t \log \frac1S \sum_s p(w_t \mid w_{<t}, \omega_s)\bigr)$: the
    probabilities are averaged, then the logarithm is taken. The stream is read in windows; every draw carries its own
    state from window to window. Draws ride in the batch, the product with the vocabulary is made in pieces, and no
    tensor of (draws, tokens, vocabulary) exists. The deterministic pass is made beside the draws.

    Args:
        model: A `LanguageModel`, or any module that returns (Categorical or logits, state) from `model(tokens, state)`;
            or several such models, an ensemble: the draws of all of them are averaged together.
        tokens: The stream, (N,); its tokens 1 to N - 1 are scored.
        draws: Draws S of each model; 0 for the deterministic pass only (with the epistemic part of an ensemble).
        seed: Seed of the masks.
        lifetime: `stream`: a draw keeps one mask for the whole stream (Gal's Monte Carlo test); `window`: new masks for
            each window, as in training. Masks of the span `step` change each step in both.
        batch_size: Parallel rows that the stream is cut into, each from a state of zeros. 1 reads it in one piece.
        window: Steps of a window. Under the lifetime `stream` it changes speed and memory only.
        weighting: `equal`: every draw counts the same for every token (Gal's test). `past`: draws are weighted by the
            likelihood of the tokens that they have read, $w_{ts} \propto \prod_{\tau < t} p(w_\tau \mid w_{<\tau},
            \omega_s)$, which is Bayes' rule for a mask that holds for the whole stream; the perplexity is then
            $\bigl(\frac1S \sum_s \prod_t p(w_t \mid w_{<t}, \omega_s)\bigr)^{-1/N}$ per row. It asks for the
            lifetime `stream`, and has no Monte Carlo error: in the end few draws carry the weight.
        drop_words: Whether word types are dropped too (Gal's test had them off).
        sampling: `stratified` or `independent`.
        multiplier: Factor on all rates at test time.
        average: How the draws' distributions become one: "arithmetic" (Monte Carlo dropout), "geometric", or the power
            a of the mean $\bigl(\frac1S \sum_s p_s(v)^a\bigr)^{1/a}$, normalized over the vocabulary. Only the
            arithmetic mean has a Monte Carlo error here; entropies are always of the mixture of the draws.
        temperature: Divides each draw's logits, or the logits of the mean.
        temperature_of: "draws": before the mean; "mean": after it.
        carry: "own": each draw carries its own state from window to window; "deterministic": each window of a draw
            begins with the state of the pass without masks.
        statistics: Whether to compute entropies and confidences per token; without, the pass is faster.
        precision: "bf16" for bfloat16 products with float32 state, where the processor has units for them.
        max_memory: Bytes that logits and activations may take, roughly; one draw of all rows is made whatever it takes.
        progress: Whether to show a progress bar.

    Returns:
        A `TokenPredictive` of shape (batch_size, steps); nats. Its `perplexity`, `deterministic_perplexity`,
        `standard_error`, `perplexity_corrected` are numbers, its `entropy`, `aleatoric`, `epistemic` are per token.

    Raises:
        ValueError: If nothing is stochastic, the stream is too short, a token is not in the model's vocabulary, the
            members of an ensemble have different vocabularies, a multiplied rate reaches 1, or a result is NaN.
        TypeError: If the model returns something else than a distribution and a state, or an argument is of another
            type.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 4.1, and its authors' code (`run_MC_test`); temperature,
    multiplier and power means: Melis et al. (2018), arXiv:1805.09208.

    Example:
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> result = perplexity(LanguageModel(20, 8, 8, 1, dropout=0.3), torch.arange(20), draws=32)
        >>> result.shape, result.epistemic.shape
        (torch.Size([1, 19]), torch.Size([1, 19]))
    """
    models = as_models(model, "perplexity")
    check_whole(draws, "draws", 0)
    check_seed(seed)
    check_choice(lifetime, "lifetime", LIFETIMES)
    if check_choice(weighting, "weighting", ("equal", "past")) == "past" and lifetime != "stream":
        raise ValueError(
            f"weighting='past' weighs draws by what they have read, but with lifetime={lifetime!r} a draw has new "
            "masks in each window, about which the past says nothing. Use lifetime='stream', or weighting='equal'."
        )
    check_whole(window, "window")
    check_whole(max_memory, "max_memory")
    temperature = as_factor(temperature, "temperature", "divides the logits")
    after = check_choice(temperature_of, "temperature_of", ("draws", "mean")) == "mean"
    averaging = Averaging.of(average, temperature if after else 1.0)
    check_choice(carry, "carry", ("own", "deterministic"))
    if weighting == "past" and not averaging.plain:
        raise ValueError(
            "weighting='past' is Bayes' rule for the mean of probabilities: it goes with average='arithmetic' and "
            "temperature_of='draws'."
        )
    multiplier = as_factor(multiplier, "multiplier", "scales the rates")
    _check_vocabularies(models)
    if draws:
        check_stochastic(models, multiplier, drop_words=drop_words)
    device = next((p.device for m in models for p in m.parameters()), torch.device("cpu"))
    inputs, targets, exists = (part.to(device) for part in fold_stream(as_stream(tokens), batch_size))
    block = BLOCK if sampling == "stratified" else 1
    source = stream(sampling, seed)
    rows = torch.arange(batch_size, device=device)

    def member(part: nn.Module) -> Member:
        at_once = draws_at_once(part, batch_size * window, max_memory)
        room = max_memory // (4 * len(models))
        return Member(
            part,
            [
                Binding(source, some, rows, multiplier=multiplier, masked_words=drop_words, memory=Memory(room))
                for some in chunked_draws(draws, at_once, BLOCK, device)
            ]
            if draws
            else [],
            lifetime,
            carry,
        )

    past = weighting == "past" and draws > 0
    plan = _Blocks([], draws) if past or not averaging.plain else _Blocks.of(draws, block)
    read = torch.zeros(len(models), draws, batch_size, dtype=torch.float64, device=device)
    scores = Scores.empty(tuple(targets.shape), plan.count, statistics, device)
    together = as_one(models)
    with undisturbed(together, seed), lower_products(together, precision):
        members = [member(part) for part in models]
        decoder = Decoder(members, 1.0 if after else temperature, max_memory, averaging)
        starts = range(0, inputs.shape[1], window)
        for index, start in enumerate(_shown(starts, progress, batch_size * window)):
            span = slice(start, start + window)
            now, then = inputs[:, span], targets[:, span]
            plain = [m.read_plainly(now) for m in members]
            scores.put_plain(span, decoder.plain(plain, then))
            if draws or statistics:
                drawn = [list(m.read(now, start, index)) if draws else [p[None]] for m, p in zip(members, plain)]
                weights = None
                if past:
                    logs = decoder.averaged(drawn, then, statistics=False).log_probs.double()
                    weights, read = _weights(read, logs)
                scores.put(span, decoder.averaged(drawn, then, weights, statistics=statistics), plan.slices)
    return scores.predictive(targets, exists, _origin(draws, len(models), seed, sampling, plan))


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


def _origin(draws: int, models: int, seed: int, sampling: str, plan: _Blocks) -> Origin:
    if not draws:
        return Origin(models, sampling="deterministic", networks=models)
    freedom = float(plan.count - 1) if plan.count > 1 else None
    size = min(plan.size, draws) * models
    return Origin(draws * models, seed, sampling, size, degrees_of_freedom=freedom, networks=models)


def _check_vocabularies(models: list[nn.Module]) -> None:
    sizes = [getattr(m, "vocabulary_size", None) for m in models]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(models):
        check_one_vocabulary(known)


def _shown(starts: range, progress: bool, tokens: int) -> Iterable[int]:
    with progress_bar(progress, len(starts), f"windows of {tokens} tokens") as advance:
        for start in starts:
            yield start
            advance(1)
