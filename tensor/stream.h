// Work that a device does while the host goes on. On the CPU everything is done when a call returns: events
// are always over and there are no graphs.
//
//   Event copied(device);
//   copy_async(pixels, pinned, Queue::copy);       // the host goes on
//   copied.record(Queue::copy);
//   copied.hold(Queue::compute);                   // kernels queued from here on see the pixels
//   ...
//   copied.wait();                                 // now `pinned` may be written again
#pragma once
#include <functional>
#include <memory>

#include "tensor/device.h"

namespace vitral {

class Tensor;

/// All kernels go to `compute`; `copy` is for transfers beside them.
enum class Queue : unsigned char { compute, copy };

/// Waits until the device has done all that was queued; errors of that work are thrown here.
void synchronize(Device device);

/// Queues a copy between a tensor on a device and one in pinned host memory (Tensor::pinned), of one shape
/// and dtype. Neither may be changed or given back before an event recorded behind it is done. On the CPU a
/// plain copy.
void copy_async(Tensor& to, const Tensor& from, Queue queue);

/// A mark in a queue.
class Event {
 public:
  explicit Event(Device device);
  /// Marks the end of all that the queue holds now.
  void record(Queue queue);
  /// What is queued on `queue` from now on starts after the mark.
  void hold(Queue queue) const;
  bool done() const;
  void wait() const;
  /// Between two marks that are done, on the device's clock; 0 on the CPU.
  double seconds_since(const Event& start) const;

 private:
  Device device_;
  std::shared_ptr<void> event_;  // null on the CPU
};

/// A recorded sequence of kernels that the device starts as one. What runs is what was recorded: the same
/// memory (keep it with a MemoryPool, tensor/storage.h) and the same numbers; what changes from launch to
/// launch must lie in device memory.
class Graph {
 public:
  static bool supported(Device device);
  /// Records what `work` queues on `compute`; nothing of it runs. `work` must not wait for the device.
  Graph(Device device, const std::function<void()>& work);
  void launch() const;

 private:
  Device device_;
  std::shared_ptr<void> graph_;
};

}  // namespace vitral
