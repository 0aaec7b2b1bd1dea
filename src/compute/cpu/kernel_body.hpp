// The kernel in GCC's vector extension, compiled once for every instruction set. No includes of ours or of the standard
// library beyond plain declarations: an inline function compiled here with AVX2 could replace its portable twin at link
// time and crash an older processor.
//
// To be included inside an anonymous namespace, after kernel.hpp, with kWideLanes (the floats of a register) and
// kGroupColumns (the columns of a full group) defined.

typedef float Vector __attribute__((vector_size(32), aligned(32)));
// Aligned to what groups are aligned to.
typedef float Wide __attribute__((vector_size(kWideLanes * 4), aligned(kWideLanes == 4 ? 16 : 32)));
typedef double WideDouble __attribute__((vector_size(kWideLanes * 4), aligned(kWideLanes == 4 ? 16 : 32)));
typedef double Doubles __attribute__((vector_size(64)));
typedef std::uint32_t Words __attribute__((vector_size(32)));

inline Vector broadcast(float value) { return Vector{value, value, value, value, value, value, value, value}; }

inline constexpr std::size_t kLineBytes = 64;

/// 16 elements of a row: columns 0, 2, ..., 14 and columns 1, 3, ..., 15.
struct Elements {
  Vector even, odd;
};
/// The column of a panel that is at `position` of its 16 floats.
constexpr std::size_t column_at(std::size_t position) {
  return position < kLane ? 2 * position : 2 * (position - kLane) + 1;
}

inline Elements separate(Vector low, Vector high) {
  return {__builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14),
          __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15)};
}

struct Bf16 {
  static constexpr std::size_t size = 2;
  static Elements load(const std::byte* at) {
    Words words;
    __builtin_memcpy(&words, at, sizeof(words));
    return {reinterpret_cast<Vector>(words << 16), reinterpret_cast<Vector>(words & 0xFFFF0000U)};
  }
};

struct F32 {
  static constexpr std::size_t size = 4;
  static Elements load(const std::byte* at) {
    Vector low, high;
    __builtin_memcpy(&low, at, sizeof(low));
    __builtin_memcpy(&high, at + sizeof(low), sizeof(high));
    return separate(low, high);
  }
};

struct F16 {
  static constexpr std::size_t size = 2;
  static Elements load(const std::byte* at) {
#ifdef __F16C__
    __m128i halves[2];
    __builtin_memcpy(halves, at, sizeof(halves));
    return separate(reinterpret_cast<Vector>(_mm256_cvtph_ps(halves[0])),
                    reinterpret_cast<Vector>(_mm256_cvtph_ps(halves[1])));
#else
    alignas(32) float values[kPanelColumns];
    base::to_float(base::DType::f16, at, kPanelColumns, values);
    return F32::load(reinterpret_cast<const std::byte*>(values));
#endif
  }
};

/// Of an operand that is one tensor.
struct Absent {
  static constexpr std::size_t size = 0;
  static Elements load(const std::byte* /*at*/) { return {broadcast(0.0F), broadcast(0.0F)}; }
};

/// 16 differences into a panel, and their squares into `sum`.
template <class Base, class Aligned, bool Squares>
inline void pack_16(const std::byte* base, const std::byte* aligned, float* to, Elements& sum) {
  const Elements left = Aligned::load(aligned), right = Base::load(base);
  const Elements v{left.even - right.even, left.odd - right.odd};
  *reinterpret_cast<Vector*>(to) = v.even;
  *reinterpret_cast<Vector*>(to + kLane) = v.odd;
  if constexpr (Squares) {
    sum.even += v.even * v.even;
    sum.odd += v.odd * v.odd;
  }
}

/// Of a packed tile, whose padding is zeros. In double, for tiles whose squares vanish in float32.
inline double squares_in_double(const float* panels, std::size_t floats) {
  Doubles squares = {};
  for (std::size_t k = 0; k < floats; k += kLane) {
    const Doubles v = __builtin_convertvector(*reinterpret_cast<const Vector*>(panels + k), Doubles);
    squares += v * v;
  }
  double total = 0;
  for (std::size_t k = 0; k < kLane; ++k) total += squares[k];
  return total;
}

/// Below this the squares of a tile, each of them off by up to 2^-150 if it is small, do not add up to 40 bits.
inline constexpr double kSquaresInDouble = 0x1p-90;

