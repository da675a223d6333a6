// Matrix products whose sums stay in registers; included once per instruction set.

// What enters a product: rows of numbers, in one plane per gate where gates have masks of their own.
struct Entering {
  const float* data;
  Long row, plane;
};

// Packs W (gates * units, depth) into panels [unit / kWidth][depth][gate][kWidth], zeros beyond the last unit. A gate's
// weights are scaled by -1 or 2, so that its sum is what the exponential of a sigmoid or a tanh takes.
void pack_gates(const float* w, Long gates, Long units, Long depth, const float* scales, Long panel, float* into) {
  constexpr Long kDeep = 16;  // as many cache lines per gate as stay close at hand
  into += panel * depth * gates * kWidth;
  for (Long from = 0; from < depth; from += kDeep)
    for (Long g = 0; g < gates; ++g)
      for (Long j = 0; j < kWidth; ++j) {
        const Long unit = panel * kWidth + j, to = depth - from < kDeep ? depth : from + kDeep;
        const float *row = w + (g * units + unit) * depth, scale = scales[g];
        float* at = into + g * kWidth + j;
        for (Long k = from; k < to; ++k) at[k * gates * kWidth] = unit < units ? scale * row[k] : 0.0f;
      }
}

// Where the sum of gate g goes: a GRU keeps the two parts of its candidate apart.
template <int Gates, bool Hidden>
constexpr int slot(int g) { return Gates == 3 && Hidden && g == 2 ? 3 : g; }
template <int Gates>
constexpr int slots() { return Gates == 3 ? 4 : Gates; }

template <int Rows, int Gates, bool Hidden, bool Untied>
INLINE void add_product(V (&sum)[Rows][slots<Gates>()], Entering a, const float* w, Long depth, const char* ahead) {
  for (Long k = 0; k < depth; ++k, w += Gates * kWidth, ahead += 64) {
    __builtin_prefetch(ahead, 0, 2);
    V b[Gates];
#pragma GCC unroll 8
    for (int g = 0; g < Gates; ++g) b[g] = load(w + g * kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const float* at = a.data + r * a.row + k;
      V v = all(*at);
#pragma GCC unroll 8
      for (int g = 0; g < Gates; ++g) {
        if (Untied) v = all(at[g * a.plane]);
        sum[r][slot<Gates, Hidden>(g)] += v * b[g];
      }
    }
  }
}

// Writes start + W x + U h of some rows and the units of one panel to `pre`, [row][slot]; a `start` of row stride 0 is
// the bias. The tiles of a panel take turns in calling for the next one, which large weights have further away than the
// second cache.
template <int Rows, int Gates>
__attribute__((noinline)) void tile(Entering x, Entering h, const float* w, const float* u, Long features, Long units,
                                    const float* start, Long start_row, V* pre, Long turn) {
  constexpr int kSlots = slots<Gates>();
  V sum[Rows][kSlots];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int s = 0; s < kSlots; ++s) sum[r][s] = load(start + r * start_row + s * kWidth);
  const char* next_w = reinterpret_cast<const char*>(w + features * Gates * kWidth) + turn * features * 64;
  const char* next_u = reinterpret_cast<const char*>(u + units * Gates * kWidth) + turn * units * 64;
  if (x.plane) add_product<Rows, Gates, false, true>(sum, x, w, features, next_w);
  else add_product<Rows, Gates, false, false>(sum, x, w, features, next_w);
  if (h.plane) add_product<Rows, Gates, true, true>(sum, h, u, units, next_u);
  else add_product<Rows, Gates, true, false>(sum, h, u, units, next_u);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int s = 0; s < kSlots; ++s) pre[r * kSlots + s] = sum[r][s];
}

template <int Gates>
INLINE void tile_of(Long rows, Entering x, Entering h, const float* w, const float* u, Long features, Long units,
                    const float* start, Long start_row, V* pre, Long turn) {
  switch (rows) {
    case 1: return tile<1, Gates>(x, h, w, u, features, units, start, start_row, pre, turn);
    case 2: return tile<2, Gates>(x, h, w, u, features, units, start, start_row, pre, turn);
    case 3: return tile<3, Gates>(x, h, w, u, features, units, start, start_row, pre, turn);
#if TILE > 3
    case 4: return tile<4, Gates>(x, h, w, u, features, units, start, start_row, pre, turn);
    case 5: return tile<5, Gates>(x, h, w, u, features, units, start, start_row, pre, turn);
    case 6: return tile<6, Gates>(x, h, w, u, features, units, start, start_row, pre, turn);
#endif
  }
}
