// What a training loop of PyTorch saves beside the weights: the state of torch.optim.AdamW and of
// torch.optim.lr_scheduler.ReduceLROnPlateau. Read as data/weights/torch_file.h reads weights: nothing is
// run.
//
//   torch.save({"epoch": epoch, "model_state_dict": model.state_dict(),
//               "optimizer_state_dict": optimizer.state_dict(),
//               "scheduler_state_dict": scheduler.state_dict()}, path)
#pragma once
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "data/weights/safetensors.h"

namespace vitral::data {

struct TorchAdamW {
  double lr = 0;  // of the next step
  double weight_decay = 0;
  std::array<double, 2> betas{};
  double eps = 0;
  /// Of each parameter that got a gradient NAME.exp_avg, NAME.exp_avg_sq (in their dtype) and NAME.step
  /// (int64 [1]).
  NamedTensors state;
  std::int64_t steps = 0;  // the most that a parameter made
};

struct TorchPlateau {
  double factor = 0, threshold = 0, min_lr = 0;
  double best = std::numeric_limits<double>::infinity();
  std::int64_t patience = 0, cooldown = 0, bad_epochs = 0;
  std::int64_t epochs = 0;  // calls of scheduler.step()
};

struct TorchTraining {
  WeightsFile model;  // as read_torch_file() gives it
  std::optional<TorchAdamW> optimizer;
  std::optional<TorchPlateau> scheduler;
  std::optional<std::int64_t> epoch;  // the entry "epoch": the last finished one, from 0
};

/// optimizer and scheduler are empty where the file has no optimizer_state_dict (or "optimizer") and no
/// scheduler_state_dict ("scheduler", "lr_scheduler"). The optimiser numbers parameters in the order of
/// model.parameters(), which is that of the state dict. Throws Error, one line, for state that does not fit
/// the weights, of another optimiser (SGD, Adam with L2 decay, amsgrad, several parameter groups) or another
/// scheduler.
TorchTraining read_torch_training(const std::string& path);

}  // namespace vitral::data
