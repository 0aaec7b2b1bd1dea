#include "winnow/stats/element_histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

namespace winnow::stats {
namespace {

constexpr std::uint64_t kBins = 4096;  // 32 KiB of counts: stays in the first-level cache
constexpr double kRelativeTolerance = 1e-3;
constexpr std::uint64_t kSignBit = std::uint64_t{1} << 63;

// The bit pattern of a double as an integer that sorts as the value does (and -0 just below +0).
std::uint64_t key_of(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  return (bits & kSignBit) != 0 ? ~bits : bits | kSignBit;
}

double value_of(std::uint64_t key) { return std::bit_cast<double>((key & kSignBit) != 0 ? key ^ kSignBit : ~key); }

// As numpy does it: exact at both ends.
double interpolate(double low, double high, double fraction) {
  const double step = high - low;
  return fraction < 0.5 ? low + step * fraction : high - step * (1 - fraction);
}

template <class T>
void extend(ElementRange& range, std::span<const T> values) {
  double low = range.minimum, high = range.maximum, sum = 0;
  for (const T entry : values) {
    const auto value = static_cast<double>(entry);
    low = value < low ? value : low;
    high = value > high ? value : high;
    sum += value;
  }
  range.count += values.size();
  range.sum += sum;
  range.minimum = low;
  range.maximum = high;
  // A NaN slips past the comparisons but not past the sum; infinities of both signs also sum to NaN, so look again.
  if (std::isnan(sum) && std::any_of(values.begin(), values.end(), [](T entry) { return std::isnan(entry); })) {
    range.minimum = range.maximum = std::numeric_limits<double>::quiet_NaN();
  }
}

base::Error broken_sweep(const char* what) {
  return base::Error(base::ErrorKind::runtime, what)
      .expected("every entry of the range once in each sweep, merged before the sweep ends");
}

}  // namespace

void ElementRange::add(std::span<const float> values) { extend(*this, values); }
void ElementRange::add(std::span<const double> values) { extend(*this, values); }

void ElementRange::merge(const ElementRange& other) {
  const bool poisoned = std::isnan(minimum) || std::isnan(other.minimum);
  count += other.count;
  sum += other.sum;
  minimum = poisoned ? std::numeric_limits<double>::quiet_NaN() : std::min(minimum, other.minimum);
  maximum = poisoned ? std::numeric_limits<double>::quiet_NaN() : std::max(maximum, other.maximum);
}

void ElementRange::serialise(base::ByteWriter& out) const {
  out.put(count);
  out.put(minimum);
  out.put(maximum);
  out.put(sum);
}

ElementRange ElementRange::deserialise(base::ByteReader& in) {
  ElementRange range;
  range.count = in.get<std::uint64_t>();
  range.minimum = in.get<double>();
  range.maximum = in.get<double>();
  range.sum = in.get<double>();
  return range;
}

void QuantileSearch::Window::open() {
  shift = 0;
  while (((last - first) >> shift) >= kBins) ++shift;
  bins.assign(((last - first) >> shift) + 1, 0);
}

void QuantileSearch::Window::narrow(const std::vector<std::uint64_t>& counts) {
  std::uint64_t bin = 0;
  while (bin < counts.size() && below + counts[bin] <= order) below += counts[bin++];
  if (bin == counts.size()) throw broken_sweep("quantile search saw fewer entries than its range");
  first += bin << shift;
  last = std::min(last, first + ((std::uint64_t{1} << shift) - 1));
}

QuantileSearch::QuantileSearch(const ElementRange& range, double q) {
  if (!(q >= 0 && q <= 1)) throw base::Error(base::ErrorKind::runtime, "quantile out of range").expected("0 to 1");
  if (range.count == 0 || !std::isfinite(range.minimum) || !std::isfinite(range.maximum)) {
    undefined_ = done_ = true;
    return;
  }
  const double position = static_cast<double>(range.count - 1) * q;
  const double below = std::floor(position);
  fraction_ = position - below;
  windows_[0].order = std::min(static_cast<std::uint64_t>(below), range.count - 1);
  windows_[1].order = fraction_ > 0 ? std::min(windows_[0].order + 1, range.count - 1) : windows_[0].order;
  for (auto& window : windows_) {
    // A zero at an end of the range may be of either sign, whichever came first.
    window.first = key_of(range.minimum == 0 ? -0.0 : range.minimum);
    window.last = key_of(range.maximum == 0 ? 0.0 : range.maximum);
    window.open();
  }
  done_ = range.minimum == range.maximum;
}

template <class T>
void QuantileSearch::count(std::span<const T> values) {
  if (done_) return;
  const auto windows = windows_[0].same_place(windows_[1]) ? 1 : 2;  // one count serves both while they coincide
  for (auto i = 0; i < windows; ++i) {
    auto& window = windows_[i];
    const auto first = window.first, span = window.last - window.first;
    const auto shift = window.shift;
    auto* const bins = window.bins.data();
    for (const T entry : values) {
      const auto offset = key_of(static_cast<double>(entry)) - first;  // wraps past `span` for entries below
      if (offset <= span) ++bins[offset >> shift];
    }
  }
}

void QuantileSearch::add(std::span<const float> values) { count(values); }
void QuantileSearch::add(std::span<const double> values) { count(values); }

void QuantileSearch::merge(const QuantileSearch& other) {
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    auto& window = windows_[i];
    const auto& theirs = other.windows_[i];
    if (!window.same_place(theirs) || window.order != theirs.order || done_ != other.done_) {
      throw broken_sweep("quantile searches of different sweeps cannot be merged");
    }
    for (std::size_t bin = 0; bin < window.bins.size(); ++bin) window.bins[bin] += theirs.bins[bin];
  }
}

