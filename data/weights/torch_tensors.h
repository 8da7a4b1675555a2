// Tensors and state dicts that a file of torch.save describes (data/weights/torch_archive.h). Used by
// data/torch_*.cpp only.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/weights/pickle.h"
#include "data/weights/safetensors.h"
#include "data/weights/torch_archive.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// The description of a tensor, or nullptr. A parameter is its tensor.
const PickleValue* torch_tensor(const PickleValue* value);

/// Names and descriptions of the model's tensors, in the order of the file. Error where there are none.
std::vector<std::pair<std::string, const PickleValue*>> find_torch_state(const std::string& path,
                                                                         const PickleValue& root);

/// True where the tensor's storage holds integers or booleans of a type that tensors here have not.
bool has_other_integers(const PickleValue& call);

class TorchTensorReader {
 public:
  explicit TorchTensorReader(const TorchArchive& archive) : archive_(archive) {}

  /// The tensor that torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...) would have made, on
  /// the CPU and contiguous. Tensors of one storage share its memory where they can. All that is read
  /// together is at most twice as large as the file. Error naming `name`.
  Tensor read(const std::string& name, const PickleValue& call);

 private:
  Tensor load(const std::string& name, const PickleValue& identifier);
  Tensor view(const std::string& name, const Tensor& storage, std::int64_t offset,
              const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& strides);
  void account(const std::string& name, std::uint64_t bytes);

  const TorchArchive& archive_;
  std::unordered_map<std::string, Tensor> storages_;  // [n]
  std::uint64_t total_ = 0;
};

/// A file of torch.save, open: its objects, and its tensors on request. Error where it is none.
struct TorchFile {
  explicit TorchFile(const std::string& path);

  /// What read_torch_file() gives.
  WeightsFile model(TorchTensorReader& reader, OtherTypes other_types = OtherTypes::refuse) const;

  TorchArchive archive;
  Pickle pickle;
};

}  // namespace vitral::data
