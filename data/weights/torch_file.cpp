#include "data/weights/torch_file.h"

#include <array>
#include <optional>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/weights/torch_tensors.h"
#include "data/weights/torch_write.h"

namespace vitral::data {
namespace {

using Kind = PickleValue::Kind;

std::optional<std::string> as_text(const PickleValue& value) {
  switch (value.kind) {
    case Kind::boolean:
      return value.integer ? "true" : "false";
    case Kind::integer:
      return std::to_string(value.integer);
    case Kind::real:
      return fmt::format("{}", value.real);
    case Kind::text:
      return value.text;
    default:
      return {};
  }
}

// What write_torch_file() puts beside the tensors.
std::map<std::string, std::string> parse_metadata(const std::string& path, const std::string& text) {
  constexpr std::size_t longest = 1 << 20;
  std::map<std::string, std::string> out;
  const auto object = text.size() > longest ? nlohmann::json() : nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object())
    throw_error("{}: entry {} is not a JSON object of at most {} bytes; {}", path, torch_metadata_entry,
                longest, torch_advice);
  for (const auto& [key, value] : object.items())
    if (value.is_string()) out[key] = value.get<std::string>();
  return out;
}

const std::string& checked(const std::string& path) {
  if (!looks_like_torch_file(path))
    throw_error("{}: not a zip archive as torch.save writes it since PyTorch 1.6; {}", path, torch_advice);
  return path;
}

}  // namespace

TorchFile::TorchFile(const std::string& path) : archive(checked(path)), pickle(archive.pickle(), path) {}

WeightsFile TorchFile::model(TorchTensorReader& reader, OtherTypes other_types) const {
  const std::string& path = archive.path();
  const PickleValue& root = pickle.root();
  WeightsFile weights;
  std::unordered_set<std::string> names;
  for (const auto& [name, tensor] : find_torch_state(path, root)) {
    if (!names.insert(name).second)
      throw_error("{}: tensor '{}' is there twice; {}", path, shown(name), torch_advice);
    const bool left_out =
        other_types == OtherTypes::leave_out && !name.ends_with("weight") && has_other_integers(*tensor);
    if (!left_out) weights.tensors.emplace_back(name, reader.read(name, *tensor));
  }
  if (const auto entry = archive.find(torch_metadata_entry))
    weights.metadata = parse_metadata(path, archive.text(*entry));
  for (std::size_t i = 0; i + 1 < root.items.size() && root.is(Kind::dict); i += 2)
    if (const auto text = as_text(*root.items[i + 1]); text && root.items[i]->is(Kind::text))
      weights.metadata[root.items[i]->text] = *text;
  return weights;
}

WeightsFile read_torch_file(const std::string& path, OtherTypes other_types) {
  const TorchFile file(path);
  TorchTensorReader reader(file.archive);
  return file.model(reader, other_types);
}

bool looks_like_torch_file(const std::string& path) {
  const InputFile file(path);
  std::array<char, 4> start{};
  if (file.size() < start.size()) return false;
  file.read(0, start.data(), start.size());
  return std::string_view(start.data(), start.size()) == "PK\x03\x04";
}

}  // namespace vitral::data
