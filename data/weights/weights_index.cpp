#include "data/weights/weights_index.h"

#include <charconv>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/json_file.h"
#include "base/text.h"

namespace vitral::data {

namespace fs = std::filesystem;

WeightsIndex read_weights_index(const std::string& path) {
  constexpr std::uint64_t longest = 64 << 20;
  const auto object = read_json_object(path, longest);
  const auto map = object.find("weight_map");
  if (map == object.end() || !map->is_object() || map->empty())
    throw_error("{}: has no table of files ('weight_map'); copy it again", path);
  const fs::path folder = fs::path(path).parent_path();
  WeightsIndex index{path, {}};
  std::set<std::string> seen;
  for (const auto& [name, value] : map->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    const std::string whole = (folder / file).string();
    if (seen.insert(file).second) {
      if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos)
        throw_error("{}: says that '{}' lies in '{}', which is no file of its folder; copy the weights again",
                    path, shown(name), shown(file));
      std::error_code error;
      if (!fs::exists(whole, error))
        throw_error("{}: is missing; {} lists it, copy it again", shown(whole, 1000), path);
    }
    index.file_of.emplace(name, whole);
  }
  return index;
}

int shard_count(std::string_view name) {
  constexpr std::string_view of = "-of-";
  const std::size_t dot = name.rfind('.'), at = name.rfind(of, dot);
  if (dot == std::string_view::npos || at == std::string_view::npos) return 1;
  int count = 0;
  const char *begin = name.data() + at + of.size(), *end = name.data() + dot;
  const auto [rest, problem] = std::from_chars(begin, end, count);
  return problem == std::errc{} && rest == end && count > 0 ? count : 1;
}

}  // namespace vitral::data
