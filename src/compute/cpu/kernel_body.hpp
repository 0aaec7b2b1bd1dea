// The kernel in GCC's vector extension, compiled once for every instruction set. No includes of ours or of the standard
// library beyond plain declarations: an inline function compiled here with AVX2 could replace its portable twin at link
// time and crash an older processor.
//
// To be included inside an anonymous namespace, after kernel.hpp and <cstring>.

typedef float Vector __attribute__((vector_size(32), aligned(32)));
typedef std::uint32_t Words __attribute__((vector_size(32)));
typedef std::uint16_t Halves __attribute__((vector_size(16)));

inline Vector load(const float* at) { return *reinterpret_cast<const Vector*>(at); }
inline void store(float* at, Vector value) { *reinterpret_cast<Vector*>(at) = value; }
inline Vector broadcast(float value) { return Vector{value, value, value, value, value, value, value, value}; }

inline Vector load_bf16(const std::byte* at) {
  Halves halves;
  __builtin_memcpy(&halves, at, sizeof(halves));
  const Words words = __builtin_convertvector(halves, Words) << 16;
  Vector result;
  __builtin_memcpy(&result, &words, sizeof(result));
  return result;
}

inline Vector load_f32(const std::byte* at) {
  Vector result;
  __builtin_memcpy(&result, at, sizeof(result));
  return result;
}

/// Eight elements of any computable dtype but f64.
inline Vector load_elements(base::DType dtype, const std::byte* at) {
  if (dtype == base::DType::bf16) return load_bf16(at);
  if (dtype == base::DType::f32) return load_f32(at);
#ifdef __F16C__
  if (dtype == base::DType::f16) {
    __m128i halves;
    __builtin_memcpy(&halves, at, sizeof(halves));
    return reinterpret_cast<Vector>(_mm256_cvtph_ps(halves));
  }
#endif
  alignas(32) float values[kLane];
  base::to_float(dtype, at, kLane, values);
  return load(values);
}

