"""The pointwise part of LSTM and GRU steps as Triton kernels: one launch per step beside the matrix product.

Each program does some units of one row. Masks have a row stride of 0 where all rows share them. The new h is also
written under the mask of the next product, in the product's type, once per mask.
"""

import triton
import triton.language as tl


@triton.jit
def touch(out):
    """Write a number: what fails here is the installation."""
    tl.store(out, 1.0)


@triton.jit
def _tanh(x):
    """Hold full relative precision: a polynomial near 0, where the other form cancels."""
    size = tl.abs(x)
    small = tl.exp(-2.0 * size)
    far = (1.0 - small) / (1.0 + small)
    square = x * x
    near = size * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0))))
    return tl.where(x < 0.0, -1.0, 1.0) * tl.where(size < 0.1, near, far)


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _place(units, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return row, unit, unit < units


@triton.jit
def _read(pointer, offset, inside):
    return tl.load(pointer + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _go_on(
    h, onward, mask, mask_row, mask_gate, row, rows, unit, units, inside, NEXT: tl.constexpr, MASKED: tl.constexpr
):
    for gate in tl.static_range(NEXT):
        value = h
        if MASKED:
            value = h * _read(mask, gate * mask_gate + row * mask_row + unit, inside)
        tl.store(onward + (gate * rows + row) * units + unit, value.to(onward.dtype.element_ty), mask=inside)


@triton.jit
def _arrived(
    raw, mask, mask_row, mask_gate, arriving, row, rows, unit, units, inside,
    RAW: tl.constexpr, MASKED: tl.constexpr, ARRIVING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of h: from the outputs, and through the product of the following step."""
    total = tl.zeros((BLOCK,), tl.float32)
    if ARRIVING:
        total += _read(arriving, row * units + unit, inside)
    for gate in tl.static_range(RAW):
        part = _read(raw, (gate * rows + row) * units + unit, inside)
        if MASKED:
            part *= _read(mask, gate * mask_gate + row * mask_row + unit, inside)
        total += part
    return total


@triton.jit
def _put(blocks, low, offset, value, inside, LOW: tl.constexpr):
    tl.store(blocks + offset, value, mask=inside)
    if LOW:
        tl.store(low + offset, value.to(low.dtype.element_ty), mask=inside)


@triton.jit
def lstm_forward(
    pre, pre_row, pre_gate, add, add_row, add_gate, bias, before, more, h, acts, read, read_row,
    onward, mask, mask_row, mask_gate, rows, units,
    CAPPED: tl.constexpr, KEEP: tl.constexpr, READ: tl.constexpr, NEXT: tl.constexpr, MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One step: gates from both products and the bias, new memory, new h, and h under the next mask."""
    row, unit, inside = _place(units, BLOCK)
    own, recurrent, biased = pre + row * pre_row + unit, add + row * add_row + unit, bias + unit
    i = _sigmoid(_read(own, 0, inside) + _read(recurrent, 0, inside) + _read(biased, 0, inside))
    own, recurrent, biased = (
        own + pre_gate,
        recurrent + add_gate,
        biased + units,
    )  # steps of a pointer do not overflow 32 bits
    f = _sigmoid(_read(own, 0, inside) + _read(recurrent, 0, inside) + _read(biased, 0, inside))
    own, recurrent, biased = own + pre_gate, recurrent + add_gate, biased + units
    g = _tanh(_read(own, 0, inside) + _read(recurrent, 0, inside) + _read(biased, 0, inside))
    own, recurrent, biased = own + pre_gate, recurrent + add_gate, biased + units
    o = _sigmoid(_read(own, 0, inside) + _read(recurrent, 0, inside) + _read(biased, 0, inside))
    if CAPPED:
        i = tl.minimum(i, 1.0 - f)
    here = row * units + unit
    c = f * _read(before, here, inside) + i * g
    tl.store(more + here, c, mask=inside)
    if READ:
        c = c * _read(read, row * read_row + unit, inside)
    new = o * _tanh(c)
    tl.store(h + here, new, mask=inside)
    if KEEP:
        kept = acts + row * 4 * units + unit
        tl.store(kept, i, mask=inside)
        tl.store(kept + units, f, mask=inside)
        tl.store(kept + 2 * units, g, mask=inside)
        tl.store(kept + 3 * units, o, mask=inside)
    _go_on(new, onward, mask, mask_row, mask_gate, row, rows, unit, units, inside, NEXT, MASKED)


@triton.jit
def lstm_backward(
    acts, more, past, read, read_row, raw, mask, mask_row, mask_gate, arriving, carried, blocks, low, rows, units,
    CAPPED: tl.constexpr, READ: tl.constexpr, RAW: tl.constexpr, MASKED: tl.constexpr, ARRIVING: tl.constexpr,
    LOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step: gradients of the four gates, and of the old memory in the place of the new one's."""
    row, unit, inside = _place(units, BLOCK)
    total = _arrived(
        raw, mask, mask_row, mask_gate, arriving, row, rows, unit, units, inside, RAW, MASKED, ARRIVING, BLOCK
    )
    here, first = row * units + unit, row * 4 * units + unit
    i, f = _read(acts, first, inside), _read(acts, first + units, inside)
    g, o = _read(acts, first + 2 * units, inside), _read(acts, first + 3 * units, inside)
    c = _read(more, here, inside)
    by_read = total * o
    if READ:
        m = _read(read, row * read_row + unit, inside)
        activated = _tanh(c * m)
        by_read *= m
    else:
        activated = _tanh(c)
    by_c = _read(carried, here, inside) + by_read * (1.0 - activated * activated)
    by_i, by_f = g, _read(past, here, inside)
    if CAPPED:  # where i = 1 - f, it is the forget gate that moves i
        at_cap = i >= 1.0 - f
        by_i, by_f = tl.where(at_cap, 0.0, by_i), tl.where(at_cap, by_f - g, by_f)
    _put(blocks, low, first, by_c * by_i * i * (1.0 - i), inside, LOW)
    _put(blocks, low, first + units, by_c * by_f * f * (1.0 - f), inside, LOW)
    _put(blocks, low, first + 2 * units, by_c * i * (1.0 - g * g), inside, LOW)
    _put(blocks, low, first + 3 * units, total * activated * o * (1.0 - o), inside, LOW)
    tl.store(carried + here, by_c * f, mask=inside)


@triton.jit
def gru_forward(
    pre, pre_row, pre_gate, add, add_row, add_gate, bias, again, before, h, acts, extra,
    onward, mask, mask_row, mask_gate, rows, units,
    KEEP: tl.constexpr, NEXT: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step; `bias` belongs to the input product, `again` to the recurrent one."""
    row, unit, inside = _place(units, BLOCK)
    own, recurrent, biased, more = pre + row * pre_row + unit, add + row * add_row + unit, bias + unit, again + unit
    r = _read(own, 0, inside) + _read(recurrent, 0, inside) + _read(biased, 0, inside) + _read(more, 0, inside)
    own, recurrent, biased, more = own + pre_gate, recurrent + add_gate, biased + units, more + units
    z = _read(own, 0, inside) + _read(recurrent, 0, inside) + _read(biased, 0, inside) + _read(more, 0, inside)
    own, recurrent, biased, more = own + pre_gate, recurrent + add_gate, biased + units, more + units
    u = _read(recurrent, 0, inside) + _read(more, 0, inside)
    r, z = _sigmoid(r), _sigmoid(z)
    n = _tanh(_read(own, 0, inside) + _read(biased, 0, inside) + r * u)
    here = row * units + unit
    new = n + z * (_read(before, here, inside) - n)
    tl.store(h + here, new, mask=inside)
    if KEEP:
        kept = acts + row * 3 * units + unit
        tl.store(kept, r, mask=inside)
        tl.store(kept + units, z, mask=inside)
        tl.store(kept + 2 * units, n, mask=inside)
        tl.store(extra + here, u, mask=inside)
    _go_on(new, onward, mask, mask_row, mask_gate, row, rows, unit, units, inside, NEXT, MASKED)


@triton.jit
def gru_backward(
    acts, extra, past, raw, mask, mask_row, mask_gate, arriving, carried, blocks, low, rows, units,
    RAW: tl.constexpr, MASKED: tl.constexpr, ARRIVING: tl.constexpr, LOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take a step back: gradients of n, r, z and of the recurrent part of n.

    `carried` is what h passes on past the product.
    """
    row, unit, inside = _place(units, BLOCK)
    total = _arrived(
        raw, mask, mask_row, mask_gate, arriving, row, rows, unit, units, inside, RAW, MASKED, ARRIVING, BLOCK
    )
    here, kept, first = row * units + unit, row * 3 * units + unit, row * 4 * units + unit
    total += _read(carried, here, inside)
    r, z, n = _read(acts, kept, inside), _read(acts, kept + units, inside), _read(acts, kept + 2 * units, inside)
    by_n = total * (1.0 - z) * (1.0 - n * n)
    _put(blocks, low, first, by_n, inside, LOW)
    _put(blocks, low, first + units, by_n * _read(extra, here, inside) * r * (1.0 - r), inside, LOW)
    _put(blocks, low, first + 2 * units, total * (_read(past, here, inside) - n) * z * (1.0 - z), inside, LOW)
    _put(blocks, low, first + 3 * units, by_n * r, inside, LOW)
    tl.store(carried + here, total * z, mask=inside)
