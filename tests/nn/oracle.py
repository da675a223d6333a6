"""The papers' equations in numpy: one row, one step, one gate at a time, with nothing of the package in it."""

from typing import Any

import numpy as np


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-a))


def gate_mask(masks: dict[str, Any], key: str, t: int, gate: int, row: int, *, step: bool, untied: bool) -> Any:
    """The mask of one gate, row and step; 1 where there is none."""
    if key not in masks:
        return 1.0
    mask = masks[key]
    if step:
        mask = mask[t]
    if untied:
        mask = mask[gate]
    return mask[row if mask.shape[0] > 1 else 0]


def run(
    kind: str,
    x: np.ndarray,
    weights: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    *,
    suffix: str = "l0",
    lengths: list[int] | None = None,
    reverse: bool = False,
    spans: dict[str, str] | None = None,
    untied: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run one layer and direction over x (T, B, D); return (T, B, H) and the last states (B, H)."""
    spans = spans or {}
    steps, rows, _ = x.shape
    w, u = weights[f"weight_ih_{suffix}"], weights[f"weight_hh_{suffix}"]
    b, d = weights.get(f"bias_ih_{suffix}", np.zeros(len(w))), weights.get(f"bias_hh_{suffix}", np.zeros(len(w)))
    if f"weight_hh_{suffix}" in masks:
        u = u * masks[f"weight_hh_{suffix}"]
    units = u.shape[1]
    gates = len(w) // units
    out, last_h, last_c = np.zeros((steps, rows, units)), np.zeros((rows, units)), np.zeros((rows, units))
    for row in range(rows):
        h, c = np.zeros(units), np.zeros(units)
        end = steps if lengths is None else lengths[row]
        for t in reversed(range(end)) if reverse else range(end):

            def at(site: str, gate: int = 0, t: int = t, row: int = row) -> Any:
                per_gate = untied and site in ("input", "hidden")
                step = spans.get(site, "sequence") == "step"
                return gate_mask(masks, f"{site}_{suffix}", t, gate, row, step=step, untied=per_gate)

            inner, outer = [], []
            for k in range(gates):
                part = slice(k * units, (k + 1) * units)
                inner.append(w[part] @ (x[t, row] * at("input", k)) + b[part])
                outer.append(u[part] @ (h * at("hidden", k)) + d[part])
            old_h, old_c = h, c
            if kind.endswith("LSTM"):
                i, f, g, o = (a + e for a, e in zip(inner, outer))
                let_in = np.minimum(sigmoid(i), 1.0 - sigmoid(f)) if kind == "CappedLSTM" else sigmoid(i)
                c = sigmoid(f) * old_c + let_in * np.tanh(g) * at("candidate")
                h = sigmoid(o) * np.tanh(c * at("cell"))
            elif kind == "GRU":
                r, z = sigmoid(inner[0] + outer[0]), sigmoid(inner[1] + outer[1])
                n = np.tanh(inner[2] + r * outer[2]) * at("candidate")
                h = (1.0 - z) * n + z * old_h
            else:
                h = np.tanh(inner[0] + outer[0]) if kind == "RNN" else np.maximum(inner[0] + outer[0], 0.0)
            if f"keep_hidden_{suffix}" in masks:
                h = np.where(at("keep_hidden") == 1.0, old_h, h)
            if f"keep_cell_{suffix}" in masks:
                c = np.where(at("keep_cell") == 1.0, old_c, c)
            out[t, row] = h
        last_h[row], last_c[row] = h, c
    return out, [last_h, last_c] if kind.endswith("LSTM") else [last_h]
