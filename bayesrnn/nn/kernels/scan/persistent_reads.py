"""What the kernels of all steps read, forward and backward: states, weights, lengths, and weights in tiles."""

import triton
import triton.language as tl


@triton.jit
def _place(rows, units, ROWS: tl.constexpr, UNITS: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    unit = tl.arange(0, UNITS)[None, :]
    return row, unit, (row < rows) & (unit < units)


@triton.jit
def _read(pointer, inside):
    return tl.load(pointer, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _weight(hh, units, GATE: tl.constexpr, UNITS: tl.constexpr):
    """Read the weights of a gate, (entering, leaving)."""
    i, j = tl.arange(0, UNITS)[:, None], tl.arange(0, UNITS)[None, :]
    return tl.load(hh + GATE * units * units + i * units + j, mask=(i < units) & (j < units), other=0.0)


@triton.jit
def _weights(hh, units, UNITS: tl.constexpr, GATES: tl.constexpr, HELD: tl.constexpr):
    """Read the weights of all gates, where they are held; the fourth of three gates is not read."""
    w0, w1, w2, w3 = hh, hh, hh, hh
    if HELD:
        w0, w1, w2 = _weight(hh, units, 0, UNITS), _weight(hh, units, 1, UNITS), _weight(hh, units, 2, UNITS)
        w3 = w2
        if GATES == 4:
            w3 = _weight(hh, units, 3, UNITS)
    return w0, w1, w2, w3


@triton.jit
def _length(lengths, row, rows, start, steps, LENGTHS: tl.constexpr):
    """Return the length of each row from step `start` on, and how many of `steps` steps the block has."""
    length, stop = row, steps  # the first is not read
    if LENGTHS:
        length = tl.load(lengths + row, mask=row < rows, other=0) - start
        stop = tl.minimum(tl.max(length), steps)
    return length, stop


@triton.jit
def _tiled(
    total, left, hh, row, rows, units,
    GATE: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the product of what lies at `left` with the weights of a gate, some units after others."""
    j, start = tl.arange(0, UNITS)[None, :], 0
    while start < units:
        along, down = start + tl.arange(0, TILE)[None, :], start + tl.arange(0, TILE)[:, None]
        entering = tl.load(left + along, mask=(row < rows) & (along < units), other=0.0)
        weight = tl.load(hh + (GATE * units + down) * units + j, mask=(down < units) & (j < units), other=0.0)
        total = tl.dot(entering, weight, total, input_precision=PRECISION)
        start += TILE
    return total