/// One row of a tile: difference, sum of squares, store. Whole panels, then the ragged end element by element.
template <class LoadBase, class LoadAligned>
inline double pack_row(const TileSource& source, std::size_t row, float* panels, std::size_t panel_floats,
                       LoadBase load_base, LoadAligned load_aligned) {
  const std::size_t base_size = base::element_bytes(source.base_dtype);
  const std::size_t aligned_size = base::element_bytes(source.aligned_dtype);
  const std::byte* const from_base = source.base + row * source.stride * base_size;
  const std::byte* const from_aligned = source.aligned + row * source.stride * aligned_size;
  Vector sum = broadcast(0.0F), sum_high = broadcast(0.0F);
  std::size_t column = 0;
  for (; column + kPanelColumns <= source.columns; column += kPanelColumns) {
    float* const to = panels + column / kPanelColumns * panel_floats + row * kPanelColumns;
    const Vector low = load_aligned(from_aligned + column * aligned_size) - load_base(from_base + column * base_size);
    const Vector high = load_aligned(from_aligned + (column + kLane) * aligned_size) -
                        load_base(from_base + (column + kLane) * base_size);
    store(to, low);
    store(to + kLane, high);
    sum += low * low;
    sum_high += high * high;
  }
  // In double from here on: a row is short enough for float32 sums, a tile is not.
  double squares = 0;
  for (std::size_t k = 0; k < kLane; ++k) squares += static_cast<double>(sum[k]) + static_cast<double>(sum_high[k]);
  if (column < source.columns) {
    float* const to = panels + column / kPanelColumns * panel_floats + row * kPanelColumns;
    for (std::size_t k = 0; k < kPanelColumns; ++k) {
      float value = 0;
      if (column + k < source.columns) {
        float from[2];
        base::to_float(source.base_dtype, from_base + (column + k) * base_size, 1, &from[0]);
        base::to_float(source.aligned_dtype, from_aligned + (column + k) * aligned_size, 1, &from[1]);
        value = from[1] - from[0];
      }
      to[k] = value;
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
  }
  return squares;
}

/// float64 weights: the difference first, then to float32.
inline double pack_row_f64(const TileSource& source, std::size_t row, float* panels, std::size_t panel_floats) {
  double squares = 0;
  for (std::size_t column = 0; column < source.columns; ++column) {
    double from[2];
    const std::size_t element = row * source.stride + column;
    base::to_double(source.base_dtype, source.base + element * base::element_bytes(source.base_dtype), 1, &from[0]);
    base::to_double(source.aligned_dtype, source.aligned + element * base::element_bytes(source.aligned_dtype), 1,
                    &from[1]);
    const double value = from[1] - from[0];
    panels[column / kPanelColumns * panel_floats + row * kPanelColumns + column % kPanelColumns] =
        static_cast<float>(value);
    squares += value * value;
  }
  for (std::size_t column = source.columns; column % kPanelColumns != 0; ++column) {
    panels[column / kPanelColumns * panel_floats + row * kPanelColumns + column % kPanelColumns] = 0;
  }
  return squares;
}

inline double pack(const TileSource& source, float* panels) {
  const std::size_t panel_floats = padded_rows(source.rows) * kPanelColumns;
  const bool doubles = source.base_dtype == base::DType::f64 || source.aligned_dtype == base::DType::f64;
  const bool bf16 = source.base_dtype == base::DType::bf16 && source.aligned_dtype == base::DType::bf16;
  double squares = 0;
  for (std::size_t row = 0; row < source.rows; ++row) {
    if (doubles) {
      squares += pack_row_f64(source, row, panels, panel_floats);
    } else if (bf16) {
      squares += pack_row(source, row, panels, panel_floats, load_bf16, load_bf16);
    } else {
      squares += pack_row(
          source, row, panels, panel_floats, [&](const std::byte* at) { return load_elements(source.base_dtype, at); },
          [&](const std::byte* at) { return load_elements(source.aligned_dtype, at); });
    }
  }
  // The rows that kernels read past the last one.
  for (std::size_t panel = 0; panel < padded_columns(source.columns) / kPanelColumns; ++panel) {
    float* const tail = panels + panel * panel_floats + source.rows * kPanelColumns;
    __builtin_memset(tail, 0, (panel_floats - source.rows * kPanelColumns) * sizeof(float));
  }
  return squares;
}

/// y[Columns x width] += (Columns columns of one panel)^T * b
template <int Vectors, std::size_t Columns>
inline void transposed_block(const float* panel, std::size_t rows, const float* b, float* y) {
  constexpr std::size_t width = Vectors * kLane;
  Vector sum[Columns][Vectors];
  for (std::size_t c = 0; c < Columns; ++c) {
    for (int v = 0; v < Vectors; ++v) sum[c][v] = broadcast(0.0F);
  }
  for (std::size_t row = 0; row < rows; ++row) {
    Vector right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = load(b + row * width + static_cast<std::size_t>(v) * kLane);
    for (std::size_t c = 0; c < Columns; ++c) {
      const Vector left = broadcast(panel[row * kPanelColumns + c]);
      for (int v = 0; v < Vectors; ++v) sum[c][v] += left * right[v];
    }
  }
  for (std::size_t c = 0; c < Columns; ++c) {
    for (int v = 0; v < Vectors; ++v) {
      float* const to = y + c * width + static_cast<std::size_t>(v) * kLane;
      store(to, load(to) + sum[c][v]);
    }
  }
}

template <int Vectors>
inline void transposed_width(const float* panels, std::size_t rows, std::size_t columns, const float* b, float* y) {
  constexpr std::size_t width = Vectors * kLane;
  constexpr std::size_t step = Vectors == 3 ? 4 : 8;  // of a panel's 16 columns
  const std::size_t panel_floats = padded_rows(rows) * kPanelColumns;
  for (std::size_t column = 0; column < columns; column += kPanelColumns) {
    const float* const panel = panels + column / kPanelColumns * panel_floats;
    if constexpr (Vectors == 2) {  // 6 + 6 + 4 columns: 12 accumulators where they fit
      transposed_block<2, 6>(panel, rows, b, y + column * width);
      transposed_block<2, 6>(panel + 6, rows, b, y + (column + 6) * width);
      transposed_block<2, 4>(panel + 12, rows, b, y + (column + 12) * width);
    } else {
      for (std::size_t c = 0; c < kPanelColumns; c += step) {
        transposed_block<Vectors, step>(panel + c, rows, b, y + (column + c) * width);
      }
    }
  }
}

/// p[Rows x width] += (Rows rows of the tile) * y
template <int Vectors, std::size_t Rows>
inline void straight_block(const float* panels, std::size_t panel_floats, std::size_t columns, const float* y,
                           float* p) {
  constexpr std::size_t width = Vectors * kLane;
  Vector sum[Rows][Vectors];
  for (std::size_t r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) sum[r][v] = load(p + r * width + static_cast<std::size_t>(v) * kLane);
  }
  for (std::size_t column = 0; column < columns; column += kPanelColumns) {
    const float* const panel = panels + column / kPanelColumns * panel_floats;
    for (std::size_t c = 0; c < kPanelColumns; ++c) {
      Vector right[Vectors];
      for (int v = 0; v < Vectors; ++v) right[v] = load(y + (column + c) * width + static_cast<std::size_t>(v) * kLane);
      for (std::size_t r = 0; r < Rows; ++r) {
        const Vector left = broadcast(panel[r * kPanelColumns + c]);
        for (int v = 0; v < Vectors; ++v) sum[r][v] += left * right[v];
      }
    }
  }
  for (std::size_t r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) store(p + r * width + static_cast<std::size_t>(v) * kLane, sum[r][v]);
  }
}

template <int Vectors>
inline void straight_width(const float* panels, std::size_t rows, std::size_t columns, const float* y, float* p) {
  constexpr std::size_t width = Vectors * kLane;
  constexpr std::size_t step = Vectors == 3 ? 4 : 6;
  const std::size_t panel_floats = padded_rows(rows) * kPanelColumns;
  for (std::size_t row = 0; row < rows; row += step) {
    straight_block<Vectors, step>(panels + row * kPanelColumns, panel_floats, columns, y, p + row * width);
  }
}

inline void transposed(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* b,
                       float* y) {
  if (width == 24) return transposed_width<3>(panels, rows, columns, b, y);
  if (width == 16) return transposed_width<2>(panels, rows, columns, b, y);
  transposed_width<1>(panels, rows, columns, b, y);
}

inline void straight(const float* panels, std::size_t rows, std::size_t columns, std::size_t width, const float* y,
                     float* p) {
  if (width == 24) return straight_width<3>(panels, rows, columns, y, p);
  if (width == 16) return straight_width<2>(panels, rows, columns, y, p);
  straight_width<1>(panels, rows, columns, y, p);
}
