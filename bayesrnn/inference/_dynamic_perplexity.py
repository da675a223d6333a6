"""Dynamic evaluation: the weights of a language model follow the text that it reads."""

import copy
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_whole
from bayesrnn._progress import progress_bar
from bayesrnn.data.text import fold_stream
from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.context import lower_products, same_random_state
from bayesrnn.inference.decoder import logits_of
from bayesrnn.inference.nested import map_leaves
from bayesrnn.inference.token_stream import Member, as_factor, as_stream
from bayesrnn.predictive import TokenPredictive


def dynamic_perplexity(
    model: nn.Module,
    tokens: Tensor | Iterable[int],
    train: Tensor | Iterable[int],
    *,
    rate: float = 5e-5,
    decay: float = 1e-2,
    epsilon: float = 2e-5,
    window: int = 5,
    batch_size: int = 100,
    precision: str | None = None,
    progress: bool = False,
) -> TokenPredictive:
    r"""Return the log probability of each token after the first, the weights adapted to the text read so far.

    Windows of the stream are scored without masks, each before the weights learn from it:
    $\theta \leftarrow \theta - \eta \frac{g}{s + \epsilon} + \min(\lambda \frac{s}{\bar s}, 1) (\theta_0 - \theta)$,
    with g the gradient of the window's mean loss, $s = \sqrt{\overline{g^2}}$ over windows of the training text,
    $\bar s$ its mean over all weights, and $\theta_0$ the trained weights. The model itself is not changed: a copy
    learns, so that memory for four copies of the weights is needed.

    Args:
        model: A `LanguageModel`, or any module that returns (Categorical or logits, state) from `model(tokens, state)`.
        tokens: The stream, (N,), read in one piece; its tokens 1 to N - 1 are scored.
        train: The text that the model was trained on, or a part of it.
        rate: Learning rate $\eta$; choose it on validation text. (Code that sums squares over windows has larger ones.)
        decay: Decay $\lambda$ towards the trained weights.
        epsilon: $\epsilon$, above 0.
        window: Steps after which the weights change.
        batch_size: Parallel rows of the training text in each window that gives a gradient for s.
        precision: "bf16" for bfloat16 products, where the processor has units for them.
        progress: Whether to show a progress bar.

    Returns:
        A `TokenPredictive` of shape (1, N - 1); its `deterministic_perplexity` is of the trained weights.

    Raises:
        ValueError: If the training text is shorter than a window in each row, no weight is trainable, no gradient
            reaches the weights, the weights diverge, or as `perplexity` does.
        TypeError: If several models are given, or as `perplexity` does.

    Source: Krause et al. (2018), arXiv:1709.07432, section 3.

    Example:
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> model, text = LanguageModel(20, 8, 8, 1), torch.arange(60) % 2
        >>> result = dynamic_perplexity(model, text, text, batch_size=2)
        >>> result.perplexity < result.deterministic_perplexity
        True
    """
    if isinstance(model, list | tuple):
        raise TypeError("dynamic_perplexity adapts one model, but several were given. Evaluate them one by one.")
    rate = as_factor(rate, "rate", "multiplies the gradient", zero=True, hint="")
    decay = as_factor(decay, "decay", "pulls towards the trained weights", zero=True, hint="")
    epsilon = as_factor(epsilon, "epsilon", "is added to the size of the gradients", hint="")
    check_whole(window, "window")
    leaving = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with leaving, torch.enable_grad(), same_random_state():
        stream, text = as_stream(tokens), as_stream(train, "train")
        static = perplexity(model, stream, draws=0, statistics=False, precision=precision)
        stream, text = (part.to(static.log_prob.device) for part in (stream, text))
        inputs, targets, exists = fold_stream(stream.clone(), 1)
        own = copy.deepcopy(model)
        for module in own.modules():
            module.training = False
        with lower_products(own, precision):
            reader = _Reader(own)
            sizes = reader.gradient_sizes(*_whole_windows(text.clone(), batch_size, window), window)
            step = _Step(reader.weights, sizes, rate, decay, epsilon)
            log_prob = torch.empty_like(static.log_prob)
            starts = range(0, inputs.shape[1], window)
            with progress_bar(progress, len(starts), f"windows of {window} tokens") as advance:
                for start in starts:
                    span = slice(start, start + window)
                    logs, gradients = reader.read(inputs[:, span], targets[:, span])
                    log_prob[:, span] = logs
                    step.take(gradients)
                    advance(1)
    if not bool(log_prob.isfinite().all()):
        raise ValueError(
            f"the weights diverged at rate={rate:g}: a log probability is not finite. Take a smaller rate."
        )
    return TokenPredictive(log_prob, static.origin, exists, deterministic_log_prob=static.log_prob, target=targets)


class _Reader:
    """A model that reads windows of text, carries its state, and gives the gradients of its trainable weights."""

    def __init__(self, model: nn.Module) -> None:
        self.member = Member(model, [], "stream")
        self.weights = [p for p in model.parameters() if p.requires_grad and p.is_floating_point()]
        if not self.weights:
            raise ValueError("no weight of the model has requires_grad, so that none could follow the text.")

    def read(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the log probabilities of targets (B, T), and the gradients of their negative mean."""
        logits = logits_of(self.member, self.member.read_plainly(inputs), targets)
        logs = torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        states = self.member.states
        states[None] = map_leaves(_detached, states[None])
        gradients = torch.autograd.grad(-logs.mean(), self.weights, allow_unused=True, materialize_grads=True)
        return logs.detach(), gradients

    def gradient_sizes(self, inputs: Tensor, targets: Tensor, window: int) -> list[Tensor]:
        """Return the root mean square of the gradient of each weight over the windows of (B, T)."""
        squares = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
        spans = range(0, inputs.shape[1], window)
        for start in spans:
            _, gradients = self.read(inputs[:, start : start + window], targets[:, start : start + window])
            for square, gradient in zip(squares, gradients, strict=True):
                square.addcmul_(gradient, gradient, value=1.0 / len(spans))
        self.member.states.clear()
        return [square.sqrt_() for square in squares]


class _Step:
    """One step of the weights: along the gradient, and back towards where they began."""

    def __init__(self, weights: list[nn.Parameter], sizes: list[Tensor], rate: float, decay: float, epsilon: float):
        mean = sum(float(size.double().sum()) for size in sizes) / sum(size.numel() for size in sizes)
        if not 0.0 < mean < float("inf"):
            raise ValueError(
                f"the gradients of the training text have the mean size {mean}: no direction to adapt the weights in. "
                "Check that the model's output depends on its weights, and that these are finite."
            )
        self.weights, self.origins = weights, [weight.detach().clone() for weight in weights]
        self.pulls = [(size * (decay / mean)).clamp_(max=1.0) for size in sizes]
        self.rates = [rate / (size + epsilon) for size in sizes]

    @torch.no_grad()
    def take(self, gradients: tuple[Tensor, ...]) -> None:
        """Move the weights."""
        for weight, gradient, origin, pull, rate in zip(self.weights, gradients, self.origins, self.pulls, self.rates):
            weight.lerp_(origin, pull).addcmul_(gradient, rate, value=-1.0)


def _whole_windows(text: Tensor, batch_size: int, window: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (B, T) of the training text, T a multiple of the window."""
    inputs, targets, exists = fold_stream(text, batch_size)
    steps = int(exists.sum(1).min()) // window * window
    if not steps:
        raise ValueError(
            f"train has {text.numel()} tokens, too few for a window of {window} steps in each of {batch_size} rows. "
            "Give more text, or a smaller batch_size."
        )
    return inputs[:, :steps], targets[:, :steps]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
