"""Serve a model with uncertainty in onnxruntime: torch and bayesrnn train and export, numpy and onnxruntime predict."""

import torch

import bayesrnn as br

model = br.models.SequenceRegressor(input_size=3, hidden_size=16, num_layers=2, dropout=0.2)
br.export(model, (torch.zeros(2, 5, 3), torch.tensor([5, 3])), "model.onnx", masks=True)  # and model_masks.py

# From here on neither torch nor bayesrnn is needed: copy model.onnx and model_masks.py to where they serve.
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from model_masks import sample_masks  # noqa: E402

session = onnxruntime.InferenceSession("model.onnx")
draws = 100


def predict(x: np.ndarray, lengths: np.ndarray, ids: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance of the predictive for rows (rows, steps, features)."""
    inputs = {"x": np.tile(x, (draws, 1, 1)), "lengths": np.tile(lengths, draws)}
    loc, scale = session.run(["loc", "scale"], inputs | sample_masks(ids, draws, seed, steps=x.shape[1]))
    loc, scale = loc.reshape(draws, len(x)), scale.reshape(draws, len(x))
    return loc.mean(0), (scale**2).mean(0) + loc.var(0, ddof=1)


x, lengths = np.random.default_rng(0).normal(size=(4, 12, 3)).astype("float32"), np.array([12, 3, 9, 12])
mean, variance = predict(x, lengths, ids=[0, 1, 2, 3])
print(mean, variance)
