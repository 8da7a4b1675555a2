#include "data/weights/weights.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/weights/checkpoint_files.h"
#include "data/weights/torch_file.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kinds = "a run folder, a checkpoint folder, a .safetensors or a .pt file";
constexpr const char* torch_model_file = "pytorch_model.bin";  // of Hugging Face's folders

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
  if (is_file(path + "/" + torch_model_file)) return path + "/" + torch_model_file;
  for (const std::string name : {model_file, torch_model_file})
    if (is_file(path + "/" + name + ".index.json"))
      throw_error<UsageError>(
          "{}: its weights are cut into several files ({}.index.json); join them into one, or give one of "
          "them",
          path, name);
  throw_error<UsageError>(
      "{}: no weights in this folder (neither {}, {} nor checkpoints/best or latest); give {}", path,
      model_file, torch_model_file, kinds);
}

WeightsFile read_weights(const std::string& path, TensorMemory memory) {
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

}  // namespace vitral::data
