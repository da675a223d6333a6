// The kernels, once per instruction set: a single file without any library, compiled in some seconds.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "layer.h"

#if !defined(__x86_64__)
#define TILE 4
namespace plain {
constexpr int kWidth = 4;
#include "all.h"
}  // namespace plain

#else
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define TILE 3
namespace avx2 {
constexpr int kWidth = 8;
#include "all.h"
}  // namespace avx2
#undef TILE

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512dq,avx512bw"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw")
#endif
#define TILE 6
namespace avx512 {
constexpr int kWidth = 16;
#include "all.h"
}  // namespace avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

extern "C" {
// Takes GOMP_parallel of the OpenMP runtime that torch has loaded (two runtimes would fight for the cores), or null.
void bayesrnn_use(void* parallel) { bayesrnn_parallel = reinterpret_cast<Parallel>(parallel); }

// Returns the kernels for the widest vectors that the processor has, at most so many floats; null where there are none.
void* const* bayesrnn_kernels(int widest) {
#if !defined(__x86_64__)
  return plain::kTable;
#else
  if (widest >= 16 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    return avx512::kTable;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2::kTable : nullptr;
#endif
}
}
