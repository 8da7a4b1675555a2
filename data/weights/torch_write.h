// Weights as a file that torch.load reads, also with weights_only=True (PyTorch 1.13 and later):
//
//   model.load_state_dict(torch.load("student.pt", weights_only=True))
//
// An OrderedDict of tensors, as torch.save(model.state_dict(), path) writes it: a zip archive of stored
// entries, archive/data.pkl (protocol 2), archive/data/N (the elements of tensor N), each beginning at a
// multiple of 64 bytes as in PyTorch's own files. The archive is written here and not by libzip, which aligns
// nothing and cannot write through base/files/atomic.h.
#pragma once
#include <map>
#include <string>

#include "data/weights/safetensors.h"

namespace vitral::data {

/// Writes the file whole or not at all; the same tensors give the same bytes. Tensors on a device are copied
/// to the CPU one at a time. `metadata` goes into an entry archive/extra/metadata.json, which PyTorch passes
/// over and read_torch_file() reads. Throws UsageError for a name used twice, text that is not UTF-8, and
/// more than 4 GB.
FileDigest write_torch_file(const std::string& path, const NamedTensors& tensors,
                            const std::map<std::string, std::string>& metadata = {});

/// Where `metadata` lies in the archive.
inline constexpr const char* torch_metadata_entry = "extra/metadata.json";

}  // namespace vitral::data
