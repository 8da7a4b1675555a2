#include "data/weights/weights.h"

#include <algorithm>
#include <filesystem>
#include <regex>
#include <unordered_map>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/files/digest.h"
#include "base/files/input_file.h"
#include "base/hash.h"
#include "base/text.h"
#include "data/weights/checkpoint_files.h"
#include "data/weights/torch_file.h"
#include "data/weights/weights_index.h"
#include "tensor/ops/linear_int8.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kinds = "a run folder, a checkpoint folder, a .safetensors or a .pt file";
// In the folders of transformers and of open_clip: what needs no pickle goes first.
constexpr const char* published[] = {model_file, "pytorch_model.bin", "open_clip_model.safetensors",
                                     "open_clip_pytorch_model.bin"};

bool is_file(const std::string& path) { return fs::is_regular_file(file_status(path)); }
bool is_folder(const fs::path& path) { return fs::is_directory(file_status(path.string())); }

bool named_as_torch_file(const std::string& path) {
  const std::string extension = fs::path(path).extension().string();
  return extension == ".pt" || extension == ".pth" || extension == ".bin" || extension == ".ckpt";
}

bool named_as_safetensors(const std::string& path) { return path.ends_with(".safetensors"); }

[[noreturn]] void throw_not_there(const std::string& path) {
  const std::string hub = hub_advice(path);
  throw_error<UsageError>("{}: no such file or folder; {}", path,
                          hub.empty() ? fmt::format("give {}", kinds) : hub);
}

// Of a model's folder in the hub's cache the snapshot that refs/main names, or the only one.
std::string snapshot_in(const std::string& folder) {
  const fs::path snapshots = fs::path(folder) / "snapshots";
  if (!is_folder(snapshots)) return folder;
  if (const std::string main = folder + "/refs/main"; is_file(main)) {
    constexpr std::uint64_t longest = 1000;
    std::string commit = read_text_file(main, longest);
    commit.erase(commit.find_last_not_of(" \n\r") + 1);
    if (!commit.empty() && commit.find('/') == std::string::npos && is_folder(snapshots / commit))
      return (snapshots / commit).string();
  }
  std::vector<std::string> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(snapshots, error))
    if (is_folder(entry.path())) all.push_back(entry.path().string());
  if (all.size() != 1)
    throw_error<UsageError>(
        "{}: holds {} snapshots, and refs/main names none of them; give one of the folders in {}", folder,
        all.size(), snapshots.string());
  return all[0];
}

// "": none.
std::string published_in(const std::string& folder) {
  for (const char* name : published)
    for (const std::string_view suffix : {std::string_view(), index_suffix})
      if (std::string file = fmt::format("{}/{}{}", folder, name, suffix); is_file(file)) return file;
  return "";
}

// What in a folder without weights of its own may be meant: folders with weights (sentence-transformers keeps
// a CLIP in one called 0_CLIPModel, diffusers the towers of a pipeline in folders of their own), and files of
// weights under other names (model.fp16.safetensors, epoch_3.pt).
std::string weights_inside(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string path = entry.path().string();
    const bool is_weights = is_folder(path) ? !published_in(path).empty()
                                            : named_as_torch_file(path) || named_as_safetensors(path);
    if (is_weights) found.push_back(shown(path));
  }
  std::sort(found.begin(), found.end());
  constexpr std::size_t most = 4;
  const bool more = found.size() > most;
  found.resize(std::min(found.size(), most));
  return fmt::format("{}{}", fmt::join(found, ", "), more ? ", ..." : "");
}

}  // namespace

std::string hub_advice(const std::string& path) {
  // An id alone, as open_clip and timm write it, or an address of the hub, of a model or of a file of it.
  static const std::regex hub_id("([\\w-][\\w.-]*/([\\w-][\\w.-]*))"),
      address("(?:hf-hub:|hf_hub:|hf://|https://hugging[^/]*/)([\\w-][\\w.-]*/([\\w-][\\w.-]*))(?:/.*)?");
  std::smatch parts;
  if (!std::regex_match(path, parts, address) &&
      (named_as_torch_file(path) || named_as_safetensors(path) || !std::regex_match(path, parts, hub_id) ||
       is_folder(fs::path(path).parent_path())))
    return "";
  return fmt::format("if it is a model of the Hugging Face hub, fetch it: hf download {} --local-dir {}",
                     parts[1].str(), parts[2].str());
}

