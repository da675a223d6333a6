"""The networks that are compared, as data."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import objective

UNITS = 128
LAYERS = {"lstm": br.nn.LSTM, "gru": br.nn.GRU}


@dataclass(frozen=True)
class Variant:
    """Where a network drops what, at which rates.

    Attributes:
        name: Of the variant.
        word: Rate of word types (the paper's p_E).
        input: Rate of what enters the recurrence (p_W).
        hidden: Rate of the previous state (p_U).
        output: Rate before the last layer (p_dense).
        per_step: Whether masks inside the recurrence change each step (the naive variant).
        outputs: 1 for a mean, 2 for a mean and a log variance.
    """

    name: str
    word: float = 0.0
    input: float = 0.0
    hidden: float = 0.0
    output: float = 0.0
    per_step: bool = False
    outputs: int = 1

    @property
    def stochastic(self) -> bool:
        """Whether anything is dropped."""
        return max(self.word, self.input, self.hidden, self.output) > 0.0

    def entering(self) -> dict[str, float]:
        """Rate of what enters the product of each weight matrix, by the matrix's name in `SentimentNet`."""
        return {
            "words.weight": self.word,
            "recurrent.weight_ih_l0": self.input,
            "recurrent.weight_hh_l0": self.hidden,
            "head.weight": self.output,
        }

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


RATE = 0.5  # of the published scripts


def main_variants(rate: float = RATE) -> dict[str, Variant]:
    """The rows of the main table; early stopping is the row `none` stopped early."""
    every = {"word": rate, "input": rate, "hidden": rate, "output": rate}
    variants = (
        Variant("none"),
        Variant("naive", **every, per_step=True),
        Variant("gal", **every),
        Variant("gal_variance", **every, outputs=2),
    )
    return {variant.name: variant for variant in variants}


def grid_variants(rate: float = RATE) -> dict[str, Variant]:
    """The p_E x p_U study: words and states at 0, .25 and .5, inputs and outputs at `rate`."""
    levels = (0.0, 0.25, 0.5)
    variants = (Variant(f"pE{e:g}_pU{u:g}", word=e, input=rate, hidden=u, output=rate) for e in levels for u in levels)
    return {variant.name: variant for variant in variants}


class SentimentNet(nn.Module):
    """Embedding, one recurrent layer, dropout on its last state, a linear readout.

    The published networks multiply by masks of 0 or 1 and store M; these multiply by 0 or 1/keep and store W = keep M,
    so that both make the same passes, with masks and without. A weight therefore starts at keep times the published
    start; with `groups` it then goes the published way. Biases do not quite: torch has two a gate, each trained.

    Args:
        cell: `lstm` or `gru`.
        variant: What is dropped.
        vocabulary: Word types.
        units: Of the embedding and of the state.
    """

    def __init__(self, cell: str, variant: Variant, vocabulary: int, units: int = UNITS) -> None:
        super().__init__()
        if cell not in LAYERS:
            raise ValueError(f"cell must be one of {sorted(LAYERS)}, but {cell!r} was given.")
        inside = {"input": variant.input, "hidden": variant.hidden}
        scheme = br.schemes.naive(gates="untied", **inside) if variant.per_step else br.schemes.gal(**inside)
        by_word = br.schemes.gal(word=variant.word)
        embedded = br.nn.Embedding(vocabulary, units, dropout=by_word) if variant.word else None
        self.words = embedded or nn.Embedding(vocabulary, units)
        self.recurrent = LAYERS[cell](units, units, batch_first=True, dropout=scheme)
        self.readout = br.nn.Dropout(variant.output) if variant.output else nn.Identity()
        self.head = nn.Linear(units, variant.outputs)
        self._initialize(cell, variant)

    def _initialize(self, cell: str, variant: Variant) -> None:
        """Draw weights as the published code does (glorot for inputs, orthogonal states, forget bias 1), times keep."""
        nn.init.uniform_(self.words.weight, -0.05, 0.05)
        for name, parameter in self.recurrent.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
                continue
            for gate in parameter.data.chunk(4 if cell == "lstm" else 3):
                (nn.init.xavier_uniform_ if "ih" in name else nn.init.orthogonal_)(gate)
        if cell == "lstm":
            nn.init.ones_(self.recurrent.bias_ih_l0.data.chunk(4)[1])
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            for name, rate in variant.entering().items():
                self.get_parameter(name).mul_(1.0 - rate)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (rows, outputs) in standardized units; padding in front is read like words, as published."""
        states, _ = self.recurrent(self.words(tokens))
        return self.head(self.readout(states[:, -1]))


def groups(net: SentimentNet, variant: Variant, penalty: float, learning_rate: float) -> list[dict[str, Any]]:
    """Return optimizer groups under which Adam takes W = keep M along the way on which it would take M.

    The published penalty on M is larger by 1/keep^2 on W (`objective` does that conversion), and a step of Adam, whose
    size does not depend on the scale of the gradient, is smaller by keep.
    """
    rates = variant.entering()
    parameter_groups = []
    for name, parameter in net.named_parameters():
        rate = rates.get(name, 0.0)
        decay = 0.0
        if penalty > 0.0:
            length = objective.prior_length_scale(penalty, rate, 1.0, inverted=False, penalty=True)
            decay = objective.weight_decay(length, rate, 1.0)
        parameter_groups.append({"params": [parameter], "weight_decay": decay, "lr": learning_rate * (1.0 - rate)})
    return parameter_groups


class RatingDistribution:
    """From the network's output in standardized units to the distribution of a rating in [0, 1] units.

    Args:
        center: Mean of the training ratings.
        scale: Their standard deviation.
        precision: 1 / noise variance in rating units; not used where the network predicts a variance.
    """

    def __init__(self, center: float, scale: float, precision: float | None = None) -> None:
        self.center, self.scale, self.precision = center, scale, precision

    def __call__(self, output: Tensor) -> torch.distributions.Normal:
        """Return the distribution, batch shape (rows,)."""
        mean = self.center + self.scale * output[..., 0].float()
        if output.shape[-1] == 2:
            shift = 2.0 * torch.log(torch.tensor(self.scale))
            return br.likelihoods.gaussian(torch.stack([mean, output[..., 1].float() + shift], -1))
        if self.precision is None:
            raise ValueError("a network that predicts a mean alone needs the precision of the noise.")
        return br.likelihoods.homoscedastic_gaussian(self.precision)(mean.unsqueeze(-1))
