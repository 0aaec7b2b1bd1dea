// Repairs of an update by itself: scale. Nothing is read beside the adapter.
#include <fmt/format.h>

#include "families.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/repair/scale.hpp"

namespace winnow::output {
namespace {

class Alone final : public Repairer {
 public:
  explicit Alone(double factor) : factor_(factor) {}

  adapter::Adapter open(const std::string& directory, const base::Log& log) override {
    return adapter::open_lone_adapter(directory, kCannotBeRepaired, log);
  }
  bool reaches(const adapter::LoraModule& /*module*/) const override { return true; }
  repair::Factors repaired(const adapter::LoraModule& /*module*/, const repair::Factors& update) override {
    return repair::scaled(update, factor_);
  }
  adapter::RepairNote note() const override { return {"scale", {{"factor", fmt::format("{}", factor_)}}}; }

 private:
  double factor_;
};

}  // namespace

std::unique_ptr<Repairer> alone(const run::ModuleRepair& repair) { return std::make_unique<Alone>(repair.factor); }

}  // namespace winnow::output
