// Images through a network without gradients, while the host goes on: their pixels reach the device beside
// what is computed there, and results come back behind it.
#pragma once
#include <array>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "autograd/variable.h"
#include "tensor/transfer.h"

namespace vitral::models {

/// A result that is on its way. On the CPU it is there when it is begun.
template <class Result>
class Pending {
 public:
  /// check: of the result, once it is here.
  Pending(Result result, Download download, std::function<void(const Result&)> check)
      : result_(std::move(result)), download_(std::move(download)), check_(std::move(check)) {}

  /// Waits for it, once.
  Result get() {
    download_.wait();
    check_(result_);
    return std::move(result_);
  }

 private:
  Result result_;
  Download download_;
  std::function<void(const Result&)> check_;
};

/// How many batches are best begun before the one whose results are asked for (processes/ahead.h): a GPU
/// always has one to do then, while the host reads the next and deals with the results.
inline std::size_t batches_ahead(Device device) { return device.is_cpu() ? 0 : 1; }

/// What an encoder begins, one call after the other.
class Inference {
 public:
  explicit Inference(Device device) : device_(device), uploads_{Upload(device), Upload(device)} {}

  Device device() const { return device_; }
  /// Room for results [rows,...] on the host.
  Tensor room(const Shape& shape) const { return Download::room(device_, shape); }

  /// pixels on the device: what is wanted of these images, a row each, of any float dtype.
  using Compute = std::function<std::vector<Variable>(const Tensor& pixels)>;
  /// Of images uint8 [B,...] on the CPU, in pieces of at most `batch`: compute(piece)[i] goes to the same
  /// rows of out[i], float32 [B,...] of room(). Pinned images must not change until the results are there.
  Download begin(const Tensor& images, std::int64_t batch, const std::vector<Tensor>& out,
                 const Compute& compute);

 private:
  Device device_;
  std::mutex mutex_;  // several threads may ask one encoder
  std::array<Upload, 2> uploads_;
  std::size_t begun_ = 0;
};

}  // namespace vitral::models