template <class Base, class Aligned, bool Squares>
inline double pack_tile(const TileSource& source, float* panels) {
  const std::size_t panel_floats = padded_rows(source.rows) * kPanelColumns;
  Doubles squares = {};
  for (std::size_t row = 0; row < source.rows; ++row) {
    const std::byte* base = source.base + row * source.stride * Base::size;
    const std::byte* aligned = source.aligned + row * source.stride * Aligned::size;
    float* to = panels + row * kPanelColumns;
    Elements sum{broadcast(0.0F), broadcast(0.0F)};
    std::size_t column = 0;
    for (; column + kPanelColumns <= source.columns; column += kPanelColumns) {
      pack_16<Base, Aligned, Squares>(base, aligned, to, sum);
      base += kPanelColumns * Base::size;
      aligned += kPanelColumns * Aligned::size;
      to += panel_floats;
    }
    if (column < source.columns) {  // the ragged end: bits that are all zero are a zero of every dtype
      std::byte ends[2][kPanelColumns * sizeof(float)] = {};
      __builtin_memcpy(ends[0], base, (source.columns - column) * Base::size);
      __builtin_memcpy(ends[1], aligned, (source.columns - column) * Aligned::size);
      pack_16<Base, Aligned, Squares>(ends[0], ends[1], to, sum);
    }
    // In double from here on: a row is short enough for float32 sums, a tile is not.
    if constexpr (Squares) squares += __builtin_convertvector(sum.even + sum.odd, Doubles);
  }
  double total = 0;
  for (std::size_t k = 0; k < kLane; ++k) total += squares[k];
  if (Squares && total < kSquaresInDouble) {
    return squares_in_double(panels, padded_columns(source.columns) / kPanelColumns * panel_floats);
  }
  return total;
}

/// float64 weights: the difference first, then to float32.
inline double pack_f64(const TileSource& source, float* panels) {
  const std::size_t panel_floats = padded_rows(source.rows) * kPanelColumns;
  double squares = 0;
  for (std::size_t row = 0; row < source.rows; ++row) {
    for (std::size_t column = 0; column < source.columns; column += kPanelColumns) {
      const std::size_t element = row * source.stride + column;
      const std::size_t left = source.columns - column, count = left < kPanelColumns ? left : kPanelColumns;
      double base[kPanelColumns] = {}, aligned[kPanelColumns] = {};
      if (source.base != nullptr) {
        base::to_double(source.base_dtype, source.base + element * base::element_bytes(source.base_dtype), count, base);
      }
      base::to_double(source.aligned_dtype, source.aligned + element * base::element_bytes(source.aligned_dtype), count,
                      aligned);
      float* const to = panels + column / kPanelColumns * panel_floats + row * kPanelColumns;
      for (std::size_t position = 0; position < kPanelColumns; ++position) {
        const double value = aligned[column_at(position)] - base[column_at(position)];
        to[position] = static_cast<float>(value);
        squares += value * value;
      }
    }
  }
  return squares;
}

template <bool Squares, class Base>
inline double pack_onto(const TileSource& source, float* panels) {
  if (source.aligned_dtype == base::DType::bf16) return pack_tile<Base, Bf16, Squares>(source, panels);
  if (source.aligned_dtype == base::DType::f16) return pack_tile<Base, F16, Squares>(source, panels);
  return pack_tile<Base, F32, Squares>(source, panels);
}

template <bool Squares>
inline double pack_pair(const TileSource& source, float* panels) {
  if (source.base_dtype == base::DType::f64 || source.aligned_dtype == base::DType::f64) {
    return pack_f64(source, panels);
  }
  if (source.base == nullptr) return pack_onto<Squares, Absent>(source, panels);
  if (source.base_dtype == base::DType::bf16) return pack_onto<Squares, Bf16>(source, panels);
  if (source.base_dtype == base::DType::f16) return pack_onto<Squares, F16>(source, panels);
  return pack_onto<Squares, F32>(source, panels);
}

inline double pack(const TileSource& source, bool squares, float* panels) {
  // The rows that kernels read past the last one.
  const std::size_t panel_floats = padded_rows(source.rows) * kPanelColumns;
  const bool ragged = source.rows != padded_rows(source.rows);
  for (std::size_t panel = 0; ragged && panel < padded_columns(source.columns) / kPanelColumns; ++panel) {
    float* const tail = panels + panel * panel_floats + source.rows * kPanelColumns;
    __builtin_memset(tail, 0, (panel_floats - source.rows * kPanelColumns) * sizeof(float));
  }
  return squares ? pack_pair<true>(source, panels) : pack_pair<false>(source, panels);
}

/// Asks for the next cache lines of the tile to come.
inline __attribute__((always_inline)) void fetch(Ahead& ahead, std::size_t lines) {
  for (; lines != 0; --lines) {
    if (ahead.at >= ahead.end) {
      if (ahead.rows == 0) return;
      Ahead::Rows& next = ahead.in_aligned && ahead.base.bytes != 0 ? ahead.base : ahead.aligned;
      ahead.in_aligned = &next == &ahead.aligned;
      ahead.rows -= ahead.in_aligned ? 1 : 0;
      // From the line a row begins in: checkpoints align nothing, and a last line not asked for would cost a miss a
      // row.
      ahead.at = next.first - reinterpret_cast<std::uintptr_t>(next.first) % kLineBytes;
      ahead.end = next.first + next.bytes;
      next.first += next.stride;
    }
    __builtin_prefetch(ahead.at, 0, 2);
    ahead.at += kLineBytes;
  }
}

