// The pointwise part of a step, fused: what lies between two matrix products is one pass over memory.
//
// Everything is float32 but products, which may be bfloat16. A product has the strides (row, gate), its units are
// contiguous; all other tensors are contiguous in rows and units. Gates: i f g o of an LSTM, r z n of a GRU; gradients
// of a GRU: n r z u, u the recurrent part of the candidate.

#include "arithmetic.h"

namespace {

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

inline float hyperbolic(float x) {  // tanh; an odd polynomial near 0, where the quotient would lose digits
  float s = x * x;
  float p = -5.70498872745e-3f;
  p = __builtin_fmaf(p, s, 2.06390887954e-2f);
  p = __builtin_fmaf(p, s, -5.37397155531e-2f);
  p = __builtin_fmaf(p, s, 1.33314422036e-1f);
  p = __builtin_fmaf(p, s, -3.33332819422e-1f);
  float small = __builtin_fmaf(p * s, x, x);
  float large = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
  return (x < 0.625f && x > -0.625f) ? small : large;
}

template <class T>
struct Product {
  const T* data;
  Long row, gate;
};

// What enters the next product: h * mask, in bfloat16; nothing where `data` is null.
struct Next {
  Low* data;
  const float* mask;
  Long mask_row;
  void fill(const float* h, Long r, Long units) const {
    Low* into = data + r * units;
    const float* m = mask + r * mask_row;
#pragma omp simd
    for (Long j = 0; j < units; ++j) into[j] = narrow(h[j] * m[j]);
  }
};

// The mask under which a memory cell is read; `row` is 0 where all rows share it.
struct Read {
  const float* mask;
  Long row;
};

template <class P, class A, bool Keep>
void lstm_forward(Long rows, Long units, Product<P> pre, Product<A> add, const float* bias, const float* c_old,
                  float* c_new, float* h, float* act, Read read, Next next) {
#pragma omp parallel for schedule(static) if (rows * units > 4096)
  for (Long r = 0; r < rows; ++r) {
    const P *p0 = pre.data + r * pre.row, *p1 = p0 + pre.gate, *p2 = p1 + pre.gate, *p3 = p2 + pre.gate;
    const A *a0 = add.data + r * add.row, *a1 = a0 + add.gate, *a2 = a1 + add.gate, *a3 = a2 + add.gate;
    const float *b0 = bias, *b1 = bias + units, *b2 = bias + 2 * units, *b3 = bias + 3 * units;
    const float* old = c_old + r * units;
    const float* m = read.mask + r * read.row;
    float *c = c_new + r * units, *out = h + r * units, *kept = Keep ? act + 4 * r * units : nullptr;
#pragma omp simd
    for (Long j = 0; j < units; ++j) {
      float i = sigmoid(wide(p0[j]) + wide(a0[j]) + b0[j]);
      float f = sigmoid(wide(p1[j]) + wide(a1[j]) + b1[j]);
      float g = hyperbolic(wide(p2[j]) + wide(a2[j]) + b2[j]);
      float o = sigmoid(wide(p3[j]) + wide(a3[j]) + b3[j]);
      float now = __builtin_fmaf(f, old[j], i * g);
      c[j] = now;
      out[j] = o * hyperbolic(now * m[j]);
      if (Keep) {
        kept[j] = i;
        kept[units + j] = f;
        kept[2 * units + j] = g;
        kept[3 * units + j] = o;
      }
    }
    if (next.data) next.fill(out, r, units);
  }
}

template <class P, class A, bool Keep>
void gru_forward(Long rows, Long units, Product<P> pre, Product<A> add, const float* bias, const float* again,
                 const float* old_h, float* h, float* act, float* extra, Next next) {
#pragma omp parallel for schedule(static) if (rows * units > 4096)
  for (Long r = 0; r < rows; ++r) {
    const P *p0 = pre.data + r * pre.row, *p1 = p0 + pre.gate, *p2 = p1 + pre.gate;
    const A *a0 = add.data + r * add.row, *a1 = a0 + add.gate, *a2 = a1 + add.gate;
    const float *b0 = bias, *b1 = bias + units, *b2 = bias + 2 * units;
    const float *d0 = again, *d1 = again + units, *d2 = again + 2 * units;
    const float* old = old_h + r * units;
    float *out = h + r * units, *kept = Keep ? act + 3 * r * units : nullptr, *more = Keep ? extra + r * units : nullptr;
#pragma omp simd
    for (Long j = 0; j < units; ++j) {
      float reset = sigmoid(wide(p0[j]) + b0[j] + wide(a0[j]) + d0[j]);
      float z = sigmoid(wide(p1[j]) + b1[j] + wide(a1[j]) + d1[j]);
      float u = wide(a2[j]) + d2[j];
      float n = hyperbolic(__builtin_fmaf(reset, u, wide(p2[j]) + b2[j]));
      out[j] = __builtin_fmaf(z, old[j] - n, n);
      if (Keep) {
        kept[j] = reset;
        kept[units + j] = z;
        kept[2 * units + j] = n;
        more[j] = u;
      }
    }
    if (next.data) next.fill(out, r, units);
  }
}

// The gradient of h that arrives: (through the next step's product) * mask + what the output's gradient is.
template <class R>
struct Arriving {
  const R* raw;
  const float *mask, *out;
  Long mask_row;
};

template <class R, bool Narrow>
void lstm_backward(Long rows, Long units, const float* act, const float* c_new, const float* c_old, Read read,
                   Arriving<R> in, float* dc, float* gradient, Low* low) {
#pragma omp parallel for schedule(static) if (rows * units > 4096)
  for (Long r = 0; r < rows; ++r) {
    Long here = r * units;
    const float *i = act + 4 * here, *f = i + units, *g = f + units, *o = g + units;
    const float *c = c_new + here, *before = c_old + here, *mask = in.mask + r * in.mask_row, *out = in.out + here;
    const float* m = read.mask + r * read.row;
    const R* raw = in.raw + here;
    float *back = dc + here, *d = gradient + 4 * here;
    Low* dl = Narrow ? low + 4 * here : nullptr;
#pragma omp simd
    for (Long j = 0; j < units; ++j) {
      float total = __builtin_fmaf(wide(raw[j]), mask[j], out[j]);
      float t = hyperbolic(c[j] * m[j]);
      float memory = __builtin_fmaf(total * o[j] * m[j], 1.0f - t * t, back[j]);
      float di = memory * g[j] * i[j] * (1.0f - i[j]);
      float df = memory * before[j] * f[j] * (1.0f - f[j]);
      float dg = memory * i[j] * (1.0f - g[j] * g[j]);
      float dd = total * t * o[j] * (1.0f - o[j]);
      back[j] = memory * f[j];
      d[j] = di;
      d[units + j] = df;
      d[2 * units + j] = dg;
      d[3 * units + j] = dd;
      if (Narrow) {
        dl[j] = narrow(di);
        dl[units + j] = narrow(df);
        dl[2 * units + j] = narrow(dg);
        dl[3 * units + j] = narrow(dd);
      }
    }
  }
}

template <class R, bool Narrow>
void gru_backward(Long rows, Long units, const float* act, const float* extra, const float* old_h, Arriving<R> in,
                  float* direct, float* gradient, Low* low) {
#pragma omp parallel for schedule(static) if (rows * units > 4096)
  for (Long r = 0; r < rows; ++r) {
    Long here = r * units;
    const float *reset = act + 3 * here, *z = reset + units, *n = z + units, *u = extra + here, *old = old_h + here;
    const float *mask = in.mask + r * in.mask_row, *out = in.out + here;
    const R* raw = in.raw + here;
    float *back = direct + here, *d = gradient + 4 * here;
    Low* dl = Narrow ? low + 4 * here : nullptr;
#pragma omp simd
    for (Long j = 0; j < units; ++j) {
      float total = __builtin_fmaf(wide(raw[j]), mask[j], out[j]) + back[j];
      float dn = total * (1.0f - z[j]) * (1.0f - n[j] * n[j]);
      float dr = dn * u[j] * reset[j] * (1.0f - reset[j]);
      float dz = total * (old[j] - n[j]) * z[j] * (1.0f - z[j]);
      float du = dn * reset[j];
      back[j] = total * z[j];
      d[j] = dn;
      d[units + j] = dr;
      d[2 * units + j] = dz;
      d[3 * units + j] = du;
      if (Narrow) {
        dl[j] = narrow(dn);
        dl[units + j] = narrow(dr);
        dl[2 * units + j] = narrow(dz);
        dl[3 * units + j] = narrow(du);
      }
    }
  }
}

// x * mask in bfloat16, of (steps, rows, units); strides of the mask are 0 where it is shared.
void masked(Long steps, Long rows, Long units, const float* x, const float* mask, Long mask_step, Long mask_row,
            Low* out) {
#pragma omp parallel for schedule(static) if (steps * rows * units > 4096)
  for (Long n = 0; n < steps * rows; ++n) {
    const float *from = x + n * units, *m = mask + n / rows * mask_step + n % rows * mask_row;
    Low* into = out + n * units;
#pragma omp simd
    for (Long j = 0; j < units; ++j) into[j] = narrow(from[j] * m[j]);
  }
}

}  // namespace


