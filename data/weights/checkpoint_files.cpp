#include "data/weights/checkpoint_files.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/digest.h"
#include "base/files/input_file.h"
#include "base/hash.h"

namespace vitral::data {
namespace {

using nlohmann::json;

constexpr std::string_view format_name = "vitral checkpoint 1";
constexpr std::string_view name_prefix = "step-";
constexpr std::uint64_t max_state_bytes = 64 << 20;

std::string hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

// The last entry of state.json: the checksum of all text before it.
std::string checksum_line(std::string_view text) {
  return fmt::format(",\n \"checksum\": \"{}\"\n}}\n", hex(hash_of(text)));
}

constexpr const char* advice = "use another checkpoint";

}  // namespace

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:09}", name_prefix, step); }

std::optional<std::int64_t> checkpoint_step(std::string_view name) {
  if (!name.starts_with(name_prefix)) return {};
  const std::string_view digits = name.substr(name_prefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc() || end != digits.data() + digits.size() || step < 0 ||
      checkpoint_name(step) != name)
    return {};
  return step;
}

std::string checkpoints_folder(const std::string& run_folder) { return run_folder + "/checkpoints"; }

std::optional<std::string> run_folder_of(const std::string& checkpoint) {
  namespace fs = std::filesystem;
  const fs::path step = fs::absolute(checkpoint).lexically_normal(),
                 folder = step.has_filename() ? step : step.parent_path();
  if (!checkpoint_step(folder.filename().string()) || folder.parent_path().filename() != "checkpoints")
    return {};
  return folder.parent_path().parent_path().string();
}

std::optional<std::string> named_checkpoint(const std::string& run_folder, const char* which) {
  const std::string folder = checkpoints_folder(run_folder), path = folder + "/" + which;
  std::error_code ignored;
  constexpr std::uint64_t longest = 100;
  if (!std::filesystem::is_regular_file(path, ignored)) return {};
  if (std::filesystem::file_size(path, ignored) > longest) return {};
  std::string name = read_text_file(path, longest);
  if (name.ends_with('\n')) name.pop_back();
  if (!checkpoint_step(name)) return {};
  return folder + "/" + name;
}

std::string format_checkpoint_state(std::int64_t step, const std::map<std::string, FileDigest>& files,
                                    const json& state) {
  json object{{"format", format_name}, {"step", step}, {"state", state}, {"files", json::object()}};
  for (const auto& [name, digest] : files)
    object["files"][name] = {{"bytes", digest.bytes}, {"xxh3_64", hex(digest.xxh3)}};
  std::string text = object.dump(1);
  text.resize(text.size() - 2);  // "\n}" comes back with the checksum
  return text + checksum_line(text);
}

json verify_checkpoint(const std::string& folder, const std::vector<std::string>& to_read) {
  const std::string path = folder + "/" + state_file;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    throw_error("{}: is missing, so this is not a complete checkpoint; {}", path, advice);
  const std::string text = read_text_file(path, max_state_bytes);
  const std::size_t line = checksum_line("").size();
  const std::size_t body = text.size() < line ? 0 : text.size() - line;
  const auto covered = std::string_view(text).substr(0, body);
  if (std::string_view(text).substr(body) != checksum_line(covered))
    throw_error("{}: its checksum does not match: it is truncated, damaged or was edited; {}", path, advice);
  json object = json::parse(text, nullptr, false);
  const bool known = object.is_object() && object.value("format", json()) == format_name &&
                     object.value("step", json()).is_number_integer() &&
                     object.value("files", json()).is_object() && object.contains("state");
  if (!known)
    throw_error("{}: not in the format '{}'; use the version of vitral that wrote it", path, format_name);
  for (const char* name : {model_file, optimizer_file}) {
    const std::string file = folder + "/" + name;
    if (!object["files"].contains(name)) throw_error("{}: does not list {}; {}", path, name, advice);
    const json& expected = object["files"][name];
    if (!std::filesystem::exists(file, ignored)) throw_error("{}: is missing; {}", file, advice);
    const InputFile opened(file);
    const json size = expected.is_object() ? expected.value("bytes", json()) : json();
    if (size != opened.size())
      throw_error("{}: truncated or damaged: {} bytes, {} says {}; {}", file, opened.size(), state_file,
                  size.dump(), advice);
    if (std::find(to_read.begin(), to_read.end(), name) == to_read.end()) continue;
    if (expected.value("xxh3_64", json()) != hex(digest_of(file).xxh3))
      throw_error("{}: damaged: its checksum is not the one in {}; {}", file, state_file, advice);
  }
  return object;
}

}  // namespace vitral::data
