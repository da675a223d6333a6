"""Leave a model and the random state as they were found, also when an exception passes through."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["undisturbed"]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate `model` in eval mode without gradients; put modes and torch's random state back.

    Modes are set on the modules themselves, not through `eval()`, which a user's class may have changed. In eval mode
    BatchNorm does not move and torch's own dropout layers are identities.
    """
    modes = [(module, module.training) for module in model.modules()]
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        torch.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
