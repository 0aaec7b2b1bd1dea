// Minimum, maximum, sum and quartiles of the entries of a matrix that is only ever seen in tiles.
//
// Sweep 1 collects the range. Each further sweep counts entries in the bins of a window around each wanted order
// statistic and narrows the window to one bin. Bins are equal steps of the IEEE 754 bit pattern, mapped so that it
// sorts as the value does: relative precision everywhere, so heavy tails cost nothing, bin edges carry no rounding, and
// six sweeps reach the exact value whatever the entries (two reach 1e-3 of the inter-quartile range of most weights).
// Counts are sums and the range is min/max, so partial results merge in any order.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "winnow/base/bytes.hpp"

namespace winnow::stats {

/// Range, count and sum of entries. A NaN entry makes minimum, maximum and sum NaN, as in numpy.
struct ElementRange {
  std::uint64_t count = 0;
  double minimum = std::numeric_limits<double>::infinity();
  double maximum = -std::numeric_limits<double>::infinity();
  double sum = 0;

  void add(std::span<const float> values);
  void add(std::span<const double> values);
  void merge(const ElementRange& other);

  void serialise(base::ByteWriter& out) const;
  static ElementRange deserialise(base::ByteReader& in);
};

/// The q quantile of `count` entries as numpy and torch define it (linear interpolation between order statistics),
/// found by counting sweeps. While !done(): feed every entry once through add(), then call advance(). With several
/// slabs or ranks: each feeds its own entries, all counts are merged, and every copy advances on the merged counts.
///
/// The two order statistics next to the quantile have a window each, since a gap between them may be wide.
class QuantileSearch {
 public:
  /// `q` in [0, 1]. No entries, or a range that is not finite (NaN or infinite entries): done, with a NaN value.
  QuantileSearch(const ElementRange& range, double q);

  bool done() const noexcept { return done_; }
  void add(std::span<const float> values);
  void add(std::span<const double> values);
  void merge(const QuantileSearch& other);  ///< adds the counts of the current sweep; throws if sweeps differ
  /// Ends a sweep; done once the bracket is no wider than `tolerance` (0: exact). Throws Error(runtime) if the
  /// entries fed are not those of the range.
  void advance(double tolerance);

  double value() const;  ///< best estimate so far, the middle of the bracket
  double lower_bound() const;
  double upper_bound() const;
  double bracket() const { return upper_bound() - lower_bound(); }  ///< width of the interval that holds the quantile

  void serialise(base::ByteWriter& out) const;
  static QuantileSearch deserialise(base::ByteReader& in);

 private:
  /// Bit patterns first..last that hold one order statistic, cut into bins of 2^shift patterns.
  struct Window {
    std::uint64_t order = 0;  ///< which order statistic, from 0
    std::uint64_t first = 0, last = 0;
    std::uint64_t below = 0;  ///< entries below `first`
    std::uint32_t shift = 0;
    std::vector<std::uint64_t> bins;

    void open();
    void narrow(const std::vector<std::uint64_t>& counts);
    bool same_place(const Window& other) const noexcept { return first == other.first && last == other.last; }
  };

  QuantileSearch() = default;
  template <class T>
  void count(std::span<const T> values);

  double fraction_ = 0;            ///< of the way from the lower order statistic to the upper
  std::array<Window, 2> windows_;  ///< of the lower and of the upper order statistic
  bool undefined_ = false;
  bool done_ = false;
};

/// Both quartiles of the same entries, each to within 1e-3 of the inter-quartile range (exact if that is 0).
class QuartileSearch {
 public:
  explicit QuartileSearch(const ElementRange& range);

  bool done() const noexcept { return done_; }
  void add(std::span<const float> values);
  void add(std::span<const double> values);
  void merge(const QuartileSearch& other);
  void advance();
  double q25() const { return lower_.value(); }
  double q75() const { return upper_.value(); }

  void serialise(base::ByteWriter& out) const;
  static QuartileSearch deserialise(base::ByteReader& in);

 private:
  QuartileSearch(QuantileSearch lower, QuantileSearch upper);
  void settle();

  QuantileSearch lower_, upper_;
  bool done_ = false;
};

}  // namespace winnow::stats
