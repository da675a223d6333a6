"""All steps of a small LSTM or GRU layer in one Triton kernel.

A program takes a block of rows through time. States stay in registers. So do the weights while they fit (HELD); else
every step reads them again in tiles, and what enters the product goes through memory. Sums begin with the input
products, which are made before, and tensors (steps, rows, ...) are read by pointers that move by one step at a time.
"""

import triton
import triton.language as tl

from bayesrnn.nn.kernels.scan.persistent_reads import _length, _place, _read, _tiled, _weights
from bayesrnn.nn.kernels.scan.triton_kernels import _sigmoid, _tanh


@triton.jit
def _entering(
    h, tied, site, mask_gate, scratch, scratch_gate, inside, GATE: tl.constexpr, MASK: tl.constexpr, HELD: tl.constexpr
):
    """Return what enters the product of a gate, and leave it in memory where weights are not held."""
    entering = tied
    if MASK == 2:
        entering = (h * _read(site + GATE * mask_gate, inside)).to(scratch.dtype.element_ty)
    if not HELD and (MASK == 2 or GATE == 0):
        tl.store(scratch + GATE * scratch_gate, entering, mask=inside)
    return entering


@triton.jit
def _recurrent(
    total, entering, weight, left, scratch_gate, hh, row, rows, units, GATE: tl.constexpr, MASK: tl.constexpr,
    HELD: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the recurrent product of a gate."""
    if HELD:
        return tl.dot(entering, weight, total, input_precision=PRECISION)
    if MASK == 2:
        left += GATE * scratch_gate
    return _tiled(total, left, hh, row, rows, units, GATE, UNITS, TILE, PRECISION)


@triton.jit
def all_forward(
    pre, pre_step, pre_row, pre_gate, bias, again, hh, lengths, hidden, memory, out, acts, extra, scratch, scratch_gate,
    mask, mask_step, mask_gate, mask_row, read, read_step, read_row, out_step, act_step, start, steps, rows, units,
    GATES: tl.constexpr, CAPPED: tl.constexpr, KEEP: tl.constexpr, LENGTHS: tl.constexpr, MASK: tl.constexpr,
    READ: tl.constexpr, HELD: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Take `steps` steps, from step `start`; `hidden` and `memory` are what they begin with and where they end.

    MASK is 0 without masks of h, 1 if one serves all steps and gates, else 2. `bias` is of both products; of a GRU,
    `again` is the one of the recurrent product.
    """
    row, unit, inside = _place(rows, units, ROWS, UNITS)
    here = row * units + unit
    length, stop = _length(lengths, row, rows, start, steps, LENGTHS)
    h = _read(hidden + here, inside)
    c = h
    if GATES == 4:
        c = _read(memory + here, inside)
    known = unit < units
    b0, b1, b2 = _read(bias + unit, known), _read(bias + units + unit, known), _read(bias + 2 * units + unit, known)
    b3 = b2
    if GATES == 4:
        b3 = _read(bias + 3 * units + unit, known)
    else:
        b0 += _read(again + unit, known)
        b1 += _read(again + units + unit, known)
        b3 = _read(again + 2 * units + unit, known)
    w0, w1, w2, w3 = _weights(hh, units, UNITS, GATES, HELD)
    factor = h
    if MASK == 1:
        factor = _read(mask + row * mask_row + unit, inside)
    t = 0
    while t < stop:
        own, site = pre + row * pre_row + unit, mask + row * mask_row + unit
        tied = h
        if MASK == 1:
            tied = h * factor
        tied = tied.to(hh.dtype.element_ty)
        put, left = scratch + here, scratch + row * units
        e0 = _entering(h, tied, site, mask_gate, put, scratch_gate, inside, 0, MASK, HELD)
        e1 = _entering(h, tied, site, mask_gate, put, scratch_gate, inside, 1, MASK, HELD)
        e2 = _entering(h, tied, site, mask_gate, put, scratch_gate, inside, 2, MASK, HELD)
        e3 = e2
        if GATES == 4:
            e3 = _entering(h, tied, site, mask_gate, put, scratch_gate, inside, 3, MASK, HELD)
        if not HELD:
            tl.debug_barrier()  # all of the program has written what now enters
        s0 = _read(own, inside) + b0
        own += pre_gate  # steps of a pointer do not overflow 32 bits
        s1 = _read(own, inside) + b1
        own += pre_gate
        s2 = _read(own, inside) + b2
        s0 = _recurrent(s0, e0, w0, left, scratch_gate, hh, row, rows, units, 0, MASK, HELD, UNITS, TILE, PRECISION)
        s1 = _recurrent(s1, e1, w1, left, scratch_gate, hh, row, rows, units, 1, MASK, HELD, UNITS, TILE, PRECISION)
        kept = acts + row * GATES * units + unit
        if GATES == 4:
            s3 = _read(own + pre_gate, inside) + b3
            s2 = _recurrent(s2, e2, w2, left, scratch_gate, hh, row, rows, units, 2, MASK, HELD, UNITS, TILE, PRECISION)
            s3 = _recurrent(s3, e3, w3, left, scratch_gate, hh, row, rows, units, 3, MASK, HELD, UNITS, TILE, PRECISION)
            i, f, g, o = _sigmoid(s0), _sigmoid(s1), _tanh(s2), _sigmoid(s3)
            if CAPPED:
                i = tl.minimum(i, 1.0 - f)
            more = f * c + i * g
            seen = more
            if READ:
                seen = more * _read(read + row * read_row + unit, inside)
            new = o * _tanh(seen)
            if KEEP:
                tl.store(kept, i, mask=inside)
                tl.store(kept + units, f, mask=inside)
                tl.store(kept + 2 * units, g, mask=inside)
                tl.store(kept + 3 * units, o, mask=inside)
        else:
            more = tl.zeros((ROWS, UNITS), tl.float32) + b3
            more = _recurrent(
                more, e2, w2, left, scratch_gate, hh, row, rows, units, 2, MASK, HELD, UNITS, TILE, PRECISION
            )
            r, z = _sigmoid(s0), _sigmoid(s1)
            n = _tanh(s2 + r * more)
            new = n + z * (h - n)
            if KEEP:
                tl.store(kept, r, mask=inside)
                tl.store(kept + units, z, mask=inside)
                tl.store(kept + 2 * units, n, mask=inside)
        if KEEP:
            tl.store(extra + here, more, mask=inside)
        h = new
        if LENGTHS:  # of a row that has ended, only the memory is read again
            new = tl.where(t < length, new, 0.0)
            if GATES == 4:
                more = tl.where(t < length, more, c)
        tl.store(out + here, new, mask=inside)
        if GATES == 4:
            c = more
        pre += pre_step
        mask += mask_step
        read += read_step
        out += out_step
        acts += act_step
        extra += out_step
        if not HELD:
            tl.debug_barrier()  # all of the program has read it
        t += 1
    tl.store(hidden + here, h, mask=inside)
    if GATES == 4:
        tl.store(memory + here, c, mask=inside)
