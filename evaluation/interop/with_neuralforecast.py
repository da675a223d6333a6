"""A trained neuralforecast LSTM, its recurrent layer turned into ours: `br.convert` adds masks, weights stay."""

import logging
from typing import Any

import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import DistributionLoss
from neuralforecast.models import LSTM

import bayesrnn as br
from evaluation.interop.data import HORIZON, SEASON, Task


def forecast(task: Task, steps: int = 150, draws: int = 32) -> tuple[Any, Any]:
    """Train, convert, and let `br.predict` draw masks; each draw gives a Normal for every step."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    model = LSTM(
        HORIZON, input_size=2 * SEASON, loss=DistributionLoss("Normal"), max_steps=steps, encoder_hidden_size=16,
        encoder_n_layers=1, decoder_hidden_size=16, scaler_type="identity", enable_checkpointing=False, **quiet,
    )  # fmt: skip
    mean, std = task.past.mean(), task.past.std()
    net = NeuralForecast([model], freq="MS")
    table = task.long()
    table["y"] = (table["y"] - table["unique_id"].map(mean)) / table["unique_id"].map(std)
    net.fit(table)
    trained = br.convert(net.models[0].cpu(), dropout=br.schemes.gal(hidden=0.1))
    recent = torch.tensor(((task.past - mean) / std).to_numpy()[-2 * SEASON :].T, dtype=torch.float32)[..., None]
    center, scale = (torch.tensor(v.to_numpy(), dtype=torch.float32)[:, None] for v in (mean, std))
    normal = torch.distributions.Normal
    predictive = br.predict(_Steps(trained), recent, draws=draws, likelihood=lambda out: normal(*out))
    means = predictive.draws * scale + center
    noise = predictive.aleatoric.sqrt() * scale
    return br.Predictive.from_draws(normal(means, noise.expand_as(means))), task.target


class _Steps(torch.nn.Module):
    """The network with a tensor in the place of its batch: (rows, steps, 1) to mean and std, (rows, horizon)."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: torch.Tensor) -> Any:
        batch = {"insample_y": y, "futr_exog": None, "hist_exog": None, "stat_exog": None}
        output = self.network(batch)  # (rows, horizon, 2)
        return output[..., 0], torch.nn.functional.softplus(output[..., 1]) + 1e-3
