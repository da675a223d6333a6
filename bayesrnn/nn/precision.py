"""Whether this machine multiplies bfloat16 in hardware, and what to do where it does not."""

import contextlib
import os
import sys
import warnings
from pathlib import Path

import torch

from bayesrnn._checks import check_choice

_INSIDE = tuple(f"{Path(module).parent}{os.sep}" for module in (str(Path(__file__).parent), torch.__file__))
"""Folders whose frames are no user's: this package and torch."""


def multiplies_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Return whether products of bfloat16 factors run on units made for wide vectors, as torch's CPU library judges it.

    Without them (AVX-512 or AMX on x86, BF16 on ARM) torch multiplies number by number: thirty times slower than
    float32 and more.

    Example:
        >>> isinstance(multiplies_bfloat16(), bool)
        True
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def usable_precision(precision: str | None, device: torch.device | str = "cpu") -> str | None:
    """Return `precision`, or None with a warning if it is "bf16" and the processor would take longer for it.

    Raises:
        ValueError: If the precision is neither "bf16" nor None.
    """
    check_choice(str(precision), "precision", ("None", "bf16"))
    if precision == "bf16" and not multiplies_bfloat16(device):
        warnings.warn(
            "precision='bf16' was asked for, but this processor has no units for bfloat16 (AVX-512 or AMX on x86, BF16 "
            "on ARM, compute capability 8.0 on a GPU): products stay in float32, which is more exact and here many "
            "times faster. Leave out the precision to be rid of this warning.",
            stacklevel=_users_level(),
        )
        return None
    return precision


def _users_level() -> int:
    """Return the stacklevel at which a warning of the caller names the call that came from outside this package.

    In place of `skip_file_prefixes`, which Python 3.11 does not have.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


def _inside(file: str) -> bool:
    return file.startswith(_INSIDE) or file == contextlib.__file__
