"""torch's fused kernels for transformers leave out the dropout inside: they are off while masks are bound."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _Fused:
    """How many blocks want torch's fused transformer kernels off, and whether they were on before the first."""

    lock = threading.Lock()
    blocks = 0
    before = True


@contextmanager
def no_fused_transformers() -> Iterator[None]:
    """Within the block, on any thread, the fused kernels are off."""
    with _Fused.lock:
        if _Fused.blocks == 0:
            _Fused.before = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        _Fused.blocks += 1
    try:
        yield
    finally:
        with _Fused.lock:
            _Fused.blocks -= 1
            if _Fused.blocks == 0:
                torch.backends.mha.set_fastpath_enabled(_Fused.before)