/// Lines to ask for in each of `times` steps, so that all of them are.
inline std::size_t lines_each(const Ahead& ahead, std::size_t times) {
  const std::size_t lines = ahead.rows * (ahead.base.bytes + ahead.aligned.bytes + 2 * kLineBytes) / kLineBytes;
  return (lines + times - 1) / times;
}

/// A block of sums kept in registers: Count rows of Wides wide vectors and Narrows (0 or 1) of eight floats. Sums start
/// at zero and are added to memory in the end, so that long sums are sums of short ones: a rounding error that grows
/// with the tile, not with the matrix.
template <std::size_t Wides, std::size_t Narrows, std::size_t Count>
struct Block {
  static constexpr std::size_t kWidth = Wides * kWideLanes + Narrows * kLane;
  Wide wide[Count][Wides == 0 ? 1 : Wides] = {};
  Vector narrow[Count] = {};

  /// Row c += left[c * Step] * right, for all c.
  template <std::size_t Step>
  inline __attribute__((always_inline)) void add(const float* left, const float* right) {
    Wide wide_right[Wides == 0 ? 1 : Wides];
    Vector narrow_right;
    for (std::size_t w = 0; w < Wides; ++w) wide_right[w] = *reinterpret_cast<const Wide*>(right + w * kWideLanes);
    if constexpr (Narrows != 0) narrow_right = *reinterpret_cast<const Vector*>(right + Wides * kWideLanes);
    for (std::size_t c = 0; c < Count; ++c) {
      const float factor = left[c * Step];
      for (std::size_t w = 0; w < Wides; ++w) wide[c][w] += (factor - Wide{}) * wide_right[w];
      if constexpr (Narrows != 0) narrow[c] += broadcast(factor) * narrow_right;
    }
  }

  inline __attribute__((always_inline)) void add_row_to(float* to, std::size_t c) const {
    for (std::size_t w = 0; w < Wides; ++w) *reinterpret_cast<Wide*>(to + w * kWideLanes) += wide[c][w];
    if constexpr (Narrows != 0) *reinterpret_cast<Vector*>(to + Wides * kWideLanes) += narrow[c];
  }

  /// Adds row C to that of the column at position First + C of a panel, for each C. Not a loop: with an index that
  /// varies, the sums would have to be in memory.
  template <std::size_t First, std::size_t C = 0>
  inline __attribute__((always_inline)) void add_columns_to(float* to) const {
    add_row_to(to + column_at(First + C) * kWidth, C);
    if constexpr (C + 1 < Count) add_columns_to<First, C + 1>(to);
  }
};

/// y += (Count columns of one panel, from position First on)^T * b
template <std::size_t Wides, std::size_t Narrows, std::size_t Count, std::size_t First>
inline void transposed_block(const float* panel, std::size_t rows, const float* b, float* y, Ahead& ahead,
                             std::size_t lines) {
  Block<Wides, Narrows, Count> block;
  constexpr std::size_t width = Block<Wides, Narrows, Count>::kWidth;
  static_assert(kRowStep % 4 == 0);  // rows beyond the last one are zeros of the panel
  for (std::size_t r = 0; r < rows; r += 4) {
    fetch(ahead, lines);
    const float* const left = panel + r * kPanelColumns + First;
    const float* const right = b + r * width;
    block.template add<1>(left, right);
    block.template add<1>(left + kPanelColumns, right + width);
    block.template add<1>(left + 2 * kPanelColumns, right + 2 * width);
    block.template add<1>(left + 3 * kPanelColumns, right + 3 * width);
  }
  block.template add_columns_to<First>(y);
}

/// The whole panel in blocks of Count columns, from position First on; the last one may be smaller.
template <std::size_t Wides, std::size_t Narrows, std::size_t Count, std::size_t First = 0>
inline void transposed_panel(const float* panel, std::size_t rows, const float* b, float* y, Ahead& ahead,
                             std::size_t lines) {
  constexpr std::size_t count = First + Count < kPanelColumns ? Count : kPanelColumns - First;
  transposed_block<Wides, Narrows, count, First>(panel, rows, b, y, ahead, lines);
  if constexpr (First + count < kPanelColumns) {
    transposed_panel<Wides, Narrows, Count, First + count>(panel, rows, b, y, ahead, lines);
  }
}

/// Columns of a panel, or rows of a tile, that a block takes: its sums, a row of the right-hand side and one factor fit
/// 32 registers of 64 bytes, or 16 of any other size.
template <std::size_t Wides>
constexpr std::size_t block_count() {
  if (kWideLanes == 16) return 8;
  return Wides == 1 ? 8 : Wides == 2 ? 6 : Wides == 3 ? 4 : 2;
}

