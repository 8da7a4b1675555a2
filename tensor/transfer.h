// Tensors on their way between the host and a device, while both go on: batch after batch goes there beside
// what is computed, and results come back behind it. On the CPU nothing is copied and nothing waits.
//
//   Upload up(device);
//   up.begin({images});                              // on the host
//   const Tensor y = f(up.to()[0]);                  // kernels see the copy
//   up.end();                                        // they were queued: to() may be used again behind them
//   Download down(device);
//   down.add(on_host, y);                            // Download::room()
//   down.keep(up.take_sources());
//   down.end();
//   ...                                              // the next batch, by another Upload
//   down.wait();                                     // now on_host has the values
#pragma once
#include <utility>
#include <vector>

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace vitral {

/// Tensors of the host, brought to the same memory of a device again and again. Two of them, in turns, let
/// one batch arrive while the one before is computed.
class Upload {
 public:
  explicit Upload(Device device) : device_(device), copied_(device), read_(device) {}
  ~Upload() { wait_for_copies(); }
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  /// Queues copies of `from` beside what is computed; undefined ones stay so. Kernels that are queued from
  /// here on find them in to(), until the next begin(). Pinned tensors are copied from where they are, and
  /// must not change before the device has got so far; of others a pinned copy is made now. Returns whether
  /// anything of to() has come to lie elsewhere.
  bool begin(std::vector<Tensor> from);
  /// Of each its rows first, with room behind them for the most that there ever were. On the CPU the tensors
  /// themselves.
  const std::vector<Tensor>& to() const { return to_; }
  /// Kernels that read to() were queued: the next begin() copies behind them. Not needed where somebody has
  /// waited for them.
  void end() { read_.record(Queue::compute); }
  /// What is copied from, for somebody who holds it until the device has got so far. Who leaves it here waits
  /// for that in the next begin().
  std::vector<Tensor> take_sources() { return std::exchange(sources_, {}); }

 private:
  void wait_for_copies() noexcept;

  Device device_;
  std::vector<Tensor> to_, sources_;
  Event copied_, read_;
};

/// Tensors of a device on their way to the host.
class Download {
 public:
  explicit Download(Device device) : device_(device), done_(device) {}
  ~Download();
  Download(Download&&) = default;
  Download& operator=(Download&&) = delete;
  /// Memory of the host for what is to come: pinned where the device is a GPU.
  static Tensor room(Device device, const Shape& shape, DType dtype = DType::float32) {
    return device.is_cpu() ? Tensor(shape, dtype) : Tensor::pinned(shape, dtype);
  }

  /// Queues the copy of `from` to `to` on the host, of one shape and dtype, behind what is computed.
  void add(Tensor to, const Tensor& from);
  /// Holds what the device still reads.
  void keep(std::vector<Tensor> sources);
  /// All were added.
  void end() { done_.record(Queue::compute); }
  /// Until all are here.
  void wait();

 private:
  Device device_;
  std::vector<Tensor> held_;
  Event done_;
};

}  // namespace vitral
