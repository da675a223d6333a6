// The loss over a vocabulary and its gradient from logits that are read twice and never widened in memory.
//
// Logits have the shape (words, tokens): the product of the weights with the features. In this order the logits and the
// gradient of the weights are products of matrices that lie in memory as they are read.

#include <cmath>
#include <vector>

#include "arithmetic.h"

namespace {

constexpr Long kStrip = 64;   // tokens whose share of the bias's gradient is summed together
constexpr Long kHeight = 32;  // words after which the largest logit is looked at again

inline void store(float* to, float value) { *to = value; }
inline void store(Low* to, float value) { *to = narrow(value); }

// The largest logit of each token and the sum of exponentials below it, one tile of words after the other.
template <class T>
void normalizer(const T* logits, Long words, Long tokens, Long width, const float* bias, float* top, float* sum) {
  std::vector<float> room(width);
  float* now = room.data();
  for (Long j = 0; j < width; ++j) top[j] = -INFINITY, sum[j] = 0.0f;
  for (Long start = 0; start < words; start += kHeight) {
    Long stop = start + kHeight < words ? start + kHeight : words;
    std::memcpy(now, top, width * sizeof(float));
    for (Long v = start; v < stop; ++v) {
      const T* row = logits + v * tokens;
#pragma omp simd
      for (Long j = 0; j < width; ++j) {
        float value = wide(row[j]) + bias[v];
        now[j] = value > now[j] ? value : now[j];
      }
    }
#pragma omp simd
    for (Long j = 0; j < width; ++j) sum[j] *= exponential(top[j] - now[j]);
    std::memcpy(top, now, width * sizeof(float));
    for (Long v = start; v < stop; ++v) {
      const T* row = logits + v * tokens;
#pragma omp simd
      for (Long j = 0; j < width; ++j) sum[j] += exponential(wide(row[j]) + bias[v] - now[j]);
    }
  }
}

// Writes scale * (p - [word is the target]) over the logits of a word; returns the sum over the strip.
template <class T>
float differences(T* row, Long width, float bias, const Long* targets, Long word, float scale, const float* top,
                  const float* factor) {
  float total = 0.0f;
#pragma omp simd reduction(+ : total)
  for (Long j = 0; j < width; ++j) {
    float value = exponential(wide(row[j]) + bias - top[j]) * factor[j];
    value -= targets[j] == word ? scale : 0.0f;
    total += value;
    store(row + j, value);
  }
  return total;
}

template <class T>
void gradient(T* logits, Long words, Long tokens, Long width, const float* bias, const Long* targets, float scale,
              const float* top, const float* factor, float* to_bias) {
  for (Long v = 0; v < words; ++v)
    for (Long j = 0; j < width; j += kStrip) {
      Long size = width - j < kStrip ? width - j : kStrip;
      to_bias[j / kStrip * words + v] =
          differences(logits + v * tokens + j, size, bias[v], targets + j, v, scale, top + j, factor + j);
    }
}

template <class T>
void part(Long words, Long tokens, Long first, Long width, T* logits, const float* bias, const Long* targets,
          float scale, float* to_bias, float* nll) {
  std::vector<float> top(width), sum(width);
  normalizer(logits + first, words, tokens, width, bias, top.data(), sum.data());
  for (Long j = 0; j < width; ++j) {
    Long target = targets[first + j];
    nll[first + j] = std::log(sum[j]) + top[j] - wide(logits[target * tokens + first + j]) - bias[target];
    sum[j] = scale / sum[j];
  }
  gradient(logits + first, words, tokens, width, bias, targets + first, scale, top.data(), sum.data(),
           to_bias + first / kStrip * words);
}

template <class T>
void loss(Long words, Long tokens, T* logits, const float* bias, const Long* targets, float scale, float* to_bias,
          float* nll, Long threads) {
  Long strips = (tokens + kStrip - 1) / kStrip, width = (strips + threads - 1) / threads * kStrip;
#pragma omp parallel for schedule(static, 1)
  for (Long first = 0; first < tokens; first += width)
    part(words, tokens, first, tokens - first < width ? tokens - first : width, logits, bias, targets, scale, to_bias,
         nll);
}

}  // namespace

// `to_bias` has the shape (strips of 64 tokens, words): a sum over strips in a fixed order gives the same bits for any
// number of threads.
extern "C" void bayesrnn_vocabulary_loss(Long words, Long tokens, void* logits, int low, const float* bias,
                                         const Long* targets, float scale, float* to_bias, float* nll, Long threads) {
  if (low)
    loss(words, tokens, static_cast<Low*>(logits), bias, targets, scale, to_bias, nll, threads);
  else
    loss(words, tokens, static_cast<float*>(logits), bias, targets, scale, to_bias, nll, threads);
}
