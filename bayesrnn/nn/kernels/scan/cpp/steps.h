// The pointwise part of a step with bfloat16 products: what lies between two matrix products is one pass over memory.
//
// States, gates and gradients are float32 and contiguous. A product has the strides (row, gate), its units are
// contiguous. Gates: i f g o of an LSTM, r z n of a GRU; gradients of a GRU: n r z u, u the recurrent part of the
// candidate. Once per instruction set.

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE float hyperbolic(float x) {  // tanh; an odd polynomial near 0, where the quotient would lose digits
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

struct Product {
  const Low* data;
  Long row, gate;
  const Low* at(Long r, Long g) const { return data + r * row + g * gate; }
};

struct Step {
  Long units;
  Product pre, add;
  const float *bias, *again;         // again: of a GRU's recurrent product
  const float* old;                  // c of an LSTM, h of a GRU
  float *state, *h, *act, *extra;    // filled: c, h, and what is kept or null
  const float* read;                 // mask under which c is read
  Long read_row;
  Low* next;                         // filled: h * mask in bfloat16, or null
  const float* mask;
  Long mask_row;
};

INLINE void fill_next(const Step& s, const float* h, Long r) {
  if (!s.next) return;
  Low* into = s.next + r * s.units;
  const float* m = s.mask + r * s.mask_row;
#pragma omp simd
  for (Long j = 0; j < s.units; ++j) into[j] = narrow(h[j] * m[j]);
}

template <bool Keep, bool Capped>
void lstm_row(void* context, Long r) {
  const Step& s = *static_cast<Step*>(context);
  const Long units = s.units;
  const Low *p0 = s.pre.at(r, 0), *p1 = s.pre.at(r, 1), *p2 = s.pre.at(r, 2), *p3 = s.pre.at(r, 3);
  const Low *a0 = s.add.at(r, 0), *a1 = s.add.at(r, 1), *a2 = s.add.at(r, 2), *a3 = s.add.at(r, 3);
  const float *b0 = s.bias, *b1 = b0 + units, *b2 = b1 + units, *b3 = b2 + units;
  const float *old = s.old + r * units, *m = s.read + r * s.read_row;
  float *c = s.state + r * units, *out = s.h + r * units, *kept = Keep ? s.act + 4 * r * units : nullptr;
#pragma omp simd
  for (Long j = 0; j < units; ++j) {
    float i = sigmoid(wide(p0[j]) + wide(a0[j]) + b0[j]);
    float f = sigmoid(wide(p1[j]) + wide(a1[j]) + b1[j]);
    if (Capped) i = i < 1.0f - f ? i : 1.0f - f;
    float g = hyperbolic(wide(p2[j]) + wide(a2[j]) + b2[j]);
    float o = sigmoid(wide(p3[j]) + wide(a3[j]) + b3[j]);
    float now = __builtin_fmaf(f, old[j], i * g);
    c[j] = now;
    out[j] = o * hyperbolic(now * m[j]);
    if (Keep) kept[j] = i, kept[units + j] = f, kept[2 * units + j] = g, kept[3 * units + j] = o;
  }
  fill_next(s, out, r);
}

template <bool Keep>
void gru_row(void* context, Long r) {
  const Step& s = *static_cast<Step*>(context);
  const Long units = s.units;
  const Low *p0 = s.pre.at(r, 0), *p1 = s.pre.at(r, 1), *p2 = s.pre.at(r, 2);
  const Low *a0 = s.add.at(r, 0), *a1 = s.add.at(r, 1), *a2 = s.add.at(r, 2);
  const float *b0 = s.bias, *b1 = b0 + units, *b2 = b1 + units, *d0 = s.again, *d1 = d0 + units, *d2 = d1 + units;
  const float* old = s.old + r * units;
  float *out = s.h + r * units, *kept = Keep ? s.act + 3 * r * units : nullptr;
  float* more = Keep ? s.extra + r * units : nullptr;
#pragma omp simd
  for (Long j = 0; j < units; ++j) {
    float reset = sigmoid(wide(p0[j]) + b0[j] + wide(a0[j]) + d0[j]);
    float z = sigmoid(wide(p1[j]) + b1[j] + wide(a1[j]) + d1[j]);
    float u = wide(a2[j]) + d2[j];
    float n = hyperbolic(__builtin_fmaf(reset, u, wide(p2[j]) + b2[j]));
    out[j] = __builtin_fmaf(z, old[j] - n, n);
    if (Keep) kept[j] = reset, kept[units + j] = z, kept[2 * units + j] = n, more[j] = u;
  }
  fill_next(s, out, r);
}

struct StepBack {
  Long units;
  const float *act, *extra, *old;  // extra: the new c, or the recurrent part of the candidate
  const float* read;
  Long read_row;
  const void* raw;  // gradient of what entered the next product
  int low_raw;
  const float* mask;
  Long mask_row;
  const float* out;  // gradient of the output
  float *carried, *gradient;
  Low* low;
  template <class R>
  const R* arriving(Long r) const { return static_cast<const R*>(raw) + r * units; }
};

template <class R, bool Capped>
void lstm_row_back(void* context, Long r) {
  const StepBack& s = *static_cast<StepBack*>(context);
  const Long units = s.units, here = r * units;
  const float *i = s.act + 4 * here, *f = i + units, *g = f + units, *o = g + units;
  const float *c = s.extra + here, *before = s.old + here, *mask = s.mask + r * s.mask_row, *out = s.out + here;
  const float* m = s.read + r * s.read_row;
  const R* raw = s.arriving<R>(r);
  float *back = s.carried + here, *d = s.gradient + 4 * here;
  Low* dl = s.low + 4 * here;
#pragma omp simd
  for (Long j = 0; j < units; ++j) {
    float total = __builtin_fmaf(wide(raw[j]), mask[j], out[j]);
    float t = hyperbolic(c[j] * m[j]);
    float memory = __builtin_fmaf(total * o[j] * m[j], 1.0f - t * t, back[j]);
    bool moved = Capped && !(i[j] < 1.0f - f[j]);  // where i = 1 - f, it is the forget gate that moves i
    float past = moved ? before[j] - g[j] : before[j], by_i = moved ? 0.0f : g[j];
    float di = memory * by_i * i[j] * (1.0f - i[j]), df = memory * past * f[j] * (1.0f - f[j]);
    float dg = memory * i[j] * (1.0f - g[j] * g[j]), dd = total * t * o[j] * (1.0f - o[j]);
    back[j] = memory * f[j];
    d[j] = di, d[units + j] = df, d[2 * units + j] = dg, d[3 * units + j] = dd;
    dl[j] = narrow(di), dl[units + j] = narrow(df), dl[2 * units + j] = narrow(dg), dl[3 * units + j] = narrow(dd);
  }
}

template <class R>
void gru_row_back(void* context, Long r) {
  const StepBack& s = *static_cast<StepBack*>(context);
  const Long units = s.units, here = r * units;
  const float *reset = s.act + 3 * here, *z = reset + units, *n = z + units, *u = s.extra + here, *old = s.old + here;
  const float *mask = s.mask + r * s.mask_row, *out = s.out + here;
  const R* raw = s.arriving<R>(r);
  float *back = s.carried + here, *d = s.gradient + 4 * here;
  Low* dl = s.low + 4 * here;
#pragma omp simd
  for (Long j = 0; j < units; ++j) {
    float total = __builtin_fmaf(wide(raw[j]), mask[j], out[j]) + back[j];
    float dn = total * (1.0f - z[j]) * (1.0f - n[j] * n[j]), dr = dn * u[j] * reset[j] * (1.0f - reset[j]);
    float dz = total * (old[j] - n[j]) * z[j] * (1.0f - z[j]), du = dn * reset[j];
    back[j] = total * z[j];
    d[j] = dn, d[units + j] = dr, d[2 * units + j] = dz, d[3 * units + j] = du;
    dl[j] = narrow(dn), dl[units + j] = narrow(dr), dl[2 * units + j] = narrow(dz), dl[3 * units + j] = narrow(du);
  }
}

template <bool Capped>
void lstm_forward(Long rows, Long units, const Low* pre, Long pre_row, Long pre_gate, const Low* add, Long add_row,
                  Long add_gate, const float* bias, const float* c_old, float* c_new, float* h, float* act,
                  const float* read, Long read_row, Low* next, const float* mask, Long mask_row, Long threads) {
  Step s{units, {pre, pre_row, pre_gate}, {add, add_row, add_gate}, bias, nullptr, c_old, c_new, h, act, nullptr,
         read, read_row, next, mask, mask_row};
  spread(threads, rows, act ? lstm_row<true, Capped> : lstm_row<false, Capped>, &s);
}

void gru_forward(Long rows, Long units, const Low* pre, Long pre_row, Long pre_gate, const Low* add, Long add_row,
                 Long add_gate, const float* bias, const float* again, const float* old_h, float* h, float* act,
                 float* extra, Low* next, const float* mask, Long mask_row, Long threads) {
  Step s{units, {pre, pre_row, pre_gate}, {add, add_row, add_gate}, bias, again, old_h, nullptr, h, act, extra,
         nullptr, 0, next, mask, mask_row};
  spread(threads, rows, act ? gru_row<true> : gru_row<false>, &s);
}

template <bool Capped>
void lstm_backward(Long rows, Long units, const float* act, const float* c_new, const float* c_old, const float* read,
                   Long read_row, const void* raw, int low_raw, const float* mask, Long mask_row, const float* out,
                   float* dc, float* gradient, Low* low, Long threads) {
  StepBack s{units, act, c_new, c_old, read, read_row, raw, low_raw, mask, mask_row, out, dc, gradient, low};
  spread(threads, rows, low_raw ? lstm_row_back<Low, Capped> : lstm_row_back<float, Capped>, &s);
}

void gru_backward(Long rows, Long units, const float* act, const float* extra, const float* old_h, const void* raw,
                  int low_raw, const float* mask, Long mask_row, const float* out, float* direct, float* gradient,
                  Low* low, Long threads) {
  StepBack s{units, act, extra, old_h, nullptr, 0, raw, low_raw, mask, mask_row, out, direct, gradient, low};
  spread(threads, rows, low_raw ? gru_row_back<Low> : gru_row_back<float>, &s);
}

struct Masked {
  Long rows, units;
  const float *x, *mask;
  Long step, row;
  Low* out;
  static void one(void* context, Long n) {
    const Masked& s = *static_cast<Masked*>(context);
    const float *from = s.x + n * s.units, *m = s.mask + n / s.rows * s.step + n % s.rows * s.row;
    Low* into = s.out + n * s.units;
#pragma omp simd
    for (Long j = 0; j < s.units; ++j) into[j] = narrow(from[j] * m[j]);
  }
};

// x * mask in bfloat16, of (steps, rows, units); strides of the mask are 0 where it is shared.
void masked(Long steps, Long rows, Long units, const float* x, const float* mask, Long mask_step, Long mask_row, Low* out,
            Long threads) {
  Masked s{rows, units, x, mask, mask_step, mask_row, out};
  spread(threads, steps * rows, Masked::one, &s);
}
