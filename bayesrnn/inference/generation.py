"""Text written by a language model, each token with the uncertainty it was chosen under."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_seed, check_whole
from bayesrnn.inference.guard import undisturbed
from bayesrnn.inference.members import Member
from bayesrnn.inference.token_masks import StreamBinding
from bayesrnn.masks import stream
from bayesrnn.nn.masked import masked_modules

__all__ = ["Generated", "generate"]


@dataclass(frozen=True, eq=False)
class Generated:
    """Tokens that a model wrote, and what it thought at each place.

    Attributes:
        tokens: (N,) token numbers.
        log_prob: (N,) log mean probability of each, nats.
        entropy: (N,) entropy of the mean law, nats.
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
    prompt: Tensor,
    *,
    length: int = 50,
    draws: int = 32,
    seed: int = 0,
    temperature: float = 1.0,
    sampling: str = "stratified",
) -> Generated:
    r"""Write `length` tokens after a prompt, each sampled from the law averaged over draws.

    $w_t \sim \bar p = \frac1S \sum_s p(\cdot \mid w_{<t}, \omega_s)$: one text, read by S draws that each keep one mask
    and a state of their own. The text is a function of the seed.

    Args:
        model: A `LanguageModel`, or a module that returns (Categorical or logits, state) from `model(tokens, state)`.
        prompt: Token numbers (N,), at least one.
        length: Tokens to write.
        draws: Draws S; 0 for the deterministic pass, whose epistemic part is 0.
        seed: Seed of masks and choices.
        temperature: The mean law is sharpened (below 1) or flattened; 0 takes the most probable token.
        sampling: `stratified` or `independent` masks.

    Raises:
        ValueError: If the prompt is empty, or nothing in the model is stochastic and draws are asked for.

    Example:
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> generate(LanguageModel(20, 8, 8, 1, dropout=0.3), torch.tensor([3]), length=5).tokens.shape
        torch.Size([5])
    """
    check_whole(length, "length")
    check_whole(draws, "draws", 0)
    check_seed(seed)
    if prompt.dim() != 1 or prompt.numel() == 0 or prompt.is_floating_point():
        raise ValueError(f"the prompt must be token numbers (N,), at least one; its shape is {tuple(prompt.shape)}.")
    if not temperature >= 0.0:
        raise ValueError(f"temperature must be 0 or more, but {temperature} was given.")
    if draws and not masked_modules(model):
        raise ValueError("nothing in this model is stochastic: generate with draws=0, or give the model dropout.")
    device = next(model.parameters()).device
    rows = torch.zeros(1, dtype=torch.long, device=device)
    numbers = torch.arange(draws, device=device)
    masks = StreamBinding.of(stream(sampling, seed), numbers, rows, multiplier=1.0, masked_words=True, room=2**28)
    member = Member(model, [masks] if draws else [], "stream")
    chooser = torch.Generator().manual_seed(seed)
    tokens, known = prompt.to(device)[None], []
    start = 0
    with undisturbed(model):
        for _ in range(length):
            features = next(member.read(tokens, start, 0)) if draws else member.read_plainly(tokens)[None]
            logs = torch.log_softmax(member.logits(features[:, 0, -1]).float(), -1)
            start += tokens.shape[1]
            law = logs.exp()
            mean = law.mean(0)
            chosen = _choose(mean, temperature, chooser)
            entropy = torch.special.entr(mean).sum()
            aleatoric = torch.minimum(torch.special.entr(law).sum(-1).mean(), entropy)
            known.append(torch.stack([mean[chosen].log(), entropy, aleatoric]))
            tokens = torch.tensor([[chosen]], device=device)
            known[-1] = torch.cat([known[-1], known[-1].new_tensor([chosen])])
    log_prob, entropy, aleatoric, written = torch.stack(known).cpu().unbind(1)
    return Generated(written.long(), log_prob, entropy, aleatoric, (entropy - aleatoric).clamp(min=0))


def _choose(mean: Tensor, temperature: float, chooser: torch.Generator) -> int:
    if temperature == 0.0:
        return int(mean.argmax())
    weights = torch.softmax(mean.cpu().clamp(min=1e-38).log() / temperature, -1)
    return int(torch.multinomial(weights, 1, generator=chooser))
