// Whether steps keep what backward would compute again (train.recompute; KeepResults in autograd/variable.h).
// The bits are the same, but where an activation comes out of the product before it (Keeping::always); kept,
// a step takes more memory and less time.
//
// auto, on a GPU: steps that run as they come compute again, and count what keeping would take. The graph of
// the steps that follow keeps it where the device has as much free and a margin: what validation and a
// teacher in the loop need beside the step, and what is lost between blocks. Where memory runs short
// nevertheless, later and whoever asks for it, the step gives up what was kept. On the CPU auto is always.
#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "autograd/variable.h"
#include "tensor/storage.h"

namespace vitral::train {

class Recompute {
 public:
  /// choice: auto | always | never
  Recompute(const std::string& choice, Device device);

  /// A step that runs as it comes.
  void run(const std::function<void()>& step);
  /// Whether the graph of such a step as run() has just seen is to keep its results. Asked again, it says the
  /// same until the next run().
  Keeping keeps();
  /// Memory has run short: nothing is kept from here on. False: it was not, or is to be (never).
  bool give_up();
  /// What auto has decided since the last call, for people; "" where it is nothing new.
  std::string take_note();

 private:
  Device device_;
  bool automatic_;
  Keeping keeps_;                // where it is not automatic
  std::size_t bytes_ = 0;        // that keeping would take, of the last run()
  std::optional<bool> decided_;  // for steps as that one
  bool kept_ = false;            // by a graph of any size
  std::string note_;
};

}  // namespace vitral::train
