// Which products make a pass. S is the stored tensor, V or V^T:
//
//                  sweep 1                sweep 2         members of a team add up
//     straight     Y += S^T * B           P[rows] = S * Y         Y
//     transposed   Y[rows] = S * B        P += S^T * Y            P
//     along        as sweep 1                                     Y, if straight
//     turned       P[rows] = S * A^T, or if transposed P += S^T * A^T    P, if transposed
#include "sweep_pass.hpp"

#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "winnow/compute/range.hpp"

namespace winnow::compute {
namespace {

class SweepPass final : public AlignmentPass {
 public:
  explicit SweepPass(std::unique_ptr<Primitives> primitives) : primitives_(std::move(primitives)) {}

  using AlignmentPass::begin;
  void begin(const FactorStack& stack, const Operand& operand, const Share& share) override {
    const bool pays = !operand.stored_transposed && !operand.keeps_y && primitives_->turns();
    const bool turned = operand.along && (operand.keeps_p || pays);
    sweeps_ = {operand, share, turned};
    squared_norm_ = 0;
    late_ = fetched_ = false;
    statistics_ = stats::ModuleStatistics::identity(stack.ranks, stack.sketch_columns);
    primitives_->begin(stack, sweeps_);
  }

  void pass1(const slab::Slab& slab) override {
    if (is_empty(slab)) return;
    // <V, B*A> is <V*A^T, B> as well as <V^T*B, A^T>: of the two the one whose rows are the stored ones, if that pays.
    const auto x = sweeps_.turned ? Skinny::y : Skinny::b, out = sweeps_.turned ? Skinny::p : Skinny::y;
    const bool by_rows = sweeps_.turned != transposed();
    const auto squares = primitives_->multiply(slab, {x, out, by_rows, 1, digest()});
    if (squares) {
      squared_norm_ += *squares;
      look_for_unusable(slab, *squares);
    } else {
      // The second sweep looks, or who asks must_look(): to ask for the norm here would be to wait for each slab.
      late_ = true;
    }
  }

  void reduce_pass1(TeamSums& team) override {
    require_norm();
    team.sum(std::span(&squared_norm_, 1));
    if (sweeps_.turned == transposed()) primitives_->add_up(team, sweeps_.turned ? Skinny::p : Skinny::y);
  }

  void pass2(const slab::Slab& slab) override {
    if (is_empty(slab)) return;
    require_norm();
    if (late_) look_for_unusable(slab, squared_norm_);
    primitives_->multiply(slab, {Skinny::y, Skinny::p, !transposed(), 2, digest()});
  }

  void reduce_pass2(TeamSums& team) override {
    if (transposed()) primitives_->add_up(team, Skinny::p);
  }

  stats::ModuleStatistics finish() override {
    require_norm();
    statistics_.squared_norm = squared_norm_;
    const double f = std::sqrt(squared_norm_);
    if (f > 0 && !sweeps_.operand.along) primitives_->divide_p(f);
    if (!sweeps_.operand.keeps_p) primitives_->gram_sums(statistics_);
    return statistics_;
  }

  bool must_look() const override { return late_ && sweeps_.operand.along && may_be_unusable(squared_norm_); }

  bool reduce_statistics(TeamSums& team, stats::ModuleStatistics& mine) override {
    // If a weight may be unusable, who found it has to be told as well. The sum is the team's: all of it agree.
    return !may_be_unusable(mine.squared_norm) && primitives_->add_up_gram_sums(team, mine);
  }

  std::vector<double> y(std::size_t adapter) const override { return primitives_->columns_of(Skinny::y, adapter); }
  std::vector<double> p(std::size_t adapter) const override { return primitives_->columns_of(Skinny::p, adapter); }
  std::vector<ElementStatistics> element_statistics(const std::function<void()>& between) override {
    return primitives_->element_statistics(between);
  }

  bool preload(const slab::Slab& slab) override { return is_empty(slab) || primitives_->preload(slab); }
  void drop_preloaded() noexcept override { primitives_->drop_preloaded(); }
  void complete() override { primitives_->complete(); }
  std::string description() const override { return primitives_->description(); }
  PassDevice* device() override { return primitives_->device(); }

 private:
  bool transposed() const { return sweeps_.operand.stored_transposed; }
  static bool is_empty(const slab::Slab& slab) { return slab.rows * slab.columns == 0; }

  void look_for_unusable(const slab::Slab& slab, double squares) {
    if (may_be_unusable(squares)) statistics_.unusable.merge(find_unusable(slab));
  }

  /// Waits if a device computes.
  void require_norm() {
    if (!late_ || std::exchange(fetched_, true)) return;
    squared_norm_ = primitives_->squared_norm();
  }

  std::unique_ptr<Primitives> primitives_;
  Sweeps sweeps_;
  double squared_norm_ = 0;
  bool late_ = false, fetched_ = false;  // f^2, from the device that computes it
  stats::ModuleStatistics statistics_;
};

}  // namespace

std::unique_ptr<AlignmentPass> make_sweep_pass(std::unique_ptr<Primitives> primitives) {
  return std::make_unique<SweepPass>(std::move(primitives));
}

}  // namespace winnow::compute
