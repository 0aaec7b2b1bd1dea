// The probes of a run: opened once by the coordinator, known to every rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/log.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/probes/source.hpp"

namespace winnow::input {

/// An update, or a direction of the weights, of which the effect is known.
struct ProbeInput {
  probes::Source source;
  std::string name;    ///< unique within a run: the last component of its path, or more of it
  std::string digest;  ///< of what it was read from: a direction's headers and sample, an adapter's weights
  checkpoint::Catalogue
      weights;               ///< of a direction: its tensors. Of an adapter: its modules as a model has them, no bytes
  adapter::Adapter adapter;  ///< of an adapter: mapped on the names of the run

  bool is_direction() const { return source.form == probes::Form::direction; }
  void serialise(base::ByteWriter& out) const;
  static ProbeInput deserialise(base::ByteReader& in);
};

/// Reads headers. An adapter is not mapped yet. Throws Error for a probe that cannot be used: unlike one adapter of a
/// zoo, it concerns all scores.
std::vector<ProbeInput> open_probes(const std::vector<probes::Source>& sources, const base::Log& log);

/// What adapters are mapped on if there is no checkpoint: every module of any probe, with its shape. Throws
/// Error(invalid_input) if two probes differ in the shape of one.
checkpoint::Catalogue names_of(const std::vector<ProbeInput>& probes);

/// Maps the probes that are adapters on `names`, as all adapters are. Warns of tensors that are no part of a probe.
void map_probes(std::vector<ProbeInput>& probes, const checkpoint::Catalogue& names,
                const checkpoint::ModelConfig& model, const adapter::AdapterOptions& options, const base::Log& log);

/// Throws Error(usage) for two adapters of the same content, under whichever names: together they would count twice, or
/// for nothing.
void refuse_equal(const std::vector<ProbeInput>& probes);

/// A direction's tensor for a weight of this shape; nullptr if it has none. Throws Error(invalid_input) for one of
/// another shape or of a dtype to compute nothing with.
const checkpoint::TensorLocation* tensor_of(const ProbeInput& direction, const std::string& weight,
                                            const std::vector<std::uint64_t>& shape);

}  // namespace winnow::input