void QuantileSearch::advance(double tolerance) {
  if (done_) return;
  auto& [lower, upper] = windows_;
  upper.narrow(lower.same_place(upper) ? lower.bins : upper.bins);
  lower.narrow(lower.bins);
  lower.open();
  upper.open();
  done_ = bracket() <= tolerance;
}

double QuantileSearch::lower_bound() const {
  if (undefined_) return std::numeric_limits<double>::quiet_NaN();
  return interpolate(value_of(windows_[0].first), value_of(windows_[1].first), fraction_);
}

double QuantileSearch::upper_bound() const {
  if (undefined_) return std::numeric_limits<double>::quiet_NaN();
  return interpolate(value_of(windows_[0].last), value_of(windows_[1].last), fraction_);
}

double QuantileSearch::value() const { return std::midpoint(lower_bound(), upper_bound()); }

void QuantileSearch::serialise(base::ByteWriter& out) const {
  out.put(fraction_);
  for (const auto& window : windows_) {
    out.put(window.order);
    out.put(window.first);
    out.put(window.last);
    out.put(window.below);
    out.put(window.shift);
    out.put(window.bins);
  }
  out.put(undefined_);
  out.put(done_);
}

QuantileSearch QuantileSearch::deserialise(base::ByteReader& in) {
  QuantileSearch search;
  search.fraction_ = in.get<double>();
  for (auto& window : search.windows_) {
    window.order = in.get<std::uint64_t>();
    window.first = in.get<std::uint64_t>();
    window.last = in.get<std::uint64_t>();
    window.below = in.get<std::uint64_t>();
    window.shift = in.get<std::uint32_t>();
    window.bins = in.get_vector<std::uint64_t>();
  }
  search.undefined_ = in.get<bool>();
  search.done_ = in.get<bool>();
  return search;
}

QuartileSearch::QuartileSearch(const ElementRange& range) : lower_(range, 0.25), upper_(range, 0.75) { settle(); }

QuartileSearch::QuartileSearch(QuantileSearch lower, QuantileSearch upper)
    : lower_(std::move(lower)), upper_(std::move(upper)) {
  settle();
}

// The inter-quartile range is known only as well as the quartiles are, so hold them to its lower bound.
void QuartileSearch::settle() {
  const double tolerance = kRelativeTolerance * (upper_.lower_bound() - lower_.upper_bound());
  done_ = (lower_.done() && upper_.done()) || std::max(lower_.bracket(), upper_.bracket()) <= tolerance;
}

void QuartileSearch::add(std::span<const float> values) {
  lower_.add(values);
  upper_.add(values);
}

void QuartileSearch::add(std::span<const double> values) {
  lower_.add(values);
  upper_.add(values);
}

void QuartileSearch::merge(const QuartileSearch& other) {
  lower_.merge(other.lower_);
  upper_.merge(other.upper_);
}

void QuartileSearch::advance() {
  if (done_) return;
  lower_.advance(0);
  upper_.advance(0);
  settle();
}

void QuartileSearch::serialise(base::ByteWriter& out) const {
  lower_.serialise(out);
  upper_.serialise(out);
}

QuartileSearch QuartileSearch::deserialise(base::ByteReader& in) {
  auto lower = QuantileSearch::deserialise(in);
  return {std::move(lower), QuantileSearch::deserialise(in)};
}

}  // namespace winnow::stats
