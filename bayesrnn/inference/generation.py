"""Text written by a language model, each token with the uncertainty it was chosen under."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_seed, check_whole
from bayesrnn.inference._audit import check_stochastic
from bayesrnn.inference.context import undisturbed
from bayesrnn.inference.token_stream import Member, as_factor, as_stream, check_no_nan, chunked_draws, draws_at_once
from bayesrnn.masks import BLOCK, Binding, MaskStream, Memory, stream

_MEMORY = 2**29  # bytes that activations and remembered masks may take, roughly


@dataclass(frozen=True, eq=False)
class Generated:
    """Tokens that a model wrote, and what it thought at each place.

    Attributes:
        tokens: (N,) token numbers.
        log_prob: (N,) log mean probability of each, nats.
        entropy: (N,) entropy of the mean distribution, nats.
        aleatoric: (N,) expected entropy of a draw, nats.
        epistemic: (N,) mutual information, nats.
    """

    tokens: Tensor
    log_prob: Tensor
    entropy: Tensor
    aleatoric: Tensor
    epistemic: Tensor


def generate(
    model: nn.Module,
    prompt: Tensor | Iterable[int],
    *,
    length: int = 50,
    draws: int = 100,
    seed: int = 0,
    temperature: float = 1.0,
    sampling: str = "stratified",
) -> Generated:
    r"""Write `length` tokens after a prompt, each sampled from the distribution averaged over draws.

    $w_t \sim \bar p = \frac1S \sum_s p(\cdot \mid w_{<t}, \omega_s)$: one text, read by S draws that each keep one mask
    and a state of their own. The text is a function of the seed.

    Args:
        model: A `LanguageModel`, or a module that returns (Categorical or logits, state) from `model(tokens, state)`.
        prompt: Token numbers (N,), at least one.
        length: Tokens to write.
        draws: Draws S; 0 for the deterministic pass, whose epistemic part is 0.
        seed: Seed of masks and choices.
        temperature: The mean distribution is sharpened (below 1) or flattened; 0 takes the most probable token.
        sampling: `stratified` or `independent` masks.

    Raises:
        ValueError: If the prompt is empty or not in the vocabulary, or nothing in the model is stochastic and draws are
            asked for.
        TypeError: If the model is no torch module, or the prompt is no token numbers.

    Example:
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> generate(LanguageModel(20, 8, 8, 1, dropout=0.3), torch.tensor([3]), length=5).tokens.shape
        torch.Size([5])
    """
    check_whole(length, "length")
    check_whole(draws, "draws", 0)
    check_seed(seed)
    temperature = as_factor(temperature, "temperature", "sharpens or flattens the mean distribution", zero=True)
    _check_model(model, draws)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    tokens, known, written = _prompted(prompt).to(device)[None], [], []
    member = _member(model, draws, tokens.shape[1], stream(sampling, seed), device)
    chooser = torch.Generator().manual_seed(seed)
    start = 0
    with undisturbed(model, seed):
        for _ in range(length):
            features = torch.cat([*member.read(tokens, start, 0)]) if draws else member.read_plainly(tokens)[None]
            logs = torch.log_softmax(member.logits(features[:, 0, -1]).float(), -1)
            start += tokens.shape[1]
            mean = logs.double().logsumexp(0) - math.log(len(logs))
            check_no_nan(mean)
            chosen = _choose(mean, temperature, chooser)
            distribution = logs.exp()
            entropy = torch.special.entr(distribution.mean(0)).sum()
            aleatoric = torch.minimum(torch.special.entr(distribution).sum(-1).mean(), entropy)
            known.append(torch.stack([mean[chosen].float(), entropy, aleatoric]))
            written.append(chosen)
            tokens = torch.tensor([[chosen]], device=device)
    log_prob, entropy, aleatoric = torch.stack(known).cpu().unbind(1)
    return Generated(torch.tensor(written), log_prob, entropy, aleatoric, (entropy - aleatoric).clamp(min=0))


def _check_model(model: nn.Module, draws: int) -> None:
    if not isinstance(model, nn.Module) or isinstance(model, nn.ModuleList):
        raise TypeError(
            f"generate takes one torch module, but a {type(model).__name__} was given. A text is written by one model: "
            "of an ensemble pass one member."
        )
    if draws:
        check_stochastic([model])


def _prompted(prompt: Tensor | Iterable[int]) -> Tensor:
    tokens = as_stream(prompt, "prompt tokens")
    if tokens.numel() == 0:
        raise ValueError(
            "the prompt must hold at least one token. Begin with the token that ends a sentence if there is nothing to "
            "go on from."
        )
    if tokens.dtype != torch.long:
        raise ValueError(
            f"the prompt must be token numbers, which are whole, but {tokens.dtype} was given. If they are whole, pass "
            "prompt.long()."
        )
    if tokens.dim() != 1:
        raise ValueError(
            f"the prompt must be one text, token numbers (N,), but its shape is {tuple(tokens.shape)}. Of a batch pass "
            "one row at a time."
        )
    return tokens


def _member(model: nn.Module, draws: int, steps: int, source: MaskStream, device: torch.device) -> Member:
    """The model with its draws in chunks that fit the memory; one draw each if masks are on weights."""
    if not draws:
        return Member(model, [], "stream")
    chunks = chunked_draws(draws, draws_at_once(model, steps, _MEMORY), BLOCK, device)
    rows, room = torch.zeros(1, dtype=torch.long, device=device), _MEMORY // 2 // len(chunks)
    bindings = [Binding(source, c, rows, memory=Memory(room)) for c in chunks]
    return Member(model, bindings, "stream")


def _choose(logs: Tensor, temperature: float, chooser: torch.Generator) -> int:
    if temperature == 0.0:
        return int(logs.argmax())
    logs = logs.cpu()
    weights = torch.softmax((logs - logs.max()) / temperature, -1)  # no overflow, however low the temperature
    return int(torch.multinomial(weights, 1, generator=chooser))
