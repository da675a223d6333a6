"""Our LSTM in a darts `RNNModel`: its own mc_dropout=True leaves recurrent layers as they are, here it draws masks."""

from typing import Any

from darts import TimeSeries
from darts.models import RNNModel
from darts.models.forecasting.rnn_model import CustomRNNModule
from darts.utils.likelihood_models import GaussianLikelihood
from torch import nn

import bayesrnn as br
from evaluation.interop.data import HORIZON, SEASON, Task

try:  # the parts of a batch, since darts 0.48
    from darts.models.forecasting.pl_forecasting_module import ModuleStage, PLModuleOutput, io_processor
except ImportError:  # pragma: no cover
    from darts.models.forecasting.rnn_model import ModuleStage, PLModuleOutput, io_processor


class MaskedRNN(CustomRNNModule):
    """darts' RNN module with masks that hold for a whole sample path: history and horizon."""

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        scheme = br.schemes.gal(hidden=self.dropout, input=self.dropout)
        self.rnn = br.nn.LSTM(self.input_size, self.hidden_dim, self.num_layers, batch_first=True, dropout=scheme)
        self.V = nn.Linear(self.hidden_dim, self.target_size * self.nr_params)
        self.seed, self.masks = seed, None

    @io_processor
    def forward(self, x_in: Any) -> Any:
        """Run over the history first, and then a step at a time with the same masks."""
        if x_in.stage is ModuleStage.PREDICT and x_in.state is not None:
            x_in = x_in.replace(past_target=x_in.past_target[:, -1:])
        x = x_in.concatenate_past_features()
        if x_in.stage is ModuleStage.PREDICT and x_in.state is None:
            self.masks = self.rnn.sample_masks(len(x), seed=self.seed) if self.pred_mc_dropout else None
        masks = self.masks if x_in.stage is ModuleStage.PREDICT else None
        out, state = self.rnn(x, x_in.state, masks=masks)
        prediction = self.V(out).view(len(x), -1, self.target_size, self.nr_params)
        last = prediction[:, -1:] if x_in.stage is ModuleStage.PREDICT else prediction
        return PLModuleOutput(prediction=last, state=state)


def forecast(task: Task, epochs: int = 60, samples: int = 100) -> tuple[Any, Any]:
    """Train on the first series and return 100 sample paths, each with masks and noise of its own."""
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "accelerator": "cpu"}
    series = TimeSeries.from_times_and_values(task.past.index, task.past["s0"].to_numpy().astype("float32"))
    mean, std = float(task.past["s0"].mean()), float(task.past["s0"].std())
    model = RNNModel(
        input_chunk_length=2 * SEASON, model=MaskedRNN, hidden_dim=16, n_rnn_layers=1, dropout=0.1,
        training_length=3 * SEASON, n_epochs=epochs, likelihood=GaussianLikelihood(), random_state=0,
        batch_size=256, pl_trainer_kwargs=quiet, optimizer_kwargs={"lr": 0.01},
    )  # fmt: skip
    model.fit((series - mean) / std)
    path = model.predict(HORIZON, num_samples=samples, mc_dropout=True) * std + mean
    return br.Predictive.from_frame(path), task.target[:1]
