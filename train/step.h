// One optimiser step: forward and backward over the micro-batches of a batch, the check for values that are
// not finite, clipping, the optimiser, and the moving average of the weights.
//
// On a GPU nothing waits: submit() queues the copies of a batch beside the step before, and the step itself,
// from the second of its size on as one recorded graph. take() waits for the oldest.
#pragma once
#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "data/batch.h"
#include "data/weights/safetensors.h"
#include "models/objective.h"
#include "tensor/transfer.h"
#include "train/config.h"
#include "train/exchange.h"
#include "train/micro_batches.h"
#include "train/optimizer.h"
#include "train/recompute.h"

namespace vitral::train {

struct StepResult {
  double loss = 0;                             // mean over the images
  double gradient_norm = 0;                    // before clipping
  bool skipped = false;                        // loss or gradient not finite: nothing was changed
  std::vector<models::NamedValue> terms = {};  // means over the images (Objective::records_terms)
  // Of all processes together.
  std::int64_t images = 0;           // that counted; 0: there was nothing to learn from
  std::int64_t skipped_samples = 0;  // images that did not decode
  int signal = 0;                    // that asks one of them to stop, or 0
  double wait = 0;                   // seconds that the fastest waited for the slowest
  std::string note = {};             // what was decided of its memory, for people (Recompute)
};

/// What a process brings to a step of all.
struct StepPart {
  std::int64_t planned = 0;              // images of the whole batch
  std::vector<std::int64_t> slice_ends;  // rows up to the end of each slice that is this process's
  std::int64_t skipped = 0;              // images of its own that did not decode
  int signal = 0;                        // that asks it to stop, or 0
  bool poisoned = false;                 // a target of its own has no direction: the step is skipped
};

class TrainStep {
 public:
  static constexpr std::size_t max_pending = 2;

  /// Moves the model to the device. config.precision is that of the products (tf32, for all of the process)
  /// and of activations (bf16); bf16 keeps copies of the weights beside them.
  /// With several slices (of config.slices, or else one a process), the gradient is that of train/exchange.h.
  TrainStep(models::Objective& objective, const TrainConfig& config, Device device, Group& group = alone());
  ~TrainStep();
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  /// Weights of another run to begin with; UsageError naming `where` when they are another architecture's.
  void start_from(const data::NamedTensors& weights, const std::string& where);

  /// Begins a step on a batch on the CPU, at most max_pending at once; there it is done when this returns.
  /// Pinned tensors (Tensor::pinned) are copied to a GPU straight from where they are; they must not change
  /// until the step was taken. `step`: how many the run has done before, for ForwardContext.
  void submit(const data::Inputs& inputs, double lr, std::int64_t step = 0);
  /// The same with several slices; all processes do it. The images of a slice lie together.
  void submit(const data::Inputs& inputs, const StepPart& part, double lr, std::int64_t step);
  bool has_slices() const { return exchange_.has_value(); }
  /// Steps that were submitted and not taken.
  std::size_t pending() const { return submitted_ - taken_; }
  /// What became of the oldest one.
  StepResult take();
  StepResult run(const data::Inputs& inputs, double lr, std::int64_t step = 0) {
    submit(inputs, lr, step);
    return take();
  }

  /// What activations and products of this configuration are in.
  DType compute_dtype() const { return dtype_; }

  /// Weights to evaluate and to deploy: the averaged ones where `ema` is set, else the model's own.
  data::NamedTensors weights() const;
  /// What else a resume needs: the optimiser's state, and the model's own weights as raw.NAME where weights()
  /// are averages.
  data::NamedTensors state() const;
  /// All or nothing; UsageError naming `where` when they are another architecture's.
  void load(const data::NamedTensors& weights, const data::NamedTensors& state, const std::string& where);

  /// While one lives, the model computes with weights().
  class Averaged {
   public:
    explicit Averaged(TrainStep& step) : step_(step) { step_.swap_average(); }
    ~Averaged() { step_.swap_average(); }
    Averaged(const Averaged&) = delete;
    Averaged& operator=(const Averaged&) = delete;

   private:
    TrainStep& step_;
  };

 private:
  // A step in flight: what it reads and writes stays in place until it is taken.
  struct Slot {
    explicit Slot(Device device);
    Upload upload;
    data::Inputs inputs;      // of it, with room for the largest batch so far
    Tensor lr, step, result;  // pinned float64 [1], int64 [1], float64 [update_slots]
    Tensor own,
        all;  // with slices, pinned float64 [K,slice_numbers]: of this process's to begin with; of all
    std::int64_t images = 0;  // where there are no slices
    Event done;
    std::optional<Graph> graph;
    std::vector<std::int64_t>
        graph_ends;  // that it was recorded for: of each slice, or of the batch; empty: none

    void drop_graph() {
      graph.reset();
      graph_ends.clear();
    }
  };

  void upload(Slot& slot, const data::Inputs& inputs);
  void add_loss(const std::vector<models::Term>& terms, const Variable& loss, double weight);
  void add_gradients(const Slot& slot, const BatchRows& rows, std::int64_t micro, std::int64_t divisor);
  // The loss of a batch that is compared as a whole, and its gradient for each row of the features.
  struct Compared {
    std::vector<models::Term> terms;
    Variable loss, features;
  };
  Compared compare(Tensor features, const Tensor& present, std::int64_t images) const;
  Compared compare_slices(const Slot& slot, const StepPart& part, std::int64_t micro);
  void copy_numbers(const Slot& slot);
  void begin(Slot& slot, const data::Inputs& inputs, double lr, std::int64_t step);
  void run_or_replay(Slot& slot, const std::vector<std::int64_t>& ends, bool may_replay,
                     const std::function<void()>& work);
  void record(Slot& slot, const std::vector<std::int64_t>& ends, const std::function<void()>& work);
  bool give_back();
  void compute(Slot& slot, std::int64_t batch, std::int64_t micro);
  void compute_slices(Slot& slot, const StepPart& part);
  UpdateOptions update_options() const;
  void swap_average();

  models::Objective& objective_;
  const TrainConfig& config_;
  Device device_;
  bool is_first_process_;
  Tensor step_;  // int64 [1] on the device: that of the step which is computed, for ForwardContext
  DType dtype_ = DType::float32;
  std::optional<MicroBatches> pieces_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<Exchange> exchange_;
  std::vector<std::string> terms_;  // names, where the loss has more than one
  std::vector<Tensor> average_;     // in the order of the parameters; empty without ema
  std::optional<MemoryPool> pool_;  // of all that a step allocates, where there are graphs
  Recompute recompute_;
  std::optional<SpareMemory> spare_;  // what graphs keep that would do without
  bool recording_ = false;
  std::array<Slot, max_pending> slots_;
  std::size_t submitted_ = 0, taken_ = 0;
  std::vector<std::int64_t> last_ends_;  // of the step that last ran without a graph
};

}  // namespace vitral::train
