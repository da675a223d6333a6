"""Masks for some draws and rows."""

from typing import Any

import torch

from bayesrnn.masks import Binding, stream


def binding(draws: int, rows: int, **options: Any) -> Binding:
    return Binding(stream("stratified", 0), torch.arange(draws), torch.arange(rows), **options)
