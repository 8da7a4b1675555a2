// Weights from a file of torch.save: a zip archive with a pickle, NAME/data.pkl, that describes objects, and
// one entry NAME/data/N with the bytes of each storage.
//
// Nothing in the file is run. The pickle is interpreted with an allow-list: dicts, lists, tuples, numbers and
// texts become values, torch's own functions that rebuild a tensor become descriptions of a tensor, and
// everything else that a pickle may name (classes, functions) becomes an inert placeholder without effect.
#pragma once
#include <string>

#include "data/weights/safetensors.h"

namespace vitral::data {

/// The model's state dict: what the top-level dict holds under model_state_dict, state_dict, model or module,
/// else an average of it (state_dict_ema, model_ema, ema_state_dict, ema), or the top-level dict itself where
/// it maps names to tensors; of a TorchScript archive (OpenAI's CLIP) its
/// parameters and buffers. Entries that are no tensors are left out. Storages of any device are read to the
/// CPU, strided tensors are made contiguous. Dtypes as in read_safetensors(). Metadata: the numbers and texts
/// of the top-level dict (the original stores `epoch` there), and those that write_torch_file() stored.
///
/// Sizes, strides and offsets are checked against the bytes in the archive, whose checksums are checked too.
/// Throws UsageError for a missing file, Error for its contents, one line each.
WeightsFile read_torch_file(const std::string& path, OtherTypes other_types = OtherTypes::refuse);

/// True when the file starts as a zip archive does.
bool looks_like_torch_file(const std::string& path);

}  // namespace vitral::data
