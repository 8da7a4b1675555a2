#include "data/weights/weights.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/weights/checkpoint_files.h"
#include "data/weights/torch_file.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kinds = "a run folder, a checkpoint folder, a .safetensors or a .pt file";
constexpr const char* torch_model_file = "pytorch_model.bin";  // of Hugging Face's folders
constexpr const char* open_clip_file = "open_clip_model.safetensors";
constexpr const char* open_clip_torch_file = "open_clip_pytorch_model.bin";

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

}  // namespace

std::string find_weights(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) throw_error<UsageError>("{}: no such file or folder; give {}", path, kinds);
  if (!fs::is_directory(path, error)) return path;
  if (is_file(path + "/" + model_file)) return path + "/" + model_file;
  for (const char* which : {"best", "latest"}) {
    const std::string pointer = checkpoints_folder(path) + "/" + which;
    if (!fs::exists(pointer, error)) continue;
    const auto folder = named_checkpoint(path, which);
    if (!folder || !is_file(*folder + "/" + model_file))
      throw_error("{}: does not name a checkpoint that is there; give one of the folders step-... beside it",
                  pointer);
    return *folder + "/" + model_file;
  }
  for (const char* name : {torch_model_file, open_clip_file, open_clip_torch_file})
    if (is_file(path + "/" + name)) return path + "/" + name;
  for (const char* name : {model_file, torch_model_file})
    if (const std::string index = fmt::format("{}.index.json", name);
        is_file(fmt::format("{}/{}", path, index)))
      throw_error<UsageError>("{}: its weights are cut into several files ({}); join them into one", path,
                              index);
  throw_error<UsageError>(
      "{}: no weights in this folder (neither {}, {} nor checkpoints/best or latest); give {}", path,
      model_file, torch_model_file, kinds);
}

void remove_shared_prefixes(NamedTensors& tensors, std::initializer_list<std::string_view> prefixes) {
  const auto shared = [&](std::string_view prefix) {
    return !tensors.empty() && std::all_of(tensors.begin(), tensors.end(), [&](const auto& entry) {
      return entry.first.starts_with(prefix) && entry.first.size() > prefix.size();
    });
  };
  for (;;) {
    const auto prefix = std::find_if(prefixes.begin(), prefixes.end(), shared);
    if (prefix == prefixes.end()) return;
    for (auto& [name, tensor] : tensors) name.erase(0, prefix->size());
  }
}

namespace {

WeightsFile read_as_stored(const std::string& path, TensorMemory memory) {
  const std::string file = find_weights(path);
  if (file != path) {
    const std::string folder = fs::path(file).parent_path().string();
    const bool ours = is_file(folder + "/" + state_file);
    if (ours) verify_checkpoint(folder, {model_file});
    if (file.ends_with(model_file))
      return read_safetensors(file, ours ? own_header_bytes : foreign_header_bytes, memory);
  }
  if (looks_like_torch_file(file)) return read_torch_file(file);
  if (looks_like_safetensors(file)) return read_safetensors(file, foreign_header_bytes, memory);
  // Neither: the reader that the name asks for says best what is wrong.
  const std::string extension = fs::path(file).extension().string();
  if (extension == ".safetensors") return read_safetensors(file, foreign_header_bytes, memory);
  if (extension == ".pt" || extension == ".pth" || extension == ".bin") return read_torch_file(file);
  throw_error<UsageError>("{}: holds no weights that vitral can read; give {}", path, kinds);
}

}  // namespace

WeightsFile read_weights(const std::string& path, TensorMemory memory) {
  WeightsFile weights = read_as_stored(path, memory);
  remove_shared_prefixes(weights.tensors, {"module.", "_orig_mod."});
  return weights;
}

}  // namespace vitral::data
