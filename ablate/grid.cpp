#include "ablate/grid.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/files/yaml_file.h"
#include "base/text.h"
#include "base/yaml_text.h"

namespace vitral::ablate {
namespace {

constexpr const char* keys = "base, overrides, seeds, variants";
constexpr std::size_t longest_name = 100;  // bytes
constexpr std::size_t longest_value = 1 << 14;
constexpr int deepest_value = 8;

// Reads the nodes of one file; errors begin with its line.
class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}

  Grid read() const;

 private:
  [[noreturn]] void fail(const YAML::Node& at, const std::string& what) const {
    throw_error<UsageError>("{}:{}: {}", path_, at.Mark().line + 1, what);
  }
  // Names of a map in the order of the file, each once. of: "variants", for the errors.
  void each(const YAML::Node& map, const std::string& of,
            const std::function<void(const YAML::Node& key, const YAML::Node& value)>& use) const;
  Overrides overrides(const YAML::Node& map, const std::string& of) const;
  std::vector<std::int64_t> seeds(const YAML::Node& list) const;
  std::vector<Variant> variants(const YAML::Node& map) const;
  void check_name(const YAML::Node& key) const;
  // A value on one line, as an override takes it.
  std::string one_line_of(const YAML::Node& value, int depth = 0) const;

  std::string path_;
};

std::string Reader::one_line_of(const YAML::Node& value, int depth) const {
  if (value.IsNull()) return "null";
  if (value.IsScalar()) return value.Tag() == "!" ? yaml_text(value.Scalar()) : value.Scalar();
  std::string out;
  // An alias may stand within its own anchor, or for very much.
  const auto add = [&](const std::string& part) {
    out += (out.empty() ? "" : ", ") + part;
    if (out.size() > longest_value) fail(value, "a value is longer than any key takes");
  };
  if (depth > deepest_value) fail(value, "a value is nested deeper than any key takes");
  if (value.IsSequence()) {
    for (const auto& entry : value) add(one_line_of(entry, depth + 1));
    return "[" + out + "]";
  }
  for (const auto& entry : value)
    add(one_line_of(entry.first, depth + 1) + ": " + one_line_of(entry.second, depth + 1));
  return "{" + out + "}";
}

void Reader::each(const YAML::Node& map, const std::string& of,
                  const std::function<void(const YAML::Node&, const YAML::Node&)>& use) const {
  if (!map.IsMap()) fail(map, of + ": must be a map, not " + describe(map));
  std::vector<std::string> seen;
  for (const auto& entry : map) {
    if (!entry.first.IsScalar())
      fail(entry.first, of + ": a key must be a name, not " + describe(entry.first));
    const std::string& name = entry.first.Scalar();
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      fail(entry.first, of + ": " + shown(name) + " is given twice; keep one");
    seen.push_back(name);
    use(entry.first, entry.second);
  }
}

Overrides Reader::overrides(const YAML::Node& map, const std::string& of) const {
  Overrides out;
  if (map.IsNull()) return out;
  each(map, of, [&](const YAML::Node& key, const YAML::Node& value) {
    for (const auto& [own, instead] : {std::pair{"train.seed", "list them under seeds"},
                                       {"train.output", "runs lie in the folder that -o names"}})
      if (key.Scalar() == own) fail(key, of + ": " + own + " is set by vitral ablate; " + instead);
    out.push_back(key.Scalar() + "=" + one_line_of(value));
  });
  return out;
}

std::vector<std::int64_t> Reader::seeds(const YAML::Node& list) const {
  if (!list.IsSequence() || list.size() == 0)
    fail(list, "seeds: must be a list of at least one integer, such as [0, 1, 2], not " + describe(list));
  std::vector<std::int64_t> out;
  for (const auto& entry : list) {
    std::int64_t seed = -1;
    if (!entry.IsScalar() || !YAML::convert<std::int64_t>::decode(entry, seed) || seed < 0)
      fail(entry, "seeds: must be integers >= 0, not " + describe(entry));
    if (std::find(out.begin(), out.end(), seed) != out.end())
      fail(entry, fmt::format("seeds: {} is given twice; keep one", seed));
    out.push_back(seed);
  }
  return out;
}

void Reader::check_name(const YAML::Node& key) const {
  const std::string& name = key.Scalar();
  const bool valid = !name.empty() && name.size() <= longest_name && name.front() != '.' &&
                     name.front() != ' ' && name.back() != ' ' &&
                     std::none_of(name.begin(), name.end(), [](unsigned char c) {
                       return c < 0x20 || c == 0x7f || c == '/' || c == '\\';
                     });
  if (!valid)
    fail(key, fmt::format("variants: \"{}\" names a folder: 1 to {} bytes, none of them / or \\ or a control "
                          "character, no . or space at the beginning, no space at the end",
                          shown(name), longest_name));
}

std::vector<Variant> Reader::variants(const YAML::Node& map) const {
  std::vector<Variant> out;
  each(map, "variants", [&](const YAML::Node& key, const YAML::Node& value) {
    check_name(key);
    out.push_back({key.Scalar(), overrides(value, "variant " + key.Scalar()), key.Mark().line + 1});
  });
  if (out.empty()) fail(map, "variants: must hold at least one; the first is what others are compared with");
  return out;
}

Grid Reader::read() const {
  const YAML::Node document = read_yaml_file(path_, "grid");
  if (document.IsNull()) throw_error<UsageError>("{}: is empty; a grid has the keys {}", path_, keys);
  Grid grid{.path = path_, .base = {}, .overrides = {}, .seeds = {}, .variants = {}};
  each(document, "grid", [&](const YAML::Node& key, const YAML::Node& value) {
    const std::string& name = key.Scalar();
    if (name == "base") {
      if (!value.IsScalar() || value.Scalar().empty())
        fail(value, "base: must name a configuration file, not " + describe(value));
      grid.base = value.Scalar();
    } else if (name == "overrides") {
      grid.overrides = overrides(value, name);
    } else if (name == "seeds") {
      grid.seeds = seeds(value);
    } else if (name == "variants") {
      grid.variants = variants(value);
    } else {
      fail(key, shown(name) + ": unknown key; valid keys: " + keys);
    }
  });
  for (const auto& [name, is_there] : {std::pair{"base", !grid.base.empty()},
                                       {"seeds", !grid.seeds.empty()},
                                       {"variants", !grid.variants.empty()}})
    VITRAL_CHECK(is_there, "{}: {} is missing; a grid has the keys {}", path_, name, keys);
  return grid;
}

}  // namespace

Grid read_grid(const std::string& path) { return Reader(path).read(); }

}  // namespace vitral::ablate
