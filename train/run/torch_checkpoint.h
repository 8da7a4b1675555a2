// A run that PyTorch code began (the original's checkpoints), to go on here: `vitral train CONFIG --resume
// x.pt`.
//
//   epoch          of the file counts finished epochs from 0, so training goes on with the one after; without
//                  it the scheduler's count of epochs is taken, else 0
//   step           the optimiser's
//   learning rate  the optimiser's in the file, and ReduceLROnPlateau's best loss and count of bad epochs
//   all else       the configuration's: weight decay, betas, eps, patience, factor, ...; each that the file
//                  has otherwise is a warning
//
// PyTorch's random numbers are not those of vitral: the next epoch has an order of images of its own.
#pragma once
#include <string>
#include <vector>

#include "models/objective.h"
#include "train/config.h"
#include "train/run/checkpoint.h"
#include "train/run/position.h"

namespace vitral::train {

/// Whether a path is a file of torch.save.
bool is_torch_checkpoint(const std::string& path);

/// The file as a checkpoint of this configuration, at the beginning of an epoch. Throws Error, one line, for
/// a file without state of AdamW or with state that does not fit (data/weights/torch_training.h).
Checkpoint load_torch_checkpoint(const std::string& path, const Config& config,
                                 const models::Objective& objective, const EpochOrder& order,
                                 std::vector<std::string>& warnings);

}  // namespace vitral::train
