// A method: what it is called, what it needs of the weights, and the datasets it makes. Each is one file of
// src/methods; table.hpp lists them, and everything else (options, reports, selection, merge) follows that table.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "winnow/methods/dense_layer.hpp"
#include "winnow/methods/layer.hpp"
#include "winnow/methods/zoo.hpp"

namespace winnow::methods {

/// Which end of a dataset means misaligned. A dataset of which neither does describes; it cannot select.
enum class Sense : std::uint8_t { none, high_is_worse, low_is_worse };

/// What a value of a layer is measured against beside the layer itself. Values that have no peers, or those of the same
/// module in all adapters, can be compared between adapters; others only within one.
enum class Peers : std::uint8_t {
  none,
  adapter,     ///< the other layers of its adapter
  population,  ///< what --population says
};

/// How people are shown a value.
enum class Form : std::uint8_t {
  number,
  share,     ///< mostly within [-1, 1]
  robust,    ///< in inter-quartile ranges from the median of its peers
  category,  ///< a code from 0 into Column::categories
};

/// Sums that a method reads, as bits. What a run sums up follows from its methods.
enum Sum : std::uint32_t {
  kUpdateSums = 1,           ///< B^T B: of the adapter alone
  kProjectionSums = 2,       ///< P^T P, P^T B, D^T D: two sweeps over V
  kAlongSums = 4,            ///< <Y, A^T>, f: one sweep over V
  kCrossCheckSums = 8,       ///< Y^T Y: one sweep over V
  kSubspaceSums = 16,        ///< M^T B, Z^T A^T, and of the module Z^T Z and M^T M: two sweeps over V, with the sketch
  kEntrySums = 32,           ///< ranges, sums and quartiles of the entries of C*dW and dW: two sweeps, --element-stats
  kProbeSums = 64,           ///< <D, dW> for each probe D, and ||D||: one sweep over a direction, none for an adapter
  kWeightSums = 128,         ///< H^T H, H^T A^T with H = W^T B, and ||W||: one sweep over W, the aligned weight
  kSpreadSums = 256,         ///< energies of the rows and columns of dW: of the adapter alone
  kWeightRightSums = 512,    ///< K^T K, K^T B with K = W A^T, beside kWeightSums: a second sweep over W
  kWeightSketchSums = 1024,  ///< of a sketch of W in these two sweeps Z^T A^T, M^T B, M^T K, Z^T Z and M^T M

  /// What is asked of W only by name.
  kMoreWeightSums = kWeightRightSums | kWeightSketchSums,
  /// What the two sweeps over V give, the sketch and the entries aside.
  kPairSums = kProjectionSums | kAlongSums | kCrossCheckSums,
  /// What no weights are needed for.
  kAdapterSums = kUpdateSums | kSpreadSums,
};

/// A dataset of /metrics.
struct Column {
  std::string_view name = {};       ///< e.g. alignment_removed
  std::string_view title = {};      ///< for people, e.g. "alignment removed"
  std::string_view long_name = {};  ///< one line, with symbols as in src/methods/README.md
  Sense sense = Sense::none;
  Form form = Form::number;
  std::string_view categories = {};  ///< of Form::category: their names, separated by spaces
  std::string_view compares = {};  ///< the dataset of single layers that this one sets against its peers, if it is one
  Peers peers = Peers::none;
  bool of_population = false;    ///< long_name is completed by the name of the population
  std::string_view narrow = {};  ///< shown in tables under this short heading; empty: only if it ranks
};

/// Values of one layer, one for each column.
using LayerValues = void (*)(const Layer& layer, std::span<double> values);

/// The same of an update that is dense; what is not set stays undefined.
using DenseValues = void (*)(const DenseLayer& layer, std::span<double> values);

/// One number an adapter: a dataset of /adapters, made of all its modules.
struct AdapterColumn {
  std::string_view name = {};       ///< e.g. probe_cosine; not that of a dataset of layers
  std::string_view long_name = {};  ///< one line
  bool of_bank = false;             ///< only with a bank of harmless adapters
};

/// Datasets of a whole zoo, one for each column, each of Zoo::cells() values that are NaN before.
using ZooValues = void (*)(const Zoo& zoo, std::span<std::vector<double>> columns);
/// One for each adapter column, each of as many values as there are adapters, NaN before.
using AdapterValues = void (*)(const Zoo& zoo, std::span<std::vector<double>> columns);

/// At most one of `of_layer` and `over_zoo` is set, which make `columns`; beside it, or alone, there may be
/// `of_adapters`.
struct Method {
  std::string_view name = {};    ///< e.g. safe_lora
  std::string_view what = {};    ///< one line: what it sees
  std::string_view source = {};  ///< paper and equation, or "ours"
  std::uint32_t sums = 0;        ///< of Sum; a method over a population needs those of the datasets it reads
  std::span<const Column> columns = {};
  LayerValues of_layer = nullptr;
  DenseValues of_dense = nullptr;  ///< beside it, if inner products of entries are all that it takes
  ZooValues over_zoo = nullptr;
  std::span<const AdapterColumn> adapter_columns = {};
  AdapterValues of_adapters = nullptr;
};

}  // namespace winnow::methods
