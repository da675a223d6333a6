"""All steps of a small LSTM or GRU layer in one Triton kernel: a program takes a block of rows through time.

States stay in registers. So do the weights while they fit (HELD); else every step reads them again in tiles, and what
enters the product goes through memory. Sums begin with the input products, which are made before, and tensors
(steps, rows, ...) are read by pointers that move by one step at a time.
"""

import triton
import triton.language as tl

from bayesrnn.nn.kernels.scan.triton_kernels import _put, _sigmoid, _tanh


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
    w0, w1, w2, w3 = hh, hh, hh, hh
    if HELD:
        w0, w1, w2 = _weight(hh, units, 0, UNITS), _weight(hh, units, 1, UNITS), _weight(hh, units, 2, UNITS)
        w3 = w2
        if GATES == 4:
            w3 = _weight(hh, units, 3, UNITS)
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


@triton.jit
def _through(
    carry, tied, gradient, weight, left, hh, site, mask_gate, row, rows, units, inside, GATE: tl.constexpr,
    MASK: tl.constexpr, HELD: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the gradient through the recurrent product of a gate: to that of h, or of h under the mask of all gates."""
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
    w0, w1, w2, w3 = hh, hh, hh, hh
    if HELD:
        w0, w1, w2 = _weight(hh, units, 0, UNITS), _weight(hh, units, 1, UNITS), _weight(hh, units, 2, UNITS)
        w3 = w2
        if GATES == 4:
            w3 = _weight(hh, units, 3, UNITS)
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
