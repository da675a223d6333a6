"""Predicted aleatoric variance against the measured variance of human raters.

15 to 29 people rated each snippet from -4 to 4, so the noise of a label is measured. A network with a predicted
variance is trained on ONE rating a snippet, drawn once, as users have them (`one`), or on all of them (`all`); on
held-out snippets its aleatoric variance should rank and match the variance of the raters.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

import bayesrnn as br
from evaluation.records import save
from evaluation.sentiment.reviews import RatedSnippets, read_rated_snippets
from evaluation.sentiment.variants import RatingDistribution, SentimentNet, Variant

KNOWN = 8_000
STEPS = 40
VARIANT = Variant("gal_variance", word=0.25, input=0.25, hidden=0.25, output=0.25, outputs=2)


def run(results: Path, *, quick: bool = False, seed: int = 0) -> dict[str, Any]:
    """Train on one and on all ratings a snippet, compare variances on the test snippets, save and return."""
    folder = os.environ.get("BAYESRNN_DATA")
    if not folder:
        raise ValueError("set BAYESRNN_DATA to the folder that holds vader/.")
    start = Path(folder) / "vader"
    files = start / "movieReviewSnippets_GroundTruth.txt", start / "movieReviewSnippets_anonDataRatings.txt"
    snippets = read_rated_snippets(*files)
    epochs, rows = (2, 1500) if quick else (30, len(snippets))
    result = {which: study(snippets, which, epochs, rows, seed) for which in ("one", "all")}
    save("vader", {"vader": result}, seed=seed, folder=results, data=files)
    return result


def study(snippets: RatedSnippets, which: str, epochs: int, rows: int, seed: int) -> dict[str, Any]:
    """Train on 70 % of the snippets, stop by 10 %, compare on 20 %."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(snippets), generator=generator)[:rows]
    train, validation, test = torch.tensor_split(order, [round(0.7 * rows), round(0.8 * rows)])
    tokens = encoded([snippets.texts[i] for i in range(len(snippets))], train)
    means, variances = snippets.mean.float(), snippets.variance.float()
    if which == "one":
        picks = [values[torch.randint(len(values), (), generator=generator)] for values in snippets.ratings]
        target, spread = torch.stack(picks).float(), torch.zeros(len(snippets))
    else:
        target, spread = means, torch.stack([r.var(correction=0) for r in snippets.ratings]).float()
    center, scale = float(target[train].mean()), float((target[train].var() + spread[train].mean()).sqrt())
    standardized, spread = (target - center) / scale, spread / scale**2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _fitted(tokens, standardized, spread, (train, validation), epochs)
    distribution = RatingDistribution(center, scale)
    judged = br.predict(net, tokens[test], draws=48, seed=seed, likelihood=distribution)
    compared = compare(judged.aleatoric, variances[test], means[test])
    return compared | {"error_of_mean": float((judged.mean - means[test]).square().mean().sqrt()), "epochs": epochs}


def encoded(texts: list[str], train: Tensor) -> Tensor:
    """Number the words of the training snippets by frequency (2 stands for the others), pad in front to 40 words."""
    split = [text.lower().split() for text in texts]
    counts = Counter(word for row in train.tolist() for word in split[row])
    numbers = {word: rank + 3 for rank, (word, _) in enumerate(counts.most_common(KNOWN - 3))}
    rows = [[1, *(numbers.get(word, 2) for word in line)][:STEPS] for line in split]
    return torch.tensor([[0] * (STEPS - len(row)) + row for row in rows])


def compare(predicted: Tensor, measured: Tensor, mean: Tensor, bins: int = 10) -> dict[str, Any]:
    """Rank and linear correlation, their ratio, and mean measured variance by bin of predicted variance.

    `extremity` is the rank correlation of the measured variance with -|mean rating|: ratings near the end of the
    scale must vary less, which is what a model could exploit that knows no more than the mean.
    """
    p, m = predicted.double().numpy(), measured.double().numpy()
    which = np.array_split(np.argsort(p), bins)
    return {
        "spearman": float(spearmanr(p, m).statistic),
        "pearson": float(pearsonr(p, m).statistic),
        "extremity": float(spearmanr(-np.abs(mean.double().numpy()), m).statistic),
        "predicted_mean": float(p.mean()),
        "measured_mean": float(m.mean()),
        "bins": [{"predicted": float(p[rows].mean()), "measured": float(m[rows].mean())} for rows in which],
    }


def _fitted(tokens: Tensor, target: Tensor, spread: Tensor, parts: tuple[Tensor, Tensor], epochs: int) -> SentimentNet:
    """Train by the Gaussian likelihood of the ratings; keep the weights of the best validation epoch."""
    train, validation = parts
    net = SentimentNet("gru", VARIANT, KNOWN, units=64)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    best, kept = float("inf"), {k: v.clone() for k, v in net.state_dict().items()}
    for _ in range(epochs):
        net.train()
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad(set_to_none=True)
            _nll(net(tokens[rows]), target[rows], spread[rows]).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            held_out = float(_nll(net(tokens[validation]), target[validation], spread[validation]))
        if held_out < best:
            best, kept = held_out, {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(kept)
    return net.eval()


def _nll(output: Tensor, target: Tensor, spread: Tensor) -> Tensor:
    """Mean over raters of the Gaussian nll: the mean rating's error plus the variance of the ratings used."""
    error = (output[:, 0] - target).square() + spread
    return 0.5 * (output[:, 1] + error * torch.exp(-output[:, 1])).mean()
