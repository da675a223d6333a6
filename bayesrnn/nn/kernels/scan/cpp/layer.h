// What a call says about a layer, as Python fills it in (`native.py`), and how work is spread over threads.

#pragma once

using Long = int64_t;
#define INLINE inline __attribute__((always_inline))

enum Cell : Long { kLstm, kGru, kTanh, kRelu };

// Numbers at step * t + gate * g + row * r + unit; a stride is 0 where all share them, `data` null where there are none.
struct Strided {
  float* data;
  Long step, gate, row;
  float* at(Long t, Long r, Long g = 0) const { return data + t * step + g * gate + r * row; }
};

// Everything is float32, units are contiguous. Gates: i f g o of an LSTM, r z n of a GRU. Blocks of gradients: the same,
// but n r z u of a GRU, u the recurrent part of its candidate.
struct Layer {
  Long cell, steps, rows, features, units;
  Long threads;
  Long capped;        // an LSTM's input gate is min(i, 1 - f)
  const Long* alive;  // rows that are alive at each step, or null
  const float *ih, *hh, *bias_ih, *bias_hh;
  const float *first, *memory;  // initial h and c
  Strided x, mask_x, mask_h, mask_c;
  Strided out;
  float *gates, *extra;  // kept for the backward pass, or null
  float *last;           // filled: the last c
  Strided grad_out;
  const float* grad_last;
  float *blocks, *grad_h, *grad_c;
  Strided grad_x;
  float *grad_ih, *grad_hh;
};

constexpr Long kGates[] = {4, 3, 1, 1}, kBlocks[] = {4, 4, 1, 1};

using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
static Parallel bayesrnn_parallel = nullptr;
constexpr Long kBlockFloats = 1 << 16;  // of what a block of rows holds
constexpr Long kAheadFloats = 1 << 18, kMostAhead = 16;  // of what is made for several steps at once, and steps

// Calls work(context, i) for i < count, on so many threads.
struct Shared {
  void (*work)(void*, Long);
  void* context;
  Long count;
  std::atomic<Long> next{0};
  static void run(void* self) {
    auto* s = static_cast<Shared*>(self);
    for (Long i; (i = s->next++) < s->count;) s->work(s->context, i);
  }
};

inline void spread(Long threads, Long count, void (*work)(void*, Long), void* context) {
  Shared s{work, context, count};
  if (threads < 2 || count < 2 || !bayesrnn_parallel) Shared::run(&s);
  else bayesrnn_parallel(Shared::run, &s, static_cast<unsigned>(threads < count ? threads : count), 0);
}

// Memory on whole cache lines.
class Room {
 public:
  explicit Room(Long floats) : data_(static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 127) / 64 * 64))) {}
  ~Room() { std::free(data_); }
  Room(const Room&) = delete;
  float* get() const { return data_; }

 private:
  float* data_;
};

inline Long up(Long n, Long to) { return (n + to - 1) / to * to; }
