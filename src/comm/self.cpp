#include <cstdlib>
#include <utility>

#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

/// There is no peer to tell.
class NoNotices final : public Notices {
 public:
  void notify_failure() override {}
  bool peer_failed() override { return false; }
  void forget_failures() override {}
  void request_stop() override { stop_ = true; }
  bool stop_requested() override { return stop_; }
  bool forget_stop() override { return std::exchange(stop_, false); }

 private:
  bool stop_ = false;
};

class NoPeers final : public PeerWatch {
 public:
  void begin(std::chrono::milliseconds, Lost) override {}
  void keep_alive() override {}
  void while_waiting(std::function<void()>) override {}
};

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
  std::int64_t maximum(std::int64_t value) override { return value; }
  std::unique_ptr<Communicator> team(int) override { return make_self(); }
  Notices& notices() override { return notices_; }
  PeerWatch& peers() override { return peers_; }
  void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  NoNotices notices_;
  NoPeers peers_;
};

}  // namespace

std::unique_ptr<Communicator> make_self() { return std::make_unique<Self>(); }

}  // namespace winnow::comm
