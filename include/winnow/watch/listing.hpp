// What lies in the directory of a training run: each adapter of each checkpoint-N, as one look saw its files.
//
// The Trainer of Hugging Face writes RUN/checkpoint-N in place, in this order: README.md, the adapter (PEFT:
// adapter_model.safetensors, then adapter_config.json; each named adapter likewise in checkpoint-N/NAME), the
// tokenizer, training_args.bin, optimizer.pt, scheduler.pt, rng_state*.pth and, last, trainer_state.json. Then it
// removes older checkpoints, their files in any order. Some versions stage it as tmp-checkpoint-N, which is no
// checkpoint-N. safetensors gives a file its full length before its bytes, under the final name or a temporary one: a
// header that fits the file's size does not say that the data is there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "winnow/base/file_state.hpp"
#include "winnow/base/log.hpp"

namespace winnow::watch {

/// An adapter of a run: RUN/checkpoint-N, or a directory below it.
struct Place {
  std::uint64_t step = 0;
  std::string name;  ///< of the directory, relative to the run: checkpoint-30, checkpoint-30/NAME
  std::string checkpoint() const { return name.substr(0, name.find('/')); }
  bool operator==(const Place&) const = default;
  bool operator<(const Place& other) const { return step != other.step ? step < other.step : name < other.name; }
};

struct SeenFile {
  base::FileState state;  ///< all zero: not there
  bool whole = false;     ///< its text or header is complete; the data of weights may still be missing
  bool operator==(const SeenFile&) const = default;
};

struct Seen {
  SeenFile weights, config;  ///< adapter_model.safetensors, adapter_config.json
  SeenFile trainer;          ///< trainer_state.json of the checkpoint

  bool operator==(const Seen&) const = default;
  bool is_complete() const { return weights.whole && config.whole; }
  /// What the Trainer writes last is there, and is not older than the adapter, as it is if a restarted run writes
  /// over a checkpoint.
  bool is_finished() const;
  std::string lack() const;  ///< what keeps it from being complete, in words
};

/// In order of steps.
using Listing = std::map<Place, Seen>;

class Directory {
 public:
  explicit Directory(std::string path) : path_(std::move(path)) {}

  /// Nothing if there is no such directory, or if it cannot be read just now, which is told once. A checkpoint
  /// that is removed meanwhile is left out. Throws Error(usage) for what is no directory.
  std::optional<Listing> look(const base::Log& log);
  const std::string& path() const { return path_; }

 private:
  SeenFile seen(const std::string& path, bool (*whole)(const std::string& path));
  void add_checkpoint(const std::string& name, std::uint64_t step, Listing& listing);

  std::string path_, told_;
  std::map<std::string, SeenFile> known_, now_;  // by path: what has not changed is not read again
};

}  // namespace winnow::watch
