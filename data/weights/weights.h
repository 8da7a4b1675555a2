// Weights from any of the places where they lie.
#pragma once
#include <string>

#include "data/weights/safetensors.h"

namespace vitral::data {

/// Reads
///   a run folder (what checkpoints/best names, or checkpoints/latest where there is no best),
///   a folder with model.safetensors (a checkpoint, checked against its state.json where it has one; Hugging
///   Face's folders) or else pytorch_model.bin,
///   a .safetensors file; a .pt, .pth or .bin file of torch.save or torch.jit.save.
/// Files are recognised by their contents. `memory`: of .safetensors; others are always copied. Throws
/// UsageError for a path that is none of these, Error for one that is damaged.
WeightsFile read_weights(const std::string& path, TensorMemory memory = TensorMemory::own);

/// The file that read_weights() would read: the path itself, or the one in the folder or in the checkpoint
/// that it chooses.
std::string find_weights(const std::string& path);

}  // namespace vitral::data
