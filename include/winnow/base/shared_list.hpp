// A list that is not changed in place, and that any number of owners share: of ten thousand adapters most were saved
// alike, and what is alike is in memory once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace winnow::base {

/// A copy costs a pointer. Reads as a constant std::vector.
template <class T>
class SharedList {
 public:
  using value_type = T;
  using const_iterator = typename std::vector<T>::const_iterator;

  SharedList() = default;
  SharedList(std::vector<T> items) {  // NOLINT: a vector is a list
    if (!items.empty()) items_ = std::make_shared<const std::vector<T>>(std::move(items));
  }
  SharedList(std::initializer_list<T> items) : SharedList(std::vector<T>(items)) {}

  const std::vector<T>& all() const noexcept { return items_ ? *items_ : none(); }
  const_iterator begin() const noexcept { return all().begin(); }
  const_iterator end() const noexcept { return all().end(); }
  std::size_t size() const noexcept { return all().size(); }
  bool empty() const noexcept { return items_ == nullptr; }
  const T& operator[](std::size_t n) const noexcept { return (*items_)[n]; }
  const T& at(std::size_t n) const { return all().at(n); }
  const T& front() const noexcept { return items_->front(); }
  const T& back() const noexcept { return items_->back(); }
  void clear() noexcept { items_.reset(); }

  /// Gives this owner a list of its own, as `change` makes it of a copy.
  template <class Change>
  void edit(Change change) {
    auto items = all();
    change(items);
    *this = SharedList(std::move(items));
  }

  /// The same for owners of one list, as long as one of them lives; null for an empty one.
  const void* id() const noexcept { return items_.get(); }

 private:
  static const std::vector<T>& none() noexcept {
    static const std::vector<T> empty;
    return empty;
  }

  std::shared_ptr<const std::vector<T>> items_;  // null if empty
};

/// One of each list. T has hash(), and is_same(other), bit for bit.
template <class T>
class ListPool {
 public:
  /// A list of the same items: the first that was given, or what `own` makes of `list`, which must be the same.
  template <class Own>
  SharedList<T> share(const SharedList<T>& list, Own own) {
    if (list.empty()) return list;
    std::uint64_t hash = list.size();
    for (const auto& item : list) hash = hash * kMix + item.hash();
    const auto [first, last] = known_.equal_range(hash);
    for (auto at = first; at != last; ++at) {
      if (are_same(at->second, list)) return at->second;
    }
    return known_.emplace(hash, own(list))->second;
  }
  SharedList<T> share(const SharedList<T>& list) {
    return share(list, [](const SharedList<T>& same) { return same; });
  }

 private:
  static constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15;  // odd: 2^64 by the golden ratio

  static bool are_same(const SharedList<T>& one, const SharedList<T>& other) {
    if (one.id() == other.id()) return true;
    if (one.size() != other.size()) return false;
    for (std::size_t n = 0; n < one.size(); ++n) {
      if (!one[n].is_same(other[n])) return false;
    }
    return true;
  }

  std::unordered_multimap<std::uint64_t, SharedList<T>> known_;
};

}  // namespace winnow::base
