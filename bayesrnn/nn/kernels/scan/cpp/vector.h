// A vector of `kWidth` floats; included once per instruction set.

typedef float V __attribute__((vector_size(kWidth * 4)));
typedef float Loose __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(kWidth * 4)));

INLINE V all(float x) { return x - V{}; }
INLINE V load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
INLINE void store(float* p, V v) { *reinterpret_cast<Loose*>(p) = v; }

// The first `lanes` numbers; the rest are 0 or stay as they are.
INLINE V load(const float* p, Long lanes) {
  if (lanes >= kWidth) return load(p);
#if TILE == 6
  return (V)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1), p);
#else
  V v{};
  for (Long j = 0; j < lanes; ++j) v[j] = p[j];
  return v;
#endif
}
INLINE void store(float* p, V v, Long lanes) {
  if (lanes >= kWidth) return store(p, v);
#if TILE == 6
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << lanes) - 1), (__m512)v);
#else
  for (Long j = 0; j < lanes; ++j) p[j] = v[j];
#endif
}

INLINE V within(V x, float bound) {  // NaN stays NaN
#if TILE == 6
  return (V)_mm512_max_ps((__m512)all(-bound), _mm512_min_ps((__m512)all(bound), (__m512)x));
#elif TILE == 3
  return (V)_mm256_max_ps((__m256)all(-bound), _mm256_min_ps((__m256)all(bound), (__m256)x));
#else
  x = x > bound ? all(bound) : x;
  return x < -bound ? all(-bound) : x;
#endif
}

// exp(x) = scale * (1 + more), relative error 1e-7, with |x| held below 40, where neither sigmoid nor tanh changes in
// float32; NaN stays NaN. The polynomial of degree 6 was fitted to exp over half of log(2).
struct Exponential {
  V scale, more;
  INLINE V value() const { return scale * more + scale; }
  INLINE V less_one() const { return scale * more + (scale - 1.0f); }
};

INLINE Exponential exponential(V x) {
  x = within(x, 40.0f);
  V shifted = x * 1.44269504f + 12582912.0f;  // its last bits are the nearest whole number
  V n = shifted - 12582912.0f, r = x - n * 0.693147182f;
  V p = r * 1.381432055e-3f + 8.368851617e-3f;
  p = p * r + 4.166840017e-2f;
  p = p * r + 1.666651964e-1f;
  p = p * r + 4.999999404e-1f;
  return {(V)((Bits)all(1.0f) + ((Bits)shifted << 23)), p * (r * r) + r};
}

// Of minus and of twice the argument: what weights are scaled to for the gates, exactly.
INLINE V sigmoid_of_minus(V x) { return 1.0f / (1.0f + exponential(x).value()); }
INLINE V tanh_of_twice(V x) {
  V e = exponential(x).less_one();
  return e / (e + 2.0f);
}