template <std::size_t Wides, std::size_t Narrows>
inline void transposed_width(const float* panels, std::size_t rows, std::size_t columns, const float* b, float* y,
                             Ahead& ahead) {
  constexpr std::size_t width = Wides * kWideLanes + Narrows * kLane, count = block_count<Wides>();
  const std::size_t panel_floats = padded_rows(rows) * kPanelColumns;
  const std::size_t blocks = columns / kPanelColumns * ((kPanelColumns + count - 1) / count);
  const std::size_t lines = lines_each(ahead, blocks * ((rows + 3) / 4));
  for (std::size_t column = 0; column < columns; column += kPanelColumns) {
    transposed_panel<Wides, Narrows, count>(panels + column / kPanelColumns * panel_floats, rows, b, y + column * width,
                                            ahead, lines);
  }
}

template <std::size_t Wides, std::size_t Narrows>
inline void straight_width(const float* panels, std::size_t rows, std::size_t columns, const float* y, float* p,
                           Ahead& ahead) {
  constexpr std::size_t width = Wides * kWideLanes + Narrows * kLane, count = block_count<Wides>();
  const std::size_t panel_floats = padded_rows(rows) * kPanelColumns;
  const std::size_t blocks = (rows + count - 1) / count;
  const std::size_t lines = lines_each(ahead, blocks * columns / 4);
  for (std::size_t row = 0; row < rows; row += count) {
    Block<Wides, Narrows, count> block;
    for (std::size_t column = 0; column < columns; column += kPanelColumns) {
      const float* const left = panels + column / kPanelColumns * panel_floats + row * kPanelColumns;
      const float* const right = y + column * width;
      for (std::size_t k = 0; k < kLane; k += 2) {  // even columns and the odd ones after them
        fetch(ahead, lines);
        block.template add<kPanelColumns>(left + k, right + 2 * k * width);
        block.template add<kPanelColumns>(left + k + kLane, right + (2 * k + 1) * width);
        block.template add<kPanelColumns>(left + k + 1, right + (2 * k + 2) * width);
        block.template add<kPanelColumns>(left + k + 1 + kLane, right + (2 * k + 3) * width);
      }
    }
    for (std::size_t r = 0; r < count; ++r) block.add_row_to(p + (row + r) * width, r);
  }
}

using Multiply = void (*)(const float*, std::size_t, std::size_t, const float*, float*, Ahead&);

/// The functions for a width given in eights.
template <std::size_t Eights = 1>
inline Multiply transposed_of(std::size_t eights) {
  if constexpr (Eights * kLane < kGroupColumns) {
    if (eights > Eights) return transposed_of<Eights + 1>(eights);
  }
  return transposed_width<Eights * kLane / kWideLanes, Eights * kLane % kWideLanes / kLane>;
}
template <std::size_t Eights = 1>
inline Multiply straight_of(std::size_t eights) {
  if constexpr (Eights * kLane < kGroupColumns) {
    if (eights > Eights) return straight_of<Eights + 1>(eights);
  }
  return straight_width<Eights * kLane / kWideLanes, Eights * kLane % kWideLanes / kLane>;
}

inline void transposed(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* b,
                       float* y, Ahead& ahead) {
  transposed_of(width / kLane)(panels, rows, columns, b, y, ahead);
}
inline void straight(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* y,
                     float* p, Ahead& ahead) {
  straight_of(width / kLane)(panels, rows, columns, y, p, ahead);
}

/// sum (m x n) += X^T * Z in float64, all with rows of a multiple of eight doubles; m and n are such multiples.
inline void gram(const double* x, std::size_t m, const double* z, std::size_t n, std::size_t rows, double* sum) {
  constexpr std::size_t lanes = kWideLanes / 2, wides = kLane / lanes, count = kWideLanes == 16 ? 8 : 4;
  for (std::size_t p = 0; p < m; p += count) {
    for (std::size_t q = 0; q < n; q += kLane) {
      WideDouble block[count][wides] = {};
      for (std::size_t row = 0; row < rows; ++row) {
        const double* const left = x + row * m + p;
        const auto* const right = reinterpret_cast<const WideDouble*>(z + row * n + q);
        for (std::size_t c = 0; c < count; ++c) {
          for (std::size_t w = 0; w < wides; ++w) block[c][w] += (left[c] - WideDouble{}) * right[w];
        }
      }
      for (std::size_t c = 0; c < count; ++c) {
        auto* const to = reinterpret_cast<WideDouble*>(sum + (p + c) * n + q);
        for (std::size_t w = 0; w < wides; ++w) to[w] += block[c][w];
      }
    }
  }
}
