#include "base/files/json_file.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/text_file.h"

namespace vitral {

nlohmann::json read_json_object(const std::string& path, std::uint64_t limit) {
  auto object = nlohmann::json::parse(read_text(path, limit), nullptr, false);
  if (!object.is_object()) throw_error("{}: is no JSON object; copy it again", path);
  return object;
}

}  // namespace vitral
