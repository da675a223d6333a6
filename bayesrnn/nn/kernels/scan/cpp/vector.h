// A vector of floats, included once per instruction set: `kWidth` numbers per vector, `kTile` rows per tile.



typedef float V __attribute__((vector_size(kWidth * 4)));
typedef float Loose __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(kWidth * 4)));

INLINE V all(float x) { return x - V{}; }
INLINE V load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
INLINE void store(float* p, V v) { *reinterpret_cast<Loose*>(p) = v; }

// The first `lanes` numbers; the rest are 0 or stay as they are.
INLINE V load(const float* p, Long lanes) {
  if (lanes >= kWidth) return load(p);
  V v{};
  for (Long j = 0; j < lanes; ++j) v[j] = p[j];
  return v;
}
INLINE void store(float* p, V v, Long lanes) {
  if (lanes >= kWidth) return store(p, v);
  for (Long j = 0; j < lanes; ++j) p[j] = v[j];
}

// exp(x) = scale * (1 + more) with |x| held below 40, where neither sigmoid nor tanh changes in float32; NaN stays NaN.
struct Exponential {
  V scale, more;
  V value() const { return scale * more + scale; }
  V less_one() const { return scale * more + (scale - 1.0f); }
};

INLINE Exponential exponential(V x) {
  const V most = all(40.0f), least = all(-40.0f), magic = all(12582912.0f);
  x = x > most ? most : x;
  x = x < least ? least : x;
  V shifted = x * 1.44269504f + magic;  // its last bits are the nearest whole number
  V n = shifted - magic;
  V r = n * -0.693359375f + x;
  r = n * 2.12194440e-4f + r;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  Bits one = (Bits)all(1.0f);
  return {(V)(one + ((Bits)shifted << 23)), p};
}

INLINE V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x).value()); }
INLINE V hyperbolic(V x) {
  V e = exponential(x + x).less_one();
  return e / (e + 2.0f);
}
