"""Three recurrences that are not in the package, each with masks: layer-norm LSTM, minGRU, GRU without reset-after."""

import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.schemes import Placement


class LayerNormLSTM(br.nn.MaskedModule):
    """LSTM whose products and cell are normalized (Ba et al. 2016, arXiv:1607.06450). x: (rows, steps, features)."""

    def __init__(self, features: int, units: int, rate: float) -> None:
        super().__init__()
        self.places = {"input": Placement("input", rate), "hidden": Placement("hidden", rate)}
        self.x, self.h = nn.Linear(features, 4 * units), nn.Linear(units, 4 * units, bias=False)
        self.norm_x, self.norm_h, self.norm_c = nn.LayerNorm(4 * units), nn.LayerNorm(4 * units), nn.LayerNorm(units)

    def forward(self, x: Tensor, masks: dict[str, Tensor] | None = None) -> Tensor:
        rows, steps, features = x.shape
        h = c = x.new_zeros(rows, self.h.in_features)
        z, outputs = self.factors(x, masks, rows=rows, input=features, hidden=h.shape[1]), []
        for t in range(steps):
            gates = self.norm_x(self.x(x[:, t] * z["input"])) + self.norm_h(self.h(h * z["hidden"]))
            i, f, g, o = gates.chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * self.norm_c(c).tanh()
            outputs.append(h)
        return torch.stack(outputs, 1)


class MinGRU(br.nn.MaskedModule):
    """Gates that do not look at the state (Feng et al. 2024, arXiv:2410.01201). x: (rows, steps, features)."""

    def __init__(self, features: int, units: int, rate: float) -> None:
        super().__init__()
        self.places = {"input": Placement("input", rate)}
        self.gate, self.candidate = nn.Linear(features, units), nn.Linear(features, units)

    def forward(self, x: Tensor, masks: dict[str, Tensor] | None = None) -> Tensor:
        z = self.factors(x, masks, rows=len(x), input=x.shape[-1])
        steps = (x.transpose(0, 1) * z["input"]).transpose(0, 1)
        gate, candidate = self.gate(steps).sigmoid(), self.candidate(steps)
        h, outputs = torch.zeros_like(candidate[:, 0]), []
        for t in range(x.shape[1]):
            h = (1 - gate[:, t]) * h + gate[:, t] * candidate[:, t]
            outputs.append(h)
        return torch.stack(outputs, 1)


class ResetBeforeGRUCell(br.nn.MaskedModule):
    """One step of the GRU that resets before its product, U (r * h), as Keras computes it with reset_after=False."""

    stepwise = True  # a call is one step: masks hold over a block `with br.nn.sequence(model):`, or a pass of `predict`

    def __init__(self, kernel: Tensor, recurrent: Tensor, bias: Tensor, rate: float) -> None:
        super().__init__()
        self.places = {"input": Placement("input", rate), "hidden": Placement("hidden", rate)}
        self.kernel, self.recurrent, self.bias = (nn.Parameter(value) for value in (kernel, recurrent, bias))

    def forward(self, x: Tensor, h: Tensor, masks: dict[str, Tensor] | None = None) -> Tensor:
        z = self.factors(x, masks, rows=len(x), input=x.shape[1], hidden=h.shape[1])
        x_z, x_r, x_n = ((x * z["input"]) @ self.kernel + self.bias).chunk(3, -1)  # Keras' order of the gates
        u_z, u_r, u_n = self.recurrent.chunk(3, -1)
        seen = h * z["hidden"]
        update, reset = (x_z + seen @ u_z).sigmoid(), (x_r + seen @ u_r).sigmoid()
        return update * h + (1 - update) * (x_n + (reset * seen) @ u_n).tanh()
