"""Models to export, and the comparison of their graphs with `predict`."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import schemes

DRAWS, SEED = 18, 3  # more than one stratified block


class Anything(nn.Module):
    """An output for every step of every row, from any scheme."""

    def __init__(self, cell: str, scheme: schemes.Scheme, **options: Any) -> None:
        super().__init__()
        self.rnn = getattr(br.nn, cell)(3, 4, batch_first=True, dropout=scheme, **options)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.rnn(x, lengths=lengths)[0]


def sampler(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_masks", path.with_name(f"{path.stem}_masks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_torch(path: Path, inputs: list[Tensor], masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    return {k: v.numpy() for k, v in torch.export.load(path).module()(*inputs, masks=given).items()}


def agrees(model: nn.Module, path: Path, inputs: list[Tensor], run: Any, steps: int, **options: Any) -> None:
    """The moments of the graph over draws are those of `predict`."""
    rows = len(inputs[0])
    predictive = br.predict(model, *inputs, draws=DRAWS, seed=SEED, **options)
    masks = sampler(path).sample_masks(rows, DRAWS, SEED, steps)
    got = run(path, [x.repeat(DRAWS, *[1] * (x.dim() - 1)) for x in inputs], masks)
    draws = {name: value.reshape(DRAWS, rows, *value.shape[1:]) for name, value in got.items()}
    if "logits" in draws:
        exponents = np.exp(draws["logits"] - draws["logits"].max(-1, keepdims=True))
        mean = (exponents / exponents.sum(-1, keepdims=True)).mean(0)
        np.testing.assert_allclose(mean, predictive.probabilities, atol=1e-5)
        return
    loc = draws.get("loc", draws.get("output"))
    noise = draws["scale"] ** 2 if "scale" in draws else np.zeros_like(loc)
    np.testing.assert_allclose(loc.mean(0), predictive.mean, atol=1e-5)
    np.testing.assert_allclose(noise.mean(0) + loc.var(0, ddof=1), predictive.variance, atol=1e-5)
