"""`SequenceRegressor` and `SequenceClassifier`: a sequence in, the distribution of its target out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn._checks import as_number, check_flag
from bayesrnn.models.encoder import CellName, Encoder, scheme_of
from bayesrnn.models.heads import ClassHead, ClassLikelihood, NumberHead, NumberLikelihood
from bayesrnn.schemes import Scheme


class SequenceModel(nn.Module):
    """The part that both share: an encoder, a head and the arguments from which they were made."""

    head: nn.Module

    def __init__(self, arguments: dict[str, Any], dropout: float | Scheme | Mapping[str, Any]) -> None:
        super().__init__()
        self.scheme = scheme_of(dropout)
        arguments |= {name: check_flag(arguments[name], name) for name in ("bidirectional", "every_step")}
        plain = {name: value if (number := as_number(value)) is None else number for name, value in arguments.items()}
        self._arguments = plain
        encoder = {k: v for k, v in arguments.items() if k not in ("outputs", "classes", "likelihood", "dropout")}
        self.encoder = Encoder(dropout=self.scheme, **encoder)
        self.every_step: bool = arguments["every_step"]

    def config(self) -> dict[str, Any]:
        """Return plain data, fit for JSON, from which ``type(self)(**config)`` makes a model of the same shape."""
        return self._arguments | {"dropout": self.scheme.to_dict()}

    def weights_behind(self) -> dict[str, str]:
        """Return the weight whose input the output mask multiplies, as {its name: name of the Dropout before it}."""
        return {"head.linear.weight": "encoder.dropout"}

    def forward(self, x: Tensor, lengths: Tensor | Iterable[int] | None = None) -> Distribution:
        """Return the distribution of the target given one draw of masks (train mode) or none (eval mode).

        Args:
            x: Numbers (rows, steps, features) or tokens (rows, steps).
            lengths: Steps of each row; what lies beyond is padding and changes nothing.

        Returns:
            A distribution of batch shape (rows,), or (rows, steps) with `every_step`; targets in a last dimension if
            several.

        Raises:
            ValueError: On a wrong rank or size, NaN or infinite values, tokens outside the vocabulary, or lengths
                outside 1..steps.
        """
        distribution: Distribution = self.head(self.encoder(x, lengths))
        return distribution


class SequenceRegressor(SequenceModel):
    r"""A number, several, or a count for each sequence or each step, with a variance of its own.

    $p(y \mid x, z)$ is the likelihood with parameters $W (h \circ z_{out}) + b$, h the last state of the recurrent
    layers (or each state) under the masks z. By default Gaussian with $(\mu, \log\sigma^2)$: aleatoric noise
    is learned with the mean.

    Args:
        input_size: Features of a step; or give `vocabulary`.
        hidden_size: Hidden units H.
        num_layers: Recurrent layers.
        outputs: Targets.
        dropout: A rate p (= ``schemes.gal(p)``) or a scheme; its sites `word` and `output` act here too.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        likelihood: ``"gaussian"`` (a variance for each input), ``"homoscedastic"`` (one learned variance),
            ``"student_t"``, ``"poisson"`` or ``"negative_binomial"``.
        vocabulary: Word types, for token inputs.
        embedding_size: Length of a word vector; H if not given.
        padding_idx: The padding word.
        bidirectional: Whether to read both ways.
        every_step: Whether there is a target at every step.

    Raises:
        ValueError: If a size, rate or name is not legal.

    Source: heads of Kendall & Gal (2017), arXiv:1703.04977, section 3; masks of arXiv:1512.05287.

    Example:
        >>> import torch
        >>> model = SequenceRegressor(input_size=3, hidden_size=8, dropout=0.2)
        >>> model(torch.zeros(5, 7, 3)).batch_shape
        torch.Size([5])
    """

    head: NumberHead

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int = 64,
        num_layers: int = 1,
        outputs: int = 1,
        dropout: float | Scheme | Mapping[str, Any] = 0.0,
        cell: CellName = "lstm",
        likelihood: NumberLikelihood = "gaussian",
        *,
        vocabulary: int | None = None,
        embedding_size: int | None = None,
        padding_idx: int | None = None,
        bidirectional: bool = False,
        every_step: bool = False,
    ) -> None:
        arguments = {
            "input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers, "outputs": outputs,
            "cell": cell, "likelihood": likelihood, "vocabulary": vocabulary, "embedding_size": embedding_size,
            "padding_idx": padding_idx, "bidirectional": bidirectional, "every_step": every_step,
        }  # fmt: skip
        super().__init__(arguments, dropout)
        self.head = NumberHead(self.encoder.features, outputs, likelihood)

    def standardize(self, x: Tensor, target: Tensor, lengths: Tensor | Iterable[int] | None = None) -> None:
        """Let the net see inputs and targets in units of their own spread; predictions stay in the target's units.

        Call it once, with the training rows, before training. Tokens and counts are left as they are.

        Example:
            >>> import torch
            >>> model = SequenceRegressor(input_size=1, hidden_size=4)
            >>> model.standardize(torch.randn(50, 6, 1), 300 + torch.randn(50))
            >>> bool((model(torch.randn(2, 6, 1)).mean > 290).all())
            True
        """
        self.encoder.standardize(x, lengths)
        self.head.standardize(target)


class SequenceClassifier(SequenceModel):
    r"""A class for a sequence, or for each of its steps: $p(y \mid x, z)$ = softmax of $W (h \circ z_{out}) + b$.

    Args:
        input_size: Features of a step; or give `vocabulary`.
        hidden_size: Hidden units H.
        classes: Classes K, at least 2.
        num_layers: Recurrent layers.
        dropout: A rate p (= ``schemes.gal(p)``) or a scheme; its sites `word` and `output` act here too.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        likelihood: ``"categorical"``, or ``"ordinal"`` for ordered classes (a cumulative link).
        vocabulary: Word types, for token inputs.
        embedding_size: Length of a word vector; H if not given.
        padding_idx: The padding word.
        bidirectional: Whether to read both ways.
        every_step: Whether there is a class at every step.
        labels: Names of the classes (texts, numbers or booleans), one per class; kept by `save`.

    Raises:
        ValueError: If a size, rate or name is not legal, or labels are not one per class.

    Source: the sentiment model of Gal & Ghahramani (2016), arXiv:1512.05287, section 5.

    Example:
        >>> import torch
        >>> model = SequenceClassifier(vocabulary=100, hidden_size=8, classes=3, dropout=0.25)
        >>> model(torch.zeros(5, 7, dtype=torch.long)).probs.shape
        torch.Size([5, 3])
    """

    head: ClassHead
    labels: tuple[str | float, ...] | None

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int = 64,
        classes: int = 2,
        num_layers: int = 1,
        dropout: float | Scheme | Mapping[str, Any] = 0.0,
        cell: CellName = "lstm",
        likelihood: ClassLikelihood = "categorical",
        *,
        vocabulary: int | None = None,
        embedding_size: int | None = None,
        padding_idx: int | None = None,
        bidirectional: bool = False,
        every_step: bool = False,
        labels: Sequence[str | float] | None = None,
    ) -> None:
        arguments = {
            "input_size": input_size, "hidden_size": hidden_size, "classes": classes, "num_layers": num_layers,
            "cell": cell, "likelihood": likelihood, "vocabulary": vocabulary, "embedding_size": embedding_size,
            "padding_idx": padding_idx, "bidirectional": bidirectional, "every_step": every_step,
        }  # fmt: skip
        super().__init__(arguments, dropout)
        self.head = ClassHead(self.encoder.features, classes, likelihood)
        self.labels = None if labels is None else _checked_labels(labels, classes)

    def config(self) -> dict[str, Any]:
        """Return plain data, fit for JSON, from which ``SequenceClassifier(**config)`` makes a model of this shape."""
        return super().config() | ({} if self.labels is None else {"labels": list(self.labels)})

    def standardize(self, x: Tensor, lengths: Tensor | Iterable[int] | None = None) -> None:
        """Let the net see inputs in units of their own spread; call it once, with the training rows."""
        self.encoder.standardize(x, lengths)


def _checked_labels(labels: Sequence[str | float], classes: int) -> tuple[str | float, ...]:
    names = tuple(label if (number := as_number(label)) is None else number for label in labels)
    if len(names) != classes or len(set(names)) != classes or not all(isinstance(n, str | int | float) for n in names):
        raise ValueError(
            f"labels must be {classes} different texts or numbers, one per class in order, but {list(names)!r} was "
            "given."
        )
    return names
