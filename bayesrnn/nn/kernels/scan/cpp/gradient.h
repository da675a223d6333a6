// Gradients of weights: what entered a product, under its masks, times the gradients of gates, summed over steps and
// rows; included once per instruction set.

// Some rows of W: those that belong to `count` columns of the gates' gradients, `column` being the first.
struct Part {
  const Layer* l;
  float* out;
  Long width, gate, column, count;
  bool hidden;

  const float* entering(Long t, Long r) const {
    return !hidden ? l->x.at(t, r) : t ? l->out.at(t - 1, r) : l->first + r * l->units;
  }
  const float* mask(Long t, Long r) const {
    const Strided& m = hidden ? l->mask_h : l->mask_x;
    return m.data ? m.at(t, r, gate) : nullptr;
  }
};

constexpr Long kDepth = 256, kColumns = 384;  // of gradients that stay in the second cache

template <int Rows, int Vectors>
__attribute__((noinline)) void outer_tile(const float* d, Long stride, const float* e, Long depth, bool add, float* out,
                                          Long width, Long lanes) {
  V sum[Rows][Vectors]{};
  for (Long k = 0; k < depth; ++k, e += Vectors * kWidth, d += stride) {
    V b[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) b[v] = load(e + v * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      V one = all(d[r]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[r][v] += one * b[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      const Long left = lanes - v * kWidth;
      if (left <= 0) continue;
      float* to = out + r * width + v * kWidth;
      store(to, add ? load(to, left) + sum[r][v] : sum[r][v], left);
    }
}

template <int Vectors>
INLINE void outer_tile_of(Long rows, const float* d, Long stride, const float* e, Long depth, bool add, float* out,
                          Long width, Long lanes) {
  switch (rows) {
    case 1: return outer_tile<1, Vectors>(d, stride, e, depth, add, out, width, lanes);
    case 2: return outer_tile<2, Vectors>(d, stride, e, depth, add, out, width, lanes);
    case 3: return outer_tile<3, Vectors>(d, stride, e, depth, add, out, width, lanes);
#if TILE > 3
    case 4: return outer_tile<4, Vectors>(d, stride, e, depth, add, out, width, lanes);
#endif
#if TILE > 4
    case 5: return outer_tile<5, Vectors>(d, stride, e, depth, add, out, width, lanes);
    case 6: return outer_tile<6, Vectors>(d, stride, e, depth, add, out, width, lanes);
#endif
  }
}

template <int Vectors>
void outer(const Part& p) {
  constexpr Long kAcross = Vectors * kWidth;
  const Layer& l = *p.l;
  const Long panels = (p.width + kAcross - 1) / kAcross, total = l.steps * l.rows, stride = kBlocks[l.cell] * l.units;
  const Long tiles = (p.count + TILE - 1) / TILE, each = p.count / tiles, larger = p.count % tiles;
  Room room(panels * kAcross * (total < kDepth ? total : kDepth));
  for (Long start = 0; start < total; start += kDepth) {
    const Long depth = total - start < kDepth ? total - start : kDepth;
    for (Long k = 0, t = start / l.rows, r = start % l.rows; k < depth; ++k) {
      const float *from = p.entering(t, r), *mask = p.mask(t, r);
      for (Long n = 0; n < panels * kAcross; n += kWidth) {
        V value = n < p.width ? load(from + n, p.width - n) : V{};
        if (mask && n < p.width) value *= load(mask + n, p.width - n);
        store(room.get() + (n / kAcross * depth + k) * kAcross + n % kAcross, value);
      }
      if (++r == l.rows) r = 0, ++t;
    }
    for (Long panel = 0; panel < panels; ++panel) {
      const float* e = room.get() + panel * depth * kAcross;
      const float* d = l.blocks + start * stride + p.column;
      float* out = p.out + panel * kAcross;
      for (Long k = 0, n; k < tiles; ++k, d += n, out += n * p.width) {
        n = each + (k < larger);
        outer_tile_of<Vectors>(n, d, stride, e, depth, start > 0, out, p.width, p.width - panel * kAcross);
      }
    }
  }
}

void outer_part(void* context, Long i) {
  const Part& p = (*static_cast<std::vector<Part>*>(context))[i];
  if (p.width <= kWidth) outer<1>(p);
  else if (p.width <= 2 * kWidth) outer<2>(p);
  else outer<4>(p);
}

// Adds the parts of one weight: gates under one mask in one piece, then cut so that each thread has work.
void add_parts(std::vector<Part>& parts, const Layer& l, bool hidden) {
  const Long gates = kGates[l.cell], width = hidden ? l.units : l.features, units = l.units;
  const bool apart = (hidden ? l.mask_h : l.mask_x).gate != 0, gru = l.cell == kGru;
  for (Long g = 0, run; g < gates; g += run) {
    run = apart ? 1 : gru && !hidden ? (g ? 1 : 2) : gates;
    const Long block = !gru ? g : hidden ? g + 1 : (g + 1) % 3, count = run * units;
    Long pieces = (count + kColumns - 1) / kColumns, least = (count + 31) / 32;
    if (pieces < l.threads) pieces = l.threads < least ? l.threads : least;
    for (Long k = 0; k < pieces; ++k) {
      const Long from = count * k / pieces, to = count * (k + 1) / pieces;
      float* out = (hidden ? l.grad_hh : l.grad_ih) + (g * units + from) * width;
      parts.push_back({&l, out, width, g, block * units + from, to - from, hidden});
    }
  }
}

void weight_gradient(const Layer& l) {
  std::vector<Part> parts;
  add_parts(parts, l, false);
  add_parts(parts, l, true);
  spread(l.threads, static_cast<Long>(parts.size()), outer_part, &parts);
}
