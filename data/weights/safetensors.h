// The safetensors format (huggingface/safetensors, format description in its README):
//
//   uint64 n, little-endian | n bytes of JSON, padded with spaces | the tensors' bytes, end to end
//   {"__metadata__": {"key": "text"}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/files/atomic.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// Tensors in the order of their file; names are unique.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

struct WeightsFile {
  NamedTensors tensors;  // on the CPU
  std::map<std::string, std::string> metadata;
  std::string file = {};  // of read_weights(): what it read, the file that find_weights() names
};

/// The longest header: the reference implementation's limit.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;

/// Where the elements of read tensors lie: copied into memory of their own, or where the file is mapped into
/// memory (InputFile::map()), for weights that are only read: nothing is copied, and what is never used is
/// never read from the disk.
enum class TensorMemory { own, mapped };

/// What becomes of integers and booleans of types that no network here computes with (int32, bool, ..., int8
/// too), where their name is not that of a weight: position_ids, masks and other buffers that none asks for.
enum class OtherTypes { refuse, leave_out };

/// Reads F32, F64, F16, BF16, U8, I64 and I8 as they are; any other dtype is an error that names the tensor.
/// Nothing in the file is trusted: a header of at most max_header_bytes, tensors that cover the data
/// exactly, at most 8 dimensions, no name twice, at most 100,000 tensors. Memory: the tensors and a bounded
/// part of the header. A tensor that does not lie at a multiple of its element size is copied in any case.
/// Throws UsageError for a missing file, Error for its contents, one line each.
WeightsFile read_safetensors(const std::string& path, TensorMemory memory = TensorMemory::own,
                             OtherTypes other_types = OtherTypes::refuse);

/// True when the file starts as a safetensors file does: a header length that fits, then '{'.
bool looks_like_safetensors(const std::string& path);

/// Writes the file whole or not at all (base/files/atomic.h). The same tensors give the same bytes. Wide
/// elements come first, otherwise the order stays, so that each tensor starts at a multiple of its element
/// size, as PyTorch wants it. Tensors on a device are copied to the CPU one at a time. Throws UsageError for
/// a name used twice, and for names and metadata that make a header of more than max_header_bytes.
FileDigest write_safetensors(const std::string& path, const NamedTensors& tensors,
                             const std::map<std::string, std::string>& metadata = {});

}  // namespace vitral::data
