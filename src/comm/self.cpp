#include <cstdlib>
#include <utility>

#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

class Self final : public Communicator {
 public:
  int rank() const noexcept override { return 0; }
  int size() const noexcept override { return 1; }
  int node_rank() const noexcept override { return 0; }
  int node_size() const noexcept override { return 1; }
  std::string description() const override { return "self"; }
  void barrier() override {}
  void broadcast(std::string&, int) override {}
  std::vector<std::string> gather(const std::string& bytes, int) override { return {bytes}; }
  void sum(std::span<double>) override {}
  void sum(std::span<float>) override {}
  std::unique_ptr<Communicator> team(int) override { return make_self(); }
  std::int64_t maximum(std::int64_t value) override { return value; }
  void notify_failure() override {}
  bool peer_failed() override { return false; }
  void forget_failures() override {}
  void request_stop() override { stop_ = true; }
  bool stop_requested() override { return stop_; }
  bool forget_stop() override { return std::exchange(stop_, false); }
  void while_waiting(std::function<void()>) override {}
  void watch_peers(std::chrono::seconds, std::function<void(const std::string&)>) override {}
  void keep_alive() override {}
  void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  bool stop_ = false;
};

}  // namespace

std::unique_ptr<Communicator> make_self() { return std::make_unique<Self>(); }

}  // namespace winnow::comm
