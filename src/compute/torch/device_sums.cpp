#include "device_sums.hpp"

#include <cstddef>
#include <span>

namespace winnow::compute {

DeviceArray array_of(const DeviceQueue& queue, const at::Tensor& tensor) {
  return {tensor.data_ptr(), static_cast<std::uint64_t>(tensor.numel()), tensor.scalar_type() == at::kDouble,
          queue.stream(), [&queue] { return queue.finished(); }};
}

void add_up(const DeviceQueue& queue, TeamSums& team, const at::Tensor& tensor) {
  if (team.sum_on_device(array_of(queue, tensor))) return;
  const auto host = tensor.to(at::kCPU).clone();
  const auto count = static_cast<std::size_t>(host.numel());
  if (host.scalar_type() == at::kDouble) {
    team.sum(std::span(host.data_ptr<double>(), count));
  } else {
    team.sum(std::span(host.data_ptr<float>(), count));
  }
  tensor.copy_(host);
}

}  // namespace winnow::compute
