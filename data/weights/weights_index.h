// Weights that are cut into several files, as transformers saves large models:
//
//   model.safetensors.index.json   {"weight_map": {"NAME": "model-00001-of-00002.safetensors", ...}}
//   pytorch_model.bin.index.json   the same with files of torch.save
#pragma once
#include <map>
#include <string>
#include <string_view>

namespace vitral::data {

inline constexpr std::string_view index_suffix = ".index.json";

struct WeightsIndex {
  std::string path;
  std::map<std::string, std::string> file_of;  // by a tensor's name: the path of its file
};

/// Error naming the file: it is no such index, or lists a file outside of its folder or one that is missing.
WeightsIndex read_weights_index(const std::string& path);

/// How many files there are where a name says that it is one of them, NAME-00001-of-0000N.bin; else 1.
int shard_count(std::string_view name);

}  // namespace vitral::data