std::string weights_folder(const std::string& path) {
  if (is_folder(path)) return snapshot_in(path);
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string find_weights(const std::string& path) {
  const fs::file_status status = file_status(path);
  if (!fs::exists(status)) throw_not_there(path);
  if (!fs::is_directory(status)) return path;
  const std::string folder = weights_folder(path);
  if (is_file(folder + "/" + model_file)) return folder + "/" + model_file;
  for (const char* which : {"best", "latest"}) {
    const std::string pointer = checkpoints_folder(folder) + "/" + which;
    if (!fs::exists(file_status(pointer))) continue;
    // A training beside us removes what its pointer named a moment ago; then it names another.
    for (std::optional<std::string> before;;) {
      const auto checkpoint = named_checkpoint(folder, which);
      if (checkpoint && is_file(*checkpoint + "/" + model_file)) return *checkpoint + "/" + model_file;
      if (!checkpoint || checkpoint == before)
        throw_error(
            "{}: does not name a checkpoint that is there; give one of the folders step-... beside it",
            pointer);
      before = checkpoint;
    }
  }
  if (std::string file = published_in(folder); !file.empty()) return file;
  const std::string inside = weights_inside(folder);
  throw_error<UsageError>(
      "{}: no weights in this folder (neither {}, {} nor checkpoints/best or latest); give {}", path,
      published[0], published[1], inside.empty() ? kinds : "one of those inside: " + inside);
}

std::vector<std::string> weights_files(const std::string& path) {
  std::vector<std::string> files{find_weights(path)};
  if (!files[0].ends_with(index_suffix)) return files;
  for (const auto& [name, file] : read_weights_index(files[0]).file_of)
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  return files;
}

std::uint64_t weights_digest(const std::string& path) {
  const auto files = weights_files(path);
  if (files.size() == 1) return digest_of(files[0]).xxh3;
  std::string digests;
  for (const auto& file : files) digests += fmt::format("{:016x}", digest_of(file).xxh3);
  return hash_of(digests);
}

bool has_int8(const NamedTensors& tensors) {
  return std::ranges::any_of(tensors, [](const auto& t) { return t.second.dtype() == DType::int8; });
}

std::int64_t parameter_count(const NamedTensors& tensors) {
  std::unordered_set<std::string> scales;
  std::int64_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    count += tensor.numel();
    if (tensor.dtype() == DType::int8) scales.insert(name + int8_scale_suffix);
  }
  for (const auto& [name, tensor] : tensors)
    if (scales.contains(name)) count -= tensor.numel();
  return count;
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

WeightsFile read_file(const std::string& file, TensorMemory memory, OtherTypes other_types) {
  if (looks_like_torch_file(file)) return read_torch_file(file, other_types);
  // Neither: the reader that the name asks for says best what is wrong.
  if (looks_like_safetensors(file) || named_as_safetensors(file))
    return read_safetensors(file, memory, other_types);
  if (named_as_torch_file(file)) return read_torch_file(file, other_types);
  throw_error<UsageError>("{}: holds no weights that vitral can read; give {}", file, kinds);
}

WeightsFile read_all(const WeightsIndex& index, TensorMemory memory, OtherTypes other_types) {
  WeightsFile out;
  std::unordered_map<std::string, std::string> found_in;
  for (const std::string& file : weights_files(index.path)) {
    if (file == index.path) continue;
    WeightsFile part = read_file(file, memory, other_types);
    for (auto& [name, tensor] : part.tensors) {
      const auto [first, added] = found_in.emplace(name, file);
      if (!added)
        throw_error("{}: tensor '{}' lies in {} too; copy the weights again", file, shown(name),
                    first->second);
      out.tensors.emplace_back(name, std::move(tensor));
    }
    out.metadata.merge(part.metadata);
  }
  for (const auto& [name, file] : index.file_of) {
    const auto found = found_in.find(name);
    const bool left_out =
        found == found_in.end() && other_types == OtherTypes::leave_out && !name.ends_with("weight");
    if (!left_out && (found == found_in.end() || found->second != file))
      throw_error("{}: has no tensor '{}', which {} places there; copy the weights again", file, shown(name),
                  index.path);
  }
  return out;
}

WeightsFile read_found(const std::string& path, const std::string& file, TensorMemory memory,
                       OtherTypes other_types) {
  if (file.ends_with(index_suffix)) return read_all(read_weights_index(file), memory, other_types);
  if (const int count = file == path ? shard_count(file) : 1; count > 1)
    throw_error<UsageError>("{}: is one of {} files of these weights; give their folder {}", path, count,
                            weights_folder(path));
  // The file of a checkpoint has a checksum, whoever names it.
  const std::string folder = weights_folder(file);
  if (fs::path(file).filename() == model_file && is_file(folder + "/" + state_file))
    verify_checkpoint(folder, {model_file});
  return read_file(file, memory, other_types);
}

WeightsFile read_as_stored(const std::string& path, TensorMemory memory, OtherTypes other_types) {
  for (std::string file = find_weights(path);;) {
    try {
      WeightsFile weights = read_found(path, file, memory, other_types);
      weights.file = std::move(file);
      return weights;
    } catch (const Error&) {  // or removed as it was read, see find_weights()
      std::string now = find_weights(path);
      if (now == file) throw;
      file = std::move(now);
    }
  }
}

}  // namespace

WeightsFile read_weights(const std::string& path, TensorMemory memory, OtherTypes other_types) {
  WeightsFile weights = read_as_stored(path, memory, other_types);
  remove_shared_prefixes(weights.tensors, {"module.", "_orig_mod."});
  return weights;
}

}  // namespace vitral::data
