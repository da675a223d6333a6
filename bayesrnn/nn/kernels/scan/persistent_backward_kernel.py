"""The gradients of a small LSTM or GRU layer at all steps in one Triton kernel; see `persistent_forward_kernel`."""

import triton
import triton.language as tl

from bayesrnn.nn.kernels.scan.persistent_reads import _length, _place, _read, _tiled, _weights
from bayesrnn.nn.kernels.scan.triton_kernels import _put, _tanh


@triton.jit
def _through(
    carry, tied, gradient, weight, left, hh, site, mask_gate, row, rows, units, inside, GATE: tl.constexpr,
    MASK: tl.constexpr, HELD: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the gradient through the recurrent product of a gate.

    It goes to the gradient of h, or of h under the mask that all gates share.
    """
    total = tied
    if MASK == 2:
        total = tl.zeros_like(carry)
    if HELD:
        total = tl.dot(gradient.to(hh.dtype.element_ty), weight, total, input_precision=PRECISION)
    else:
        total = _tiled(total, left + GATE * units, hh, row, rows, units, GATE, UNITS, TILE, PRECISION)
    if MASK == 2:
        return carry + total * _read(site + GATE * mask_gate, inside), tied
    return carry, total


@triton.jit
def all_backward(
    acts, extra, past, initial, hh, lengths, arriving, arriving_step, arriving_row, by_hidden, by_memory, blocks, low,
    mask, mask_step, mask_gate, mask_row, read, read_step, read_row, out_step, act_step, block_step, steps, rows, units,
    GATES: tl.constexpr, CAPPED: tl.constexpr, LENGTHS: tl.constexpr, ARRIVING: tl.constexpr, LOW: tl.constexpr,
    MASK: tl.constexpr, READ: tl.constexpr, HELD: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Go back through all steps, from pointers to the last; `by_hidden` and `by_memory` begin and end here.

    `past` is what the state was after each step (memory, or h of a GRU), `initial` before the first. Blocks are the
    gradients of i f g o, or of n r z and the recurrent part of n. What a row that has ended reads is 0, and so are its
    gradients but that of the memory.
    """
    row, unit, inside = _place(rows, units, ROWS, UNITS)
    here = row * units + unit
    length, _ = _length(lengths, row, rows, 0, steps, LENGTHS)
    dh = _read(by_hidden + here, inside)
    dc = dh
    if GATES == 4:
        dc = _read(by_memory + here, inside)
    w0, w1, w2, w3 = _weights(hh, units, UNITS, GATES, HELD)
    factor = dh
    if MASK == 1:
        factor = _read(mask + row * mask_row + unit, inside)
    t = steps - 1
    while t >= 0:
        live, total = inside, dh
        if LENGTHS:
            live = inside & (t < length)
        if ARRIVING:
            total += _read(arriving + row * arriving_row + unit, live)
        kept, site, into = acts + row * GATES * units + unit, mask + row * mask_row + unit, row * 4 * units + unit
        before = _read(past - out_step + here, live & (t > 0)) + _read(initial + here, live & (t == 0))
        more = _read(extra + here, live)
        carry = tl.zeros((ROWS, UNITS), tl.float32)
        if GATES == 4:
            i, f = _read(kept, live), _read(kept + units, live)
            g, o = _read(kept + 2 * units, live), _read(kept + 3 * units, live)
            by_read = total * o
            if READ:
                m = _read(read + row * read_row + unit, live)
                activated = _tanh(more * m)
                by_read *= m
            else:
                activated = _tanh(more)
            by_c = dc + by_read * (1.0 - activated * activated)
            by_i, by_f = g, before
            if CAPPED:  # where i = 1 - f, it is the forget gate that moves i
                at_cap = i >= 1.0 - f
                by_i, by_f = tl.where(at_cap, 0.0, by_i), tl.where(at_cap, by_f - g, by_f)
            d0, d1 = by_c * by_i * i * (1.0 - i), by_c * by_f * f * (1.0 - f)
            d2, d3 = by_c * i * (1.0 - g * g), total * activated * o * (1.0 - o)
            _put(blocks, low, into, d0, inside, LOW)
            _put(blocks, low, into + units, d1, inside, LOW)
            _put(blocks, low, into + 2 * units, d2, inside, LOW)
            _put(blocks, low, into + 3 * units, d3, inside, LOW)
            dc = tl.where(t < length, by_c * f, dc) if LENGTHS else by_c * f
        else:
            r, z, n = _read(kept, live), _read(kept + units, live), _read(kept + 2 * units, live)
            by_n = total * (1.0 - z) * (1.0 - n * n)
            d0, d1, d2 = by_n * more * r * (1.0 - r), total * (before - n) * z * (1.0 - z), by_n * r
            d3 = d2
            _put(blocks, low, into, by_n, inside, LOW)
            _put(blocks, low, into + units, d0, inside, LOW)
            _put(blocks, low, into + 2 * units, d1, inside, LOW)
            _put(blocks, low, into + 3 * units, d2, inside, LOW)
            carry = total * z
        if not HELD:
            tl.debug_barrier()  # all of the program has written its gradients
        left = low + row * 4 * units + (4 - GATES) * units  # of a GRU, n belongs to the input product
        tied = tl.zeros((ROWS, UNITS), tl.float32)
        carry, tied = _through(
            carry, tied, d0, w0, left, hh, site, mask_gate, row, rows, units, inside,
            0, MASK, HELD, UNITS, TILE, PRECISION,
        )  # fmt: skip
        carry, tied = _through(
            carry, tied, d1, w1, left, hh, site, mask_gate, row, rows, units, inside,
            1, MASK, HELD, UNITS, TILE, PRECISION,
        )  # fmt: skip
        carry, tied = _through(
            carry, tied, d2, w2, left, hh, site, mask_gate, row, rows, units, inside,
            2, MASK, HELD, UNITS, TILE, PRECISION,
        )  # fmt: skip
        if GATES == 4:
            carry, tied = _through(
                carry, tied, d3, w3, left, hh, site, mask_gate, row, rows, units, inside,
                3, MASK, HELD, UNITS, TILE, PRECISION,
            )  # fmt: skip
        if MASK == 1:
            tied *= factor
        dh = carry + tied
        acts -= act_step
        extra -= out_step
        past -= out_step
        arriving -= arriving_step
        blocks -= block_step
        low -= block_step
        mask -= mask_step
        read -= read_step
        t -= 1
    tl.store(by_hidden + here, dh, mask=inside)
    if GATES == 4:
        tl.store(by_memory + here, dc, mask=inside)
