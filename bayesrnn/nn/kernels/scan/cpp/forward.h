// A block of rows through all steps forward; included once per instruction set.

struct Packed {
  const Layer* layer;
  float *ih, *hh, *bias;  // panels; [panel][slot][kWidth] of the biases
  Long panels, block;     // rows per block
};

// What the sum of each gate is multiplied by, exactly, before the exponential: -1 for a sigmoid, 2 for a tanh.
constexpr float kScales[4][4] = {{-1, -1, 2, -1}, {-1, -1, 2, 2}, {2}, {1}};

void pack_panel(void* context, Long panel) {
  auto* p = static_cast<Packed*>(context);
  const Layer& l = *p->layer;
  const float* scales = kScales[l.cell];
  Long gates = kGates[l.cell], slots = l.cell == kGru ? 4 : gates;
  pack_gates(l.ih, gates, l.units, l.features, scales, panel, p->ih);
  pack_gates(l.hh, gates, l.units, l.units, scales, panel, p->hh);
  float* bias = p->bias + panel * slots * kWidth;
  for (Long s = 0; s < slots; ++s)
    for (Long j = 0; j < kWidth; ++j) {
      Long unit = panel * kWidth + j, from = (s < 3 ? s : gates - 1) * l.units + unit;
      bool apart = l.cell == kGru && s >= 2;
      float value = 0.0f;
      if (l.bias_ih && unit < l.units)
        value = !apart ? l.bias_ih[from] + l.bias_hh[from] : s == 2 ? l.bias_ih[from] : l.bias_hh[from];
      bias[s * kWidth + j] = scales[s] * value;
    }
}

// The rows of a tile at one step, from some unit on: where the state is held and where the results go.
struct Point {
  Long lanes, wide;    // units that there are; row stride of what follows
  float *state, *next;  // c of an LSTM, else h; what enters the next product, one plane per gate with a mask of its own
  Long planes, plane;
  const float* mask;  // of the next product, or null
  Long mask_row, mask_gate;
  float* out;
  Long out_row;
  const float* read;  // mask under which c is read, or null
  Long read_row;
  float *gates, *extra;  // kept, or null
  Long units;
  bool relu, capped;

  INLINE void emit(Long r, V h) const {
    store(out + r * out_row, h, lanes);
    const float* m = mask + r * mask_row;
    float* to = next + r * wide;
    if (!mask) return store(to, h);
    store(to, h * load(m, lanes));
    for (Long g = 1; g < planes; ++g) store(to + g * plane, h * load(m + g * mask_gate, lanes));
  }
  INLINE void keep(Long r, const V* values, int count, V more) const {
    for (int g = 0; g < count; ++g) store(gates + (r * count + g) * units, values[g], lanes);
    if (extra) store(extra + r * units, more, lanes);
  }
};

template <bool Keep>
void lstm_point(const Point p, const V* pre, Long rows) {
  for (Long r = 0; r < rows; ++r, pre += 4) {
    float* state = p.state + r * p.wide;
    V old = load(state), i = exponential(pre[0]).value(), f = exponential(pre[1]).value();
    V g = exponential(pre[2]).less_one(), o = exponential(pre[3]).value(), c;
    if (Keep || p.capped) {
      V gates[] = {1.0f / (1.0f + i), 1.0f / (1.0f + f), g / (g + 2.0f), 1.0f / (1.0f + o)};
      if (p.capped) gates[0] = gates[0] < 1.0f - gates[1] ? gates[0] : 1.0f - gates[1];
      c = gates[1] * old + gates[0] * gates[2];
      if (Keep) p.keep(r, gates, 4, c);
    } else {  // one division for c, one for h
      V under = (1.0f + i) * (g + 2.0f), forget = 1.0f + f;
      c = (old * under + g * forget) / (under * forget);
    }
    store(state, c);
    V seen = p.read ? c * load(p.read + r * p.read_row, p.lanes) : c;
    V e = exponential(seen + seen).less_one();
    p.emit(r, e / ((e + 2.0f) * (1.0f + o)));
  }
}

template <bool Keep>
void gru_point(const Point p, const V* pre, Long rows) {
  for (Long r = 0; r < rows; ++r, pre += 4) {
    float* state = p.state + r * p.wide;
    V old = load(state), reset = sigmoid_of_minus(pre[0]), z = exponential(pre[1]).value();
    V e = exponential(reset * pre[3] + pre[2]).less_one(), h;
    if (Keep) {
      V gates[] = {reset, 1.0f / (1.0f + z), e / (e + 2.0f)};
      h = gates[1] * (old - gates[2]) + gates[2];
      p.keep(r, gates, 3, pre[3] * 0.5f);
    } else {  // n (1 - z) + z h in one division
      h = (e * z + old * (e + 2.0f)) / ((e + 2.0f) * (1.0f + z));
    }
    store(state, h);
    p.emit(r, h);
  }
}

