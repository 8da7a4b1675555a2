// Counts where the host waits for a GPU, real or simulated.
#pragma once
#include <vector>

#include "tensor/backend.h"

namespace vitral::test {

struct WaitCounts {
  int copies = 0, synchronizations = 0, uploads = 0;
  std::vector<int> uploads_at_waits;
};

/// While one lives; one at a time.
class Waits {
 public:
  Waits() {
    before_ = &backend(Device::Kind::cuda);
    counts_ = {};
    static Backend counting;
    counting = *before_;
    counting.copy = [](void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
      counts_.copies += static_cast<int>(to_device.is_cpu() || from_device.is_cpu());
      before_->copy(to, to_device, from, from_device, bytes);
    };
    counting.synchronize = [](int index) {
      ++counts_.synchronizations;
      before_->synchronize(index);
    };
    counting.copy_async = [](void* to, const void* from, std::size_t bytes, int index, Queue queue) {
      counts_.uploads += static_cast<int>(queue == Queue::copy);
      before_->copy_async(to, from, bytes, index, queue);
    };
    counting.wait_event = [](void* event) {
      counts_.uploads_at_waits.push_back(counts_.uploads);
      before_->wait_event(event);
    };
    register_backend(Device::Kind::cuda, counting);
  }
  ~Waits() { register_backend(Device::Kind::cuda, *before_); }
  Waits(const Waits&) = delete;
  Waits& operator=(const Waits&) = delete;

  /// Copies between host and device that return when they are done.
  static int copies() { return counts_.copies; }
  static int synchronizations() { return counts_.synchronizations; }
  /// For each wait for an event, how many copies of the copy queue had been asked for by then.
  static const std::vector<int>& uploads_at_waits() { return counts_.uploads_at_waits; }

 private:
  inline static const Backend* before_ = nullptr;
  inline static WaitCounts counts_;
};

}  // namespace vitral::test
