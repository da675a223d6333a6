"""New masks for every training step, from torch's global random state."""

import torch
from torch import Tensor

from bayesrnn.masks.sites import MaskSite
from bayesrnn.masks.sources import RARE, Anywhere

_MANY = 1 << 18  # numbers: from here on, `uniform_` and bytes are faster than `bernoulli_` on a CPU


class Fresh(Anywhere):
    """New masks at each call, from torch's global state: for training, reproducible under `torch.manual_seed`."""

    def mask(self, key: str, site: MaskSite) -> Tensor:
        """Return the mask of one site; see `MaskSource.mask`."""
        rate = site.number
        if site.tokens is not None:
            return _fresh_words(site.tokens, site.shape[3], rate, site.dtype)
        mask = torch.empty(site.shape, dtype=site.dtype, device=site.device)
        if site.placement.keeps_old:
            return _bernoulli_(mask, rate)
        return _bernoulli_(mask, 1.0 - rate).div_(1.0 - rate)


def _fresh_words(tokens: Tensor, vocabulary: int, rate: float, dtype: torch.dtype) -> Tensor:
    """Return masks (1, 1, rows, T) of tokens (rows, T): each word takes the number drawn at its first place."""
    rows, steps = tokens.shape
    drawn = torch.empty((rows, steps), dtype=dtype, device=tokens.device).bernoulli_(1.0 - rate)
    places = torch.arange(steps, device=tokens.device).expand(rows, steps)
    first = places.new_empty(rows, vocabulary).scatter_reduce_(1, tokens, places, "amin", include_self=False)
    return drawn.gather(1, first.gather(1, tokens)).div_(1.0 - rate)[None, None]


def _bernoulli_(mask: Tensor, probability: float) -> Tensor:
    """Fill with ones at a probability; for many numbers on a CPU in a tenth of the time of `Tensor.bernoulli_`.

    A probability of whole 256ths is met exactly by one random byte per number; any other takes a uniform number.
    """
    exact = mask.dtype in (torch.float32, torch.float64)  # a uniform of 8 bits would shift the rate
    if mask.is_cuda or mask.numel() < _MANY or not exact or probability < RARE:
        return mask.bernoulli_(probability)
    threshold = 256.0 * probability
    if threshold.is_integer():
        return mask.copy_(_random_bytes(mask.numel()).view(mask.shape)).lt_(threshold)
    return mask.uniform_().lt_(probability)


def _random_bytes(count: int) -> Tensor:
    """Return uniform bytes from torch's global state: whole 64-bit numbers, cut."""
    numbers = torch.empty(-(-count // 8), dtype=torch.int64)
    return numbers.random_(torch.iinfo(torch.int64).min, None).view(torch.uint8)[:count]