template <bool Keep>
void rnn_point(const Point p, const V* pre, Long rows) {
  for (Long r = 0; r < rows; ++r, ++pre) {
    V h = !p.relu ? tanh_of_twice(pre[0]) : pre[0] < 0.0f ? V{} : pre[0];
    if (Keep) p.keep(r, &h, 1, h);
    store(p.state + r * p.wide, h);
    p.emit(r, h);
  }
}

template <int Gates, bool Keep>
INLINE void point_of(const Point& p, const V* pre, Long rows) {
  if (Gates == 4) lstm_point<Keep>(p, pre, rows);
  else if (Gates == 3) gru_point<Keep>(p, pre, rows);
  else rnn_point<Keep>(p, pre, rows);
}

// Writes rows under their mask, one plane per gate that has its own.
void mask_rows(const float* from, Long row, const Strided& mask, Long t, Long first, Long rows, Long width, Long planes,
               Long plane, Long wide, float* into) {
  for (Long g = 0; g < planes; ++g)
    for (Long r = 0; r < rows; ++r) {
      const float *a = from + r * row, *m = mask.data ? mask.at(t, first + r, g) : nullptr;
      float* to = into + g * plane + r * wide;
      for (Long k = 0; k < width; k += kWidth) {
        V value = load(a + k, width - k);
        store(to + k, m ? value * load(m + k, width - k) : value);
      }
    }
}

INLINE Long alive_at(const Layer& l, Long t, Long first, Long rows) {
  const Long alive = l.alive ? l.alive[t] - first : rows;
  return alive < 0 ? 0 : alive > rows ? rows : alive;
}

// Returns x of one step, under its mask in `in` where it has one.
INLINE Entering seen(const Layer& l, Long t, Long first, Long alive, Long planes, Long plane, Long deep, float* in) {
  const float* x = l.x.at(t, first);
  if (!l.mask_x.data) return {x, l.x.row, 0};
  mask_rows(x, l.x.row, l.mask_x, t, first, alive, l.features, planes, plane, deep, in);
  return {in, deep, planes > 1 ? plane : 0};
}

// Steps whose input products are made at once: more than one where the weights of the input do not stay in the second
// cache, and then as many as give results of some size.
Long steps_ahead(const Layer& l, Long weights, Long numbers) {
  const Long most = kAheadFloats / numbers < kMostAhead ? kAheadFloats / numbers : kMostAhead;
  return weights < kAheadFloats || most < 2 ? 1 : most < l.steps ? most : l.steps;
}

// Writes bias + W x of some steps, [step][panel][row][slot]: each panel of W is read once for all of them.
template <int Gates>
void project(const Packed& p, Long first, Long rows, Long t, Long steps, const Entering* x, V* into) {
  const Layer& l = *p.layer;
  constexpr Long kSlots = slots<Gates>();
  for (Long panel = 0; panel < p.panels; ++panel)
    for (Long i = 0; i < steps; ++i) {
      const Long alive = alive_at(l, t + i, first, rows), tiles = (alive + TILE - 1) / TILE;
      for (Long k = 0, r = 0, n; k < tiles; ++k, r += n) {
        n = alive / tiles + (k < alive % tiles);
        tile_of<Gates>(n, {x[i].data + r * x[i].row, x[i].row, x[i].plane}, {}, p.ih + panel * l.features * Gates * kWidth,
                       p.hh, l.features, 0, p.bias + panel * kSlots * kWidth, 0,
                       into + ((i * p.panels + panel) * rows + r) * kSlots, i * tiles + k);
      }
    }
}

