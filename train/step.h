// One optimiser step: forward and backward over the micro-batches of a batch, the check for values that are
// not finite, clipping, AdamW, and the moving average of the weights.
#pragma once
#include <optional>
#include <vector>

#include "data/safetensors.h"
#include "nn/student.h"
#include "train/adamw.h"
#include "train/config.h"

namespace vitral::train {

struct StepResult {
  double loss = 0;           // mean over the batch
  double gradient_norm = 0;  // before clipping
  bool skipped = false;      // loss or gradient not finite: nothing was changed
};

class TrainStep {
 public:
  TrainStep(nn::Student& student, const TrainConfig& config, Device device);

  /// Weights of another run to begin with; UsageError naming `where` when they are another architecture's.
  void start_from(const data::NamedTensors& weights, const std::string& where);
  /// images uint8 [B,S,S,3], targets float32 [B,D], both on the CPU.
  StepResult run(const Tensor& images, const Tensor& targets, double lr);

  /// Weights to evaluate and to deploy: the averaged ones where `ema` is set, else the student's own.
  data::NamedTensors weights() const;
  /// What else a resume needs: moments, and the student's own weights as raw.NAME where weights() are
  /// averages.
  data::NamedTensors state() const;
  /// All or nothing; UsageError naming `where` when they are another architecture's.
  void load(const data::NamedTensors& weights, const data::NamedTensors& state, const std::string& where);

  /// While one lives, the student computes with weights().
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
  void swap_average();

  nn::Student& student_;
  const TrainConfig& config_;
  Device device_;
  AdamW optimizer_;
  std::vector<Tensor> average_;  // in the order of the parameters; empty without ema
};

}  // namespace vitral::train
