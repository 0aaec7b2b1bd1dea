// Counting entries, 16 at a time. Included as kernel_body.hpp is, and like it without functions that could be linked
// in the place of another instruction set's.

#if !defined(__AVX512F__)
/// Copies those of 16 values whose bit is set to `to`, which has room for all of them; returns where they end.
inline float* keep_of(const float* values, unsigned which, float* to) {
  for (; which != 0; which &= which - 1) *to++ = values[__builtin_ctz(which)];
  return to;
}
#endif

#if defined(__AVX512F__)
struct Sixteen {
  __m512 values;
  static Sixteen load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static Sixteen all(float value) { return {_mm512_set1_ps(value)}; }
  void lower_to(Sixteen other) { values = other.values < values ? other.values : values; }
  void raise_to(Sixteen other) { values = other.values > values ? other.values : values; }
  void add(Sixteen other) { values += other.values; }
  void store(float* to) const { _mm512_storeu_ps(to, values); }
  unsigned below(Sixteen limit) const { return _mm512_cmp_ps_mask(values, limit.values, _CMP_LT_OQ); }
  float* keep(unsigned which, float* to) const {
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps(static_cast<__mmask16>(which), values));
    return to + __builtin_popcount(which);
  }
};
#elif defined(__AVX2__)
struct Sixteen {
  __m256 low, high;
  static Sixteen load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static Sixteen all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  void lower_to(Sixteen other) {
    low = other.low < low ? other.low : low;
    high = other.high < high ? other.high : high;
  }
  void raise_to(Sixteen other) {
    low = other.low > low ? other.low : low;
    high = other.high > high ? other.high : high;
  }
  void add(Sixteen other) {
    low += other.low;
    high += other.high;
  }
  void store(float* to) const {
    _mm256_storeu_ps(to, low);
    _mm256_storeu_ps(to + 8, high);
  }
  unsigned below(Sixteen limit) const {
    const auto of = [](__m256 left, __m256 right) {
      return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(left, right, _CMP_LT_OQ)));
    };
    return of(low, limit.low) | of(high, limit.high) << 8U;
  }
  float* keep(unsigned which, float* to) const {
    float values[16];
    store(values);
    return keep_of(values, which, to);
  }
};
#else
struct Sixteen {
  float values[16];
  static Sixteen load(const float* from) {
    Sixteen sixteen;
    for (int k = 0; k < 16; ++k) sixteen.values[k] = from[k];
    return sixteen;
  }
  static Sixteen all(float value) {
    Sixteen sixteen;
    for (float& one : sixteen.values) one = value;
    return sixteen;
  }
  void lower_to(Sixteen other) {
    for (int k = 0; k < 16; ++k) values[k] = other.values[k] < values[k] ? other.values[k] : values[k];
  }
  void raise_to(Sixteen other) {
    for (int k = 0; k < 16; ++k) values[k] = other.values[k] > values[k] ? other.values[k] : values[k];
  }
  void add(Sixteen other) {
    for (int k = 0; k < 16; ++k) values[k] += other.values[k];
  }
  void store(float* to) const {
    for (int k = 0; k < 16; ++k) to[k] = values[k];
  }
  unsigned below(Sixteen limit) const {
    unsigned mask = 0;
    for (unsigned k = 0; k < 16; ++k) mask |= static_cast<unsigned>(values[k] < limit.values[k]) << k;
    return mask;
  }
  float* keep(unsigned which, float* to) const { return keep_of(values, which, to); }
};
#endif

/// To the window's bins; all values lie in it.
inline void count_in(const EntryWindow& window, const float* values, std::size_t count, std::uint64_t* bins) {
  for (std::size_t k = 0; k < count; ++k) {
    const auto bin = static_cast<std::uint32_t>((values[k] - window.low) * window.bins_each);
    ++bins[bin < kEntryBins ? bin : kEntryBins - 1];  // rounding may have it one bin too high
  }
}

/// A multiple of 16 values, kTallied at most.
inline constexpr std::size_t kTallied = 2048;
inline void tally_sixteens(const float* values, std::size_t count, const EntryWindow* windows, EntryTally& tally) {
  float inside[kQuartiles][kTallied + 16];
  float* ends[kQuartiles];
  Sixteen low[kQuartiles], high[kQuartiles];
  unsigned below[kQuartiles] = {};
  for (std::size_t q = 0; q < kQuartiles; ++q) {
    low[q] = Sixteen::all(windows[q].low);
    high[q] = Sixteen::all(windows[q].high);
    ends[q] = inside[q];
  }
  Sixteen minimum = Sixteen::all(tally.minimum), maximum = Sixteen::all(tally.maximum), check = Sixteen::all(0.0F);
  for (std::size_t k = 0; k < count; k += 16) {
    const Sixteen sixteen = Sixteen::load(values + k);
    minimum.lower_to(sixteen);
    maximum.raise_to(sixteen);
    check.add(sixteen);
    for (std::size_t q = 0; q < kQuartiles; ++q) {
      const unsigned under = sixteen.below(low[q]);
      below[q] += static_cast<unsigned>(__builtin_popcount(under));
      ends[q] = sixteen.keep(sixteen.below(high[q]) & ~under, ends[q]);
    }
  }
  for (std::size_t q = 0; q < kQuartiles; ++q) {
    tally.below[q] += below[q];
    count_in(windows[q], inside[q], static_cast<std::size_t>(ends[q] - inside[q]), tally.inside[q]);
  }
  float lanes[3][16];
  minimum.store(lanes[0]);
  maximum.store(lanes[1]);
  check.store(lanes[2]);
  for (int lane = 0; lane < 16; ++lane) {
    tally.minimum = lanes[0][lane] < tally.minimum ? lanes[0][lane] : tally.minimum;
    tally.maximum = lanes[1][lane] > tally.maximum ? lanes[1][lane] : tally.maximum;
    tally.check += lanes[2][lane];
  }
}

inline void tally(const float* values, std::size_t count, const EntryWindow* windows, EntryTally& tally) {
  const std::size_t sixteens = count / 16 * 16;
  for (std::size_t k = 0; k < sixteens; k += kTallied) {
    tally_sixteens(values + k, sixteens - k < kTallied ? sixteens - k : kTallied, windows, tally);
  }
  for (std::size_t k = sixteens; k < count; ++k) {
    const float value = values[k];
    tally.minimum = value < tally.minimum ? value : tally.minimum;
    tally.maximum = value > tally.maximum ? value : tally.maximum;
    tally.check += value;
    for (std::size_t q = 0; q < kQuartiles; ++q) {
      if (value < windows[q].low) {
        ++tally.below[q];
      } else if (value < windows[q].high) {
        count_in(windows[q], &value, 1, tally.inside[q]);
      }
    }
  }
}
