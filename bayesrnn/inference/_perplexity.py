"""Perplexity of a token stream: probabilities averaged over draws before the logarithm."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.ensemble import as_models
from bayesrnn.inference.text_reading import TextReading
from bayesrnn.inference.token_stream import as_factor
from bayesrnn.predictive import TokenPredictive


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
        >>> import torch
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> result = perplexity(LanguageModel(20, 8, 8, 1, dropout=0.3), torch.arange(20), draws=32)
        >>> result.shape, result.epistemic.shape
        (torch.Size([1, 19]), torch.Size([1, 19]))
    """
    models = as_models(model, "perplexity")
    divisor = as_factor(temperature, "temperature", "divides the logits")
    averaging = Averaging.of(average, divisor, temperature_of)
    reading = TextReading(
        draws, seed, lifetime, batch_size, window, weighting, drop_words, sampling, multiplier, carry, statistics,
        precision, max_memory, progress,
    )  # fmt: skip
    return reading.predictives(models, tokens, [averaging])[0]