extern "C" {

void bayesrnn_masked(Long steps, Long rows, Long units, const float* x, const float* mask, Long mask_step,
                     Long mask_row, Low* out) {
  masked(steps, rows, units, x, mask, mask_step, mask_row, out);
}

// `low_pre` and `low_add` say whether a product is bfloat16.
void bayesrnn_lstm_forward(Long rows, Long units, const void* pre, Long pre_row, Long pre_gate, int low_pre,
                           const void* add, Long add_row, Long add_gate, int low_add, const float* bias,
                           const float* c_old, float* c_new, float* h, float* act, const float* read, Long read_row,
                           Low* next, const float* mask, Long mask_row) {
#define CALL(P, A, KEEP)                                                                                             \
  lstm_forward<P, A, KEEP>(rows, units, {static_cast<const P*>(pre), pre_row, pre_gate},                             \
                           {static_cast<const A*>(add), add_row, add_gate}, bias, c_old, c_new, h, act,          \
                           {read, read_row}, {next, mask, mask_row})
  if (low_pre && low_add) act ? CALL(Low, Low, true) : CALL(Low, Low, false);
  else if (low_pre) act ? CALL(Low, float, true) : CALL(Low, float, false);
  else if (low_add) act ? CALL(float, Low, true) : CALL(float, Low, false);
  else act ? CALL(float, float, true) : CALL(float, float, false);
#undef CALL
}

void bayesrnn_gru_forward(Long rows, Long units, const void* pre, Long pre_row, Long pre_gate, int low_pre,
                          const void* add, Long add_row, Long add_gate, int low_add, const float* bias,
                          const float* again, const float* old_h, float* h, float* act, float* extra, Low* next,
                          const float* mask, Long mask_row) {
#define CALL(P, A, KEEP)                                                                                             \
  gru_forward<P, A, KEEP>(rows, units, {static_cast<const P*>(pre), pre_row, pre_gate},                              \
                          {static_cast<const A*>(add), add_row, add_gate}, bias, again, old_h, h, act, extra,    \
                          {next, mask, mask_row})
  if (low_pre && low_add) act ? CALL(Low, Low, true) : CALL(Low, Low, false);
  else if (low_pre) act ? CALL(Low, float, true) : CALL(Low, float, false);
  else if (low_add) act ? CALL(float, Low, true) : CALL(float, Low, false);
  else act ? CALL(float, float, true) : CALL(float, float, false);
#undef CALL
}

void bayesrnn_lstm_backward(Long rows, Long units, const float* act, const float* c_new, const float* c_old,
                            const float* read, Long read_row, const void* raw, int low_raw, const float* mask,
                            Long mask_row, const float* out, float* dc, float* gradient, Low* low) {
#define CALL(R, N)                                                                                                   \
  lstm_backward<R, N>(rows, units, act, c_new, c_old, Read{read, read_row},                                          \
                      Arriving<R>{static_cast<const R*>(raw), mask, out, mask_row}, dc, gradient, low)
  if (low_raw) low ? CALL(Low, true) : CALL(Low, false);
  else low ? CALL(float, true) : CALL(float, false);
#undef CALL
}

void bayesrnn_gru_backward(Long rows, Long units, const float* act, const float* extra, const float* old_h,
                           const void* raw, int low_raw, const float* mask, Long mask_row, const float* out,
                           float* direct, float* gradient, Low* low) {
#define CALL(R, N)                                                                                                   \
  gru_backward<R, N>(rows, units, act, extra, old_h, Arriving<R>{static_cast<const R*>(raw), mask, out, mask_row},   \
                     direct, gradient, low)
  if (low_raw) low ? CALL(Low, true) : CALL(Low, false);
  else low ? CALL(float, true) : CALL(float, false);
#undef CALL
}
}
