"""What translations are worth, and whether a network knows which of them are bad."""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import bayesrnn as br
from evaluation.translation.sentences import Pairs, TokenPairs, Vocabulary, needed
from evaluation.translation.training import Settings

REJECTED = 0.2
Array = NDArray[np.float64]


def score(
    net: br.models.EncoderDecoder, pairs: Pairs, tokens: TokenPairs, vocabulary: Vocabulary, settings: Settings
) -> dict[str, Any]:
    """Translate the test sentences by one pass and by draws; return BLEU, chrF, and what uncertainty says of them."""
    source = tokens.source()
    by_pass: dict[str, Any] = {}
    stochastic = bool(br.audit(net).active)
    for name, draws in (("one pass", 0), *([("draws", settings.draws)] if stochastic else [])):
        translation = br.translate(net, source, draws=draws, beam=settings.beam)
        texts = vocabulary.decode(translation.tokens)
        reference = br.translate(net, source, tokens.target(), draws=draws)
        by_pass[name] = {**corpus_scores(texts, pairs.target), "nll": nll(reference)}
        uncertainty = scores_of(translation)
        if draws:
            each = br.translate_draws(net, source, draws=min(draws, 16), beam=1)
            sentences = [vocabulary.decode(drawn) for drawn in each]
            uncertainty["disagreement of the draws"] = disagreement(sentences)
        by_pass[name]["uncertainty"] = judged(uncertainty, texts, pairs.target)
    return by_pass


def nll(translation: Any) -> float:
    """Mean negative log-likelihood of the tokens, averaged over draws at each token, nats."""
    return float(-translation.token_log_prob.sum() / translation.lengths.sum())


def scores_of(translation: Any) -> dict[str, Array]:
    """Return the uncertainty of each sentence, higher is less sure: negative log probabilities per token, and sums."""
    lengths = translation.lengths
    if len(translation.draw_log_probs) == 1:
        uncertainties = {"probability": -translation.log_prob / lengths, "probability, summed": -translation.log_prob}
    else:
        uncertainties = {
            "sentence under one mask": -translation.log_prob / lengths,
            "sentence under one mask, summed": -translation.log_prob,
            "every token averaged": -translation.token_log_prob.sum(1) / lengths,
            "epistemic part": translation.epistemic.sum(1) / lengths,
            "spread of the draws": (translation.draw_log_probs.sum(-1) / lengths).std(0),
        }
    uncertainties["entropy"] = translation.entropy.sum(1) / lengths
    return {name: value.double().cpu().numpy() for name, value in uncertainties.items()}


def judged(uncertainty: dict[str, Array], texts: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Return, per uncertainty, its rank correlation with quality and what rejecting the least certain fifth gains."""
    quality = sentence_quality(texts, references)
    whole = corpus_scores(texts, references)
    judgements = {}
    for name, values in uncertainty.items():
        order = np.argsort(values, kind="stable")
        kept = order[: round(len(order) * (1 - REJECTED))]
        left = corpus_scores([texts[k] for k in kept], [references[k] for k in kept])
        risk = np.cumsum(100 - quality[order]) / np.arange(1, len(order) + 1)
        judgements[name] = {
            "spearman": rank_correlation(-values, quality),
            "bleu_kept": left["bleu"],
            "bleu_gain": left["bleu"] - whole["bleu"],
            "area": float(risk.mean()),
            "risk": [float(risk[round(len(risk) * share) - 1]) for share in (0.2, 0.4, 0.6, 0.8, 1.0)],
        }
    return judgements


def rank_correlation(first: Array, second: Array) -> float | None:
    """Return Spearman's correlation; None where one of the two does not vary."""
    constant = np.ptp(first) == 0 or np.ptp(second) == 0
    return None if constant else float(spearmanr(first, second).statistic)


def corpus_scores(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return BLEU (lower case, sacrebleu's 13a) and chrF of a corpus."""
    sacrebleu = needed("sacrebleu")
    bleu = sacrebleu.metrics.BLEU(lowercase=True, force=True).corpus_score(list(texts), [list(references)])
    chrf = sacrebleu.metrics.CHRF(lowercase=True).corpus_score(list(texts), [list(references)])
    return {"bleu": bleu.score, "chrf": chrf.score}


def sentence_quality(texts: Sequence[str], references: Sequence[str]) -> Array:
    """Return the chrF of each sentence, which is steadier than BLEU on short ones."""
    chrf = needed("sacrebleu").metrics.CHRF(lowercase=True)
    return np.array([chrf.sentence_score(text, [reference]).score for text, reference in zip(texts, references)])


def disagreement(sentences: Sequence[Sequence[str]]) -> Array:
    """Return 1 - mean sentence BLEU between the translations of every two draws, per sentence.

    Args:
        sentences: Per draw, the translations of all sentences.
    """
    bleu = needed("sacrebleu").metrics.BLEU(lowercase=True, effective_order=True)

    def similar(a: str, b: str) -> float:
        return 1.0 if a == b else bleu.sentence_score(a, [b]).score / 100

    return np.array([1 - _mean_pair(similar, drawn) for drawn in zip(*sentences)])


def _mean_pair(similar: Callable[[str, str], float], drawn: Sequence[str]) -> float:
    """Mean over all ordered pairs of different draws; equal translations are compared once."""
    known: dict[tuple[str, str], float] = {}
    for pair in permutations(drawn, 2):
        if pair not in known:
            known[pair] = similar(*pair)
    return float(np.mean([known[pair] for pair in permutations(drawn, 2)]))
