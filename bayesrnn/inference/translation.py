"""Translate with an encoder-decoder, or score a translation that is known, under draws of its masks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn._checks import check_whole
from bayesrnn.inference.context import undisturbed
from bayesrnn.inference.sentence_reader import SentenceReader


@dataclass(frozen=True, eq=False)
class Translation:
    r"""Translations with their statistics over S draws; after the end, tokens are padding and statistics 0.

    Attributes:
        tokens: (rows, L), the last of each row is the end.
        lengths: (rows,), with the end.
        draw_log_probs: (S, rows, L), log probability of each token given those before, per draw, nats.
        entropy: (rows, L), entropy of the mean distribution of each token, nats.
        aleatoric: (rows, L), mean entropy of a draw, nats.
    """

    tokens: Tensor
    lengths: Tensor
    draw_log_probs: Tensor
    entropy: Tensor
    aleatoric: Tensor

    @property
    def epistemic(self) -> Tensor:
        """Mutual information between each token and the weights, (rows, L), nats."""
        return (self.entropy - self.aleatoric).clamp(min=0)

    @property
    def token_log_prob(self) -> Tensor:
        r"""Log of the mean probability of each token, $\log \frac1S \sum_s p_s(y_t \mid y_{<t}, x)$, (rows, L)."""
        return torch.logsumexp(self.draw_log_probs, 0) - math.log(len(self.draw_log_probs))

    @property
    def log_prob(self) -> Tensor:
        r"""Log of the mean probability of the sentence, $\log \frac1S \sum_s \prod_t p_s(y_t \mid y_{<t}, x)$, (rows,).

        Each draw reads the whole sentence under one mask. The sum of `token_log_prob` averages anew at every token.
        """
        return torch.logsumexp(self.draw_log_probs.sum(-1), 0) - math.log(len(self.draw_log_probs))


def translate(
    model: nn.Module,
    source: Tensor | PackedSequence,
    target: Tensor | None = None,
    *,
    draws: int = 32,
    seed: int = 0,
    sampling: str = "stratified",
    beam: int = 5,
    length_penalty: float = 1.0,
    max_length: int | None = None,
    sequence_ids: Iterable[int] | Tensor | None = None,
) -> Translation:
    r"""Return the translation that beam search finds under the mean of draws, or score the one that is given.

    The search maximizes $\frac{1}{L^a} \sum_t \log \frac1S \sum_s p_s(y_t \mid y_{<t}, x)$ with a the length penalty;
    every draw keeps one mask per sentence, in encoder and decoder alike. A beam of 1 is the greedy search.

    Args:
        model: A `br.models.EncoderDecoder`, or a module with its `encode`, `decode`, `logits` and special tokens.
        source: (rows, steps) tokens with padding behind, or packed.
        target: (rows, steps) translations to score, each with its end and padding behind; none are searched then.
        draws: Draws S; 0 for the deterministic pass, whose epistemic part is 0.
        seed: Seed of the masks.
        sampling: `stratified` or `independent`.
        beam: Unfinished translations that are kept per sentence.
        length_penalty: The exponent a; 0 compares sums and prefers short translations.
        max_length: Most tokens of a translation, with the end; 2 steps + 10 if not given.
        sequence_ids: Whole numbers that name the sentences; 0, 1, 2, ... if not given.

    Raises:
        ValueError: If tokens are not in the vocabularies, a sentence is empty, a target does not end, or nothing in the
            model is stochastic and draws are asked for.

    Source: the two averages of a sentence: Malinin & Gales (2021), arXiv:2002.07650.

    Example:
        >>> import bayesrnn as br
        >>> model = br.models.EncoderDecoder(50, 40, 8, 8, dropout=0.3)
        >>> translations = translate(model, torch.randint(3, 40, (2, 6)), draws=16)
        >>> translations.log_prob.shape, bool((translations.epistemic >= 0).all())
        (torch.Size([2]), True)
    """
    reader = SentenceReader(model, source, draws, seed, sampling, sequence_ids)
    with undisturbed(model, seed):
        sentences = reader.search(beam, length_penalty, max_length, each=False) if target is None else target
        return Translation(*reader.scored(sentences))


def translate_draws(
    model: nn.Module,
    source: Tensor | PackedSequence,
    *,
    draws: int = 32,
    seed: int = 0,
    sampling: str = "stratified",
    beam: int = 1,
    length_penalty: float = 1.0,
    max_length: int | None = None,
    sequence_ids: Iterable[int] | Tensor | None = None,
) -> Tensor:
    """Return one translation per draw, (S, rows, L): their differences say how unsure the model is.

    Arguments and errors are as in `translate`; padding stands behind the end. A beam of 1 is the greedy search.

    Example:
        >>> import bayesrnn as br
        >>> model = br.models.EncoderDecoder(50, 40, 8, 8, dropout=0.3)
        >>> len(translate_draws(model, torch.randint(3, 40, (2, 6)), draws=16))
        16
    """
    check_whole(draws, "draws", 2)
    reader = SentenceReader(model, source, draws, seed, sampling, sequence_ids)
    with undisturbed(model, seed):
        sentences = reader.search(beam, length_penalty, max_length, each=True)
    return sentences.view(draws, len(reader.source), -1)
