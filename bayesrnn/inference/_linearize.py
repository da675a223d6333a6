"""`linearize`: the predictive to first order in the masks, without draws, and where its variance comes from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_whole
from bayesrnn.inference._predict import check_model, predict
from bayesrnn.inference.context import undisturbed
from bayesrnn.inference.inputs import batches, rows_at_once
from bayesrnn.inference.job import Job
from bayesrnn.inference.linear.first_order import first_order
from bayesrnn.inference.linear.parts import LinearPart, joined, parts_of
from bayesrnn.inference.linear.result import LinearPredictive
from bayesrnn.inference.linear.sources import check_control
from bayesrnn.inference.nested import leaves, map_leaves
from bayesrnn.inference.row_check import check_rows_apart
from bayesrnn.masks import BLOCK, stream


def linearize(
    model: nn.Module,
    *inputs: Any,
    likelihood: Callable[[Any], Any] | None = None,
    beyond: int = 0,
    features: Sequence[Any] | None = None,
    vocabulary: Sequence[Any] | None = None,
    seed: int = 0,
    batch_dim: int = 0,
    batch_dims: Sequence[int | None] | None = None,
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
    max_memory: int | None = None,
) -> Any:
    r"""Return the epistemic variance to first order in the masks, without draws, and where it comes from.

    With the gradient J of each output by its masks at their mean,

    $$\mathrm{Var} f \approx \sum_j J_j^2 \, \frac{p_j}{1 - p_j}$$

    for one forward and one backward pass per output, all in one batch: for one output about the time of 15 to
    25 deterministic passes. Each term has a place: `sources` adds them up by site, layer, direction, input feature and
    word. The mean is $f(1)$, the deterministic pass. The first order is good where rates are small and layers wide;
    `beyond` says what it misses.

    Args:
        model: A torch module that holds layers of `bayesrnn.nn` whose masks hold for a sequence.
        *inputs: What the model takes, as in `predict`.
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        beyond: Draws (at least 16, or 0) by which the part beyond the first order is estimated.
        features: Names of the input features.
        vocabulary: Words by number, such as `Vocabulary.tokens`.
        seed: Seed of these draws.
        batch_dim: Dimension of the rows in the inputs.
        batch_dims: The same for each input.
        sequence_ids: Whole numbers that name the sequences.
        lengths: Steps of each row, handed to the model as `lengths=`.
        max_memory: Bytes that one pass may use.

    Returns:
        A `LinearPredictive` with rows first, or the model's structure of them.

    Raises:
        ValueError: If masks are of steps or weights, there are too many outputs, the output has no derivative, or the
            model uses the rows of a batch jointly.

    Source: the first-order (delta) method; for recurrent networks without draws see Postels et al. (2019),
        arXiv:1908.00598, which propagates variances layer by layer.

    Example:
        >>> from bayesrnn.inference import point
        >>> from bayesrnn.nn import LSTM
        >>> layer = LSTM(3, 8, dropout=0.25, batch_first=True)
        >>> result = linearize(layer, torch.zeros(2, 5, 3), likelihood=lambda out: point(out[0][:, -1].sum(1)))
        >>> sorted(set(result.sources("site")["site"]))
        ['hidden', 'input']
    """
    if check_whole(beyond, "beyond", 0) and beyond < 16:
        raise ValueError(f"beyond must be at least 16 draws, or 0 for none, but {beyond} was given.")
    check_model(model, 2)
    check_control([model])
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    rows_of: Any = {"batch_dim": batch_dim, "batch_dims": batch_dims, "sequence_ids": sequence_ids, "lengths": lengths}
    structure: Any = None
    parts: list[list[LinearPart]] = []
    ids: list[Tensor] = []
    with undisturbed(model, seed) as fresh:
        for batch in batches(inputs, model, **rows_of):
            job = Job(
                model, batch.inputs, batch.options, stream("stratified", seed), batch.ids.to(device), likelihood,
                False, batch_dim, fresh,
            )  # fmt: skip
            at_once = rows_at_once(model, batch.inputs, max_memory)
            for rows in torch.arange(job.rows).split(max(at_once // BLOCK, 1)):  # so many outputs ride in a batch
                expansion = first_order(job, rows, at_once, means=True)
                plain = replace(job, stream=None)
                check_rows_apart(plain, rows, torch.zeros(1, dtype=torch.long), expansion.distributions)
                structure = expansion.structure
                parts.append(parts_of(expansion))
            ids.append(batch.ids)
    names: Any = {"feature_names": features, "vocabulary": vocabulary}
    results = [LinearPredictive(*joined(column, torch.cat(ids)), **names) for column in zip(*parts, strict=True)]
    if beyond:
        options: Any = {"draws": beyond, "seed": seed, "max_memory": max_memory, "likelihood": likelihood}
        drawn = predict(model, *inputs, control="linear", keep_draws=False, **rows_of, **options)
        predictives = [leaf for _, leaf in leaves(drawn) if leaf is not None]
        results = [result.with_draws(predictive) for result, predictive in zip(results, predictives, strict=True)]
    outputs = iter(results)
    return map_leaves(lambda leaf: None if leaf is None else next(outputs), structure)
