// Weights from any of the places where they lie.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "data/weights/safetensors.h"

namespace vitral::data {

/// Reads
///   a run folder (what checkpoints/best names, or checkpoints/latest where there is no best),
///   a folder with model.safetensors (a checkpoint, checked against its state.json where it has one; Hugging
///   Face's folders) or else pytorch_model.bin, each also cut into the files that NAME.index.json lists,
///   a folder of open_clip's (open_clip_model.safetensors, open_clip_pytorch_model.bin),
///   a model's folder in the Hugging Face hub's cache (models--ORG--NAME),
///   a .safetensors file; a .pt, .pth or .bin file of torch.save or torch.jit.save; a NAME.index.json.
/// What DistributedDataParallel and torch.compile put before every name ("module.", "_orig_mod.") is left
/// out. Files are recognised by their contents. `memory`: of .safetensors; others are always copied. Throws
/// UsageError for a path that is none of these, Error for one that is damaged.
WeightsFile read_weights(const std::string& path, TensorMemory memory = TensorMemory::own,
                         OtherTypes other_types = OtherTypes::refuse);

/// Whether some are int8, and how many numbers all of them hold beside the scales of these
/// (tensor/ops/linear_int8.h).
bool has_int8(const NamedTensors& tensors);
std::int64_t parameter_count(const NamedTensors& tensors);

/// Without the prefixes, in any combination, that all names share.
void remove_shared_prefixes(NamedTensors& tensors, std::initializer_list<std::string_view> prefixes);

/// The file that read_weights() would read: the path itself, or the one in the folder or in the checkpoint
/// that it chooses. An index stands for the files that it lists.
std::string find_weights(const std::string& path);

/// find_weights(), and the files that it lists where it is an index.
std::vector<std::string> weights_files(const std::string& path);

/// XXH3-64 of the contents of weights_files().
std::uint64_t weights_digest(const std::string& path);

/// What to do where nothing is at `path` and it may be a model's id on the Hugging Face hub, or its address
/// there; "": it is none.
std::string hub_advice(const std::string& path);

/// The folder where the other files of these weights lie, such as their configuration: the one that is given
/// (of the hub's cache the snapshot in it), or that of the file.
std::string weights_folder(const std::string& path);

}  // namespace vitral::data
