#!/usr/bin/env bash
# torch 2.13.0: under CPU autocast the memory of nn.LSTM is kept in bfloat16, so that it stops adding up.
#
# Autocast keeps operations that need range or precision, sums among them, in float32. The recurrence of an LSTM is a
# long sum, c_t = f c_(t-1) + i g, but the fused layer runs whole in bfloat16 under `torch.autocast("cpu")`: c is
# rounded to 8 bits at every step, and an increment below half a spacing is lost for good. The same equations written
# with nn.LSTMCell keep c in float32.
#
# Seen: an LSTM that adds 0.001 per step holds 2.000 after 2,000 steps in float32, 0.500 with autocast (it stops there,
# in training and in evaluation), 1.999 with nn.LSTMCell under the same autocast.
#
# Exits with 1 if the fused layer adds up.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'E'
import sys

import torch

STEPS = 2000
layer, cell = torch.nn.LSTM(1, 1), torch.nn.LSTMCell(1, 1)
with torch.no_grad():
    for parameter in layer.parameters():
        parameter.zero_()
    layer.weight_ih_l0[2] = 0.001  # the candidate g
    layer.bias_ih_l0[[0, 1, 3]] = 20.0  # input, forget and output gates are open
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
x = torch.ones(STEPS, 1, 1)


def by_cell() -> torch.Tensor:
    state = torch.zeros(1, 1), torch.zeros(1, 1)
    for step in x:
        state = cell(step, state)
    return state[1]


memory = {"float32": layer(x)[1][1].detach()}
with torch.autocast("cpu", torch.bfloat16):
    memory["autocast"] = layer(x)[1][1].detach()
    with torch.no_grad():
        memory["autocast, no gradient"] = layer(x)[1][1]
        memory["autocast, nn.LSTMCell"] = by_cell()
for name, c in memory.items():
    print(f"{name}: c = {float(c):.3f} ({c.dtype})")
right = abs(float(memory["float32"]) - 2.0) < 0.01
stuck = all(float(memory[name]) < 1.0 for name in ("autocast", "autocast, no gradient"))
sys.exit(0 if right and stuck else 1)
E