template <int Gates>
void forward_block(const Packed& p, Long first, Long rows) {
  const Layer& l = *p.layer;
  constexpr Long kSlots = slots<Gates>();
  const Long wide = up(l.units, 16), plane = rows * wide, deep = up(l.features, 16), plane_x = rows * deep;
  const Long planes_h = l.mask_h.gate ? Gates : 1, planes_x = l.mask_x.gate ? Gates : 1;
  const Long across = p.panels * kSlots * kWidth;
  const Long span = steps_ahead(l, p.panels * kWidth * Gates * l.features, rows * across);
  Room state(plane), even(planes_h * plane), odd(planes_h * plane), in(span * planes_x * plane_x);
  Room ahead(span > 1 ? span * rows * across : 0);
  const Long depth = span > 1 ? 0 : l.features, start_row = span > 1 ? kSlots * kWidth : 0;
  float *entering = even.get(), *next = odd.get();
  std::memset(state.get(), 0, plane * 4);
  const float* held = l.cell == kLstm ? l.memory : l.first;
  for (Long r = 0; r < rows; ++r)
    std::memcpy(state.get() + r * wide, held + (first + r) * l.units, l.units * 4);
  mask_rows(l.first + first * l.units, l.units, l.mask_h, 0, first, rows, l.units, planes_h, plane, wide, entering);
  V pre[TILE * kSlots];
  for (Long t = 0; t < l.steps; ++t) {
    const Long alive = alive_at(l, t, first, rows);
    for (Long r = alive; r < rows; ++r) std::memset(l.out.at(t, first + r), 0, l.units * 4);
    if (!alive) continue;
    Entering x[kMostAhead]{}, h{entering, wide, planes_h > 1 ? plane : 0};
    if (t % span == 0) {
      const Long steps = l.steps - t < span ? l.steps - t : span;
      for (Long i = 0; i < steps; ++i)
        x[i] = seen(l, t + i, first, alive_at(l, t + i, first, rows), planes_x, plane_x, deep,
                    in.get() + i * planes_x * plane_x);
      if (span > 1) project<Gates>(p, first, rows, t, steps, x, reinterpret_cast<V*>(ahead.get()));
    }
    const Long tiles = (alive + TILE - 1) / TILE, each = alive / tiles, larger = alive % tiles;
    for (Long panel = 0; panel < p.panels; ++panel) {
      const float *w = p.ih + panel * l.features * Gates * kWidth, *u = p.hh + panel * l.units * Gates * kWidth;
      const Long unit = panel * kWidth;
      const float* start = span > 1 ? ahead.get() + (t % span * p.panels + panel) * rows * start_row
                                    : p.bias + panel * kSlots * kWidth;
      const bool ahead = l.mask_h.data && t + 1 < l.steps;
      Point point{l.units - unit, wide, state.get() + unit, next + unit, planes_h, plane, nullptr, l.mask_h.row,
                  l.mask_h.gate, nullptr, l.out.row, nullptr, l.mask_c.row, nullptr, nullptr, l.units,
                  l.cell == kRelu, l.capped != 0};
      for (Long k = 0, r = 0, n; k < tiles; ++k, r += n) {
        n = each + (k < larger);
        tile_of<Gates>(n, {x->data + r * x->row, x->row, x->plane}, {h.data + r * wide, wide, h.plane}, w, u, depth,
                       l.units, start + r * start_row, start_row, pre, k);
        point.out = l.out.at(t, first + r) + unit;
        if (ahead) point.mask = l.mask_h.at(t + 1, first + r) + unit;
        if (l.mask_c.data) point.read = l.mask_c.at(t, first + r) + unit;
        if (l.gates) {
          const Long row = t * l.rows + first + r;
          point.gates = l.gates + row * Gates * l.units + unit;
          if (l.extra) point.extra = l.extra + row * l.units + unit;
          point_of<Gates, true>(point, pre, n);
        } else {
          point_of<Gates, false>(point, pre, n);
        }
        point.state += n * wide, point.next += n * wide;
      }
    }
    float* swap = entering;
    entering = next, next = swap;
  }
  if (l.cell == kLstm)
    for (Long r = 0; r < rows; ++r)
      std::memcpy(l.last + (first + r) * l.units, state.get() + r * wide, l.units * 4);
}

void forward_rows(void* context, Long i) {
  auto* p = static_cast<Packed*>(context);
  Long first = i * p->block, rows = p->layer->rows - first;
  rows = rows < p->block ? rows : p->block;
  switch (p->layer->cell) {
    case kLstm: return forward_block<4>(*p, first, rows);
    case kGru: return forward_block<3>(*p, first, rows);
    default: return forward_block<1>(*p, first, rows);
  }
}

// Rows per block: as many as keep what is read again in the second cache, spread evenly over threads.
Long rows_per_block(const Layer& l, Long row_floats) {
  Long most = kBlockFloats / row_floats / TILE * TILE;
  most = most < 4 * TILE ? 4 * TILE : most;
  Long blocks = (l.rows + most - 1) / most;
  if (l.rows >= l.threads) blocks = up(blocks, l.threads);
  return (l.rows + blocks - 1) / blocks;
}

void forward(const Layer& l) {
  Long gates = kGates[l.cell], slots = l.cell == kGru ? 4 : gates, panels = (l.units + kWidth - 1) / kWidth;
  Long wide = panels * kWidth;
  Room ih(wide * gates * l.features), hh(wide * gates * l.units), bias(wide * slots);
  Packed p{&l, ih.get(), hh.get(), bias.get(), panels, rows_per_block(l, l.features + 3 * l.units)};
  spread(wide * gates * (l.features + l.units) < (1 << 16) ? 1 : l.threads, panels, pack_panel, &p);
  spread(l.threads, (l.rows + p.block - 1) / p.block, forward_rows, &p);
}
