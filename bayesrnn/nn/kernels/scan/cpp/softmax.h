// The loss over a vocabulary and its gradient from logits that are read twice and never widened in memory.
//
// Logits have the shape (words, tokens): the product of the weights with the features. In this order the logits and the
// gradient of the weights are products of matrices that lie in memory as they are read. Once per instruction set.

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
struct Loss {
  Long words, tokens, width;
  T* logits;
  const float* bias;
  const Long* targets;
  float scale;
  float *to_bias, *nll;

  static void part(void* context, Long i) {
    auto* l = static_cast<Loss*>(context);
    Long first = i * l->width, width = l->tokens - first < l->width ? l->tokens - first : l->width;
    const Long* targets = l->targets + first;
    T* logits = l->logits + first;
    std::vector<float> top(width), sum(width);
    normalizer(logits, l->words, l->tokens, width, l->bias, top.data(), sum.data());
    for (Long j = 0; j < width; ++j) {
      Long target = targets[j];
      l->nll[first + j] = std::log(sum[j]) + top[j] - wide(logits[target * l->tokens + j]) - l->bias[target];
      sum[j] = l->scale / sum[j];
    }
    gradient(logits, l->words, l->tokens, width, l->bias, targets, l->scale, top.data(), sum.data(),
             l->to_bias + first / kStrip * l->words);
  }
};

// `to_bias` has the shape (strips of 64 tokens, words): a sum over strips in a fixed order gives the same bits for any
// number of threads.
void vocabulary_loss(Long words, Long tokens, void* logits, int low, const float* bias, const Long* targets, float scale,
                     float* to_bias, float* nll, Long threads) {
  Long strips = (tokens + kStrip - 1) / kStrip, each = (strips + threads - 1) / threads;
  Long width = (each ? each : 1) * kStrip, parts = (tokens + width - 1) / width;
  Loss<Low> narrow{words, tokens, width, static_cast<Low*>(logits), bias, targets, scale, to_bias, nll};
  Loss<float> wide{words, tokens, width, static_cast<float*>(logits), bias, targets, scale, to_bias, nll};
  if (low) spread(threads, parts, Loss<Low>::part, &narrow);
  else spread(threads, parts, Loss<float>::part, &wide);
}
