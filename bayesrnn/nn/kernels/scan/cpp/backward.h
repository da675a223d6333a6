// A block of rows through all steps backward; included once per instruction set.

// A product with the gradients of the gates, packed in panels of `vectors` vectors: [panel][row of W][vectors * kWidth].
struct Onward {
  const float* weight;  // (gates * units, width)
  Long gates, units, width, vectors, panels;
  Long turn;            // which gate comes first
  float* packed;
  static void pack(void* context, Long panel) {
    auto* o = static_cast<Onward*>(context);
    const Long across = o->vectors * kWidth, from = panel * across, depth = o->gates * o->units;
    const Long size = o->width - from < across ? o->width - from : across;
    float* into = o->packed + panel * depth * across;
    for (Long k = 0; k < depth; ++k, into += across) {
      Long gate = (k / o->units + o->turn) % o->gates, row = gate * o->units + k % o->units;
      std::memcpy(into, o->weight + row * o->width + from, size * 4);
      std::memset(into + size, 0, (across - size) * 4);
    }
  }
};

template <int Rows, int Vectors>
__attribute__((noinline)) void back_tile(const float* d, Long row, const float* w, Long depth, V* out, Long turn) {
  V sum[Rows][Vectors]{};
  const char* ahead = reinterpret_cast<const char*>(w + depth * Vectors * kWidth) + turn * depth * 64;
  for (Long k = 0; k < depth; ++k, w += Vectors * kWidth, ahead += 64) {
    __builtin_prefetch(ahead, 0, 2);
    V b[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) b[v] = load(w + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      V one = all(d[r * row + k]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[r][v] += one * b[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) out[r * Vectors + v] = sum[r][v];
}

template <int Vectors>
INLINE void back_tile_of(Long rows, const float* d, Long row, const float* w, Long depth, V* out, Long turn) {
  switch (rows) {
    case 1: return back_tile<1, Vectors>(d, row, w, depth, out, turn);
    case 2: return back_tile<2, Vectors>(d, row, w, depth, out, turn);
    case 3: return back_tile<3, Vectors>(d, row, w, depth, out, turn);
#if TILE > 3
    case 4: return back_tile<4, Vectors>(d, row, w, depth, out, turn);
#endif
#if TILE > 4
    case 5: return back_tile<5, Vectors>(d, row, w, depth, out, turn);
    case 6: return back_tile<6, Vectors>(d, row, w, depth, out, turn);
#endif
  }
}

// Where the gradient of what entered a product goes: rows of a step, under the product's mask.
struct Target {
  float* data;
  Long row;
  const Strided* mask;
  Long t, first;
  bool add;
};

template <int Vectors>
void through_panels(const Onward& o, const float* d, Long d_row, Long rows, const Target& to, Long from, Long until) {
  const Long planes = to.mask->gate ? o.gates : 1, depth = o.gates * o.units / planes, across = Vectors * kWidth;
  const Long tiles = (rows + TILE - 1) / TILE, each = rows / tiles, larger = rows % tiles;
  V sum[TILE * Vectors];
  for (Long panel = from; panel < until; ++panel)
    for (Long g = 0; g < planes; ++g) {
      const float* w = o.packed + (panel * planes + g) * depth * across;
      const Long gate = planes > 1 ? (g + o.turn) % o.gates : 0;
      for (Long k = 0, r = 0, n; k < tiles; ++k, r += n) {
        n = each + (k < larger);
        back_tile_of<Vectors>(n, d + r * d_row + g * depth, d_row, w, depth, sum, k);
        for (Long i = 0; i < n; ++i) {
          const float* mask = to.mask->data ? to.mask->at(to.t, to.first + r + i, gate) : nullptr;
          float* out = to.data + (r + i) * to.row;
          for (Long v = 0, u = panel * across; v < Vectors && u < o.width; ++v, u += kWidth) {
            V value = sum[i * Vectors + v];
            if (mask) value *= load(mask + u, o.width - u);
            if (to.add || g) value += load(out + u, o.width - u);
            store(out + u, value, o.width - u);
          }
        }
      }
    }
}

void through(const Onward& o, const float* d, Long d_row, Long rows, const Target& to, Long from, Long until) {
  if (o.vectors == 1) through_panels<1>(o, d, d_row, rows, to, from, until);
  else if (o.vectors == 2) through_panels<2>(o, d, d_row, rows, to, from, until);
  else through_panels<4>(o, d, d_row, rows, to, from, until);
}

// A row at one step: gradients that arrive, and where the gradients of the gates go.
struct Back {
  const Layer* l;
  Long t, row, wide;
  float *arrived, *carried, *d;  // of h, and of c
};

INLINE V arriving(const Back& b, Long u, Long lanes) {
  V total = load(b.arrived + u);
  return b.l->grad_out.data ? total + load(b.l->grad_out.at(b.t, b.row) + u, lanes) : total;
}

void lstm_back(const Back& b) {
  const Layer& l = *b.l;
  const Long at = b.t * l.rows + b.row, units = l.units;
  const float *kept = l.gates + at * 4 * units, *c = l.extra + at * units;
  const float* before = b.t ? c - l.rows * units : l.memory + b.row * units;
  const float* read = l.mask_c.data ? l.mask_c.at(b.t, b.row) : nullptr;
  for (Long u = 0; u < units; u += kWidth) {
    const Long n = units - u;
    V i = load(kept + u, n), f = load(kept + units + u, n), g = load(kept + 2 * units + u, n);
    V o = load(kept + 3 * units + u, n), m = read ? load(read + u, n) : all(1.0f);
    V total = arriving(b, u, n), y = tanh_of_twice(load(c + u, n) * (m + m));
    V memory = total * o * m * (1.0f - y * y) + load(b.carried + u);
    store(b.carried + u, memory * f);
    V past = load(before + u, n), by_i = g;
    if (l.capped) {  // where i = 1 - f, it is the forget gate that moves i
      past = i < 1.0f - f ? past : past - g;
      by_i = i < 1.0f - f ? g : V{};
    }
    store(b.d + u, memory * by_i * i * (1.0f - i), n);
    store(b.d + units + u, memory * past * f * (1.0f - f), n);
    store(b.d + 2 * units + u, memory * i * (1.0f - g * g), n);
    store(b.d + 3 * units + u, total * y * o * (1.0f - o), n);
  }
}

void gru_back(const Back& b) {
  const Layer& l = *b.l;
  const Long at = b.t * l.rows + b.row, units = l.units;
  const float *kept = l.gates + at * 3 * units, *inner = l.extra + at * units;
  const float* before = b.t ? l.out.at(b.t - 1, b.row) : l.first + b.row * units;
  for (Long u = 0; u < units; u += kWidth) {
    const Long k = units - u;
    V reset = load(kept + u, k), z = load(kept + units + u, k), n = load(kept + 2 * units + u, k);
    V total = arriving(b, u, k), by_n = total * (1.0f - z) * (1.0f - n * n);
    store(b.arrived + u, total * z);
    store(b.d + u, by_n, k);
    store(b.d + units + u, by_n * load(inner + u, k) * reset * (1.0f - reset), k);
    store(b.d + 2 * units + u, total * (load(before + u, k) - n) * z * (1.0f - z), k);
    store(b.d + 3 * units + u, by_n * reset, k);
  }
}

void rnn_back(const Back& b) {
  const Layer& l = *b.l;
  const float* kept = l.gates + (b.t * l.rows + b.row) * l.units;
  for (Long u = 0; u < l.units; u += kWidth) {
    V h = load(kept + u, l.units - u), total = arriving(b, u, l.units - u);
    store(b.d + u, l.cell == kTanh ? total * (1.0f - h * h) : h > 0.0f ? total : V{}, l.units - u);
  }
}

struct BackPacked {
  const Layer* layer;
  Onward ih, hh;
  Long block;
};

void backward_rows(void* context, Long index) {
  auto* p = static_cast<BackPacked*>(context);
  const Layer& l = *p->layer;
  const Long first = index * p->block, rows = l.rows - first < p->block ? l.rows - first : p->block;
  const Long wide = up(l.units, 16), row = kBlocks[l.cell] * l.units;
  const Long span = steps_ahead(l, kGates[l.cell] * l.units * l.features, rows * row), chunk = span > 1 ? 1 : p->ih.panels;
  Room arrived(rows * wide), carried(rows * wide);
  std::memset(arrived.get(), 0, rows * wide * 4);
  std::memset(carried.get(), 0, rows * wide * 4);
  if (l.grad_last)
    for (Long r = 0; r < rows; ++r)
      std::memcpy(carried.get() + r * wide, l.grad_last + (first + r) * l.units, l.units * 4);
  for (Long t = l.steps - 1; t >= 0; --t) {
    const Long alive = alive_at(l, t, first, rows);
    float* d = l.blocks + (t * l.rows + first) * row;
    std::memset(d + alive * row, 0, (rows - alive) * row * 4);
    if (l.grad_x.data)
      for (Long r = alive; r < rows; ++r) std::memset(l.grad_x.at(t, first + r), 0, l.features * 4);
    for (Long r = 0; r < alive; ++r) {
      Back b{&l, t, first + r, wide, arrived.get() + r * wide, carried.get() + r * wide, d + r * row};
      if (l.cell == kLstm) lstm_back(b);
      else if (l.cell == kGru) gru_back(b);
      else rnn_back(b);
    }
    const float* recurrent = d + (l.cell == kGru ? l.units : 0);
    if (alive)
      through(p->hh, recurrent, row, alive, {arrived.get(), wide, &l.mask_h, t, first, l.cell == kGru}, 0, p->hh.panels);
    if (!l.grad_x.data || t % span) continue;
    for (Long panel = 0; panel < p->ih.panels; panel += chunk)  // each is read once for some steps
      for (Long s = t; s < t + span && s < l.steps; ++s)
        if (const Long n = alive_at(l, s, first, rows))
          through(p->ih, d + (s - t) * l.rows * row, row, n,
                  {l.grad_x.at(s, first), l.grad_x.row, &l.mask_x, s, first, false}, panel, panel + chunk);
  }
  for (Long r = 0; r < rows; ++r) {
    std::memcpy(l.grad_h + (first + r) * l.units, arrived.get() + r * wide, l.units * 4);
    if (l.grad_c) std::memcpy(l.grad_c + (first + r) * l.units, carried.get() + r * wide, l.units * 4);
  }
}

Onward onward(const Layer& l, const float* weight, Long width, Long turn) {
  Long vectors = width <= kWidth ? 1 : width <= 2 * kWidth ? 2 : 4, across = vectors * kWidth;
  return {weight, kGates[l.cell], l.units, width, vectors, (width + across - 1) / across, turn, nullptr};
}

void backward(const Layer& l) {
  BackPacked p{&l, onward(l, l.ih, l.features, l.cell == kGru ? 2 : 0), onward(l, l.hh, l.units, 0), 0};
  p.block = rows_per_block(l, l.features + (kBlocks[l.cell] + 3) * l.units);
  const Long depth = kGates[l.cell] * l.units, threads = depth * (l.features + l.units) < (1 << 16) ? 1 : l.threads;
  Room ih(l.grad_x.data ? p.ih.panels * p.ih.vectors * kWidth * depth : 0);
  Room hh(p.hh.panels * p.hh.vectors * kWidth * depth);
  p.ih.packed = ih.get(), p.hh.packed = hh.get();
  if (l.grad_x.data) spread(threads, p.ih.panels, Onward::pack, &p.ih);
  spread(threads, p.hh.panels, Onward::pack, &p.hh);
  spread(l.threads, (l.rows + p.block - 1) / p.block, backward_rows, &p);
}
