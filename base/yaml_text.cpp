#include "base/yaml_text.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/fields.h"

namespace vitral {
namespace {

template <class T>
std::string shortest(T value) {
  std::string text = fmt::format("{}", value);
  const std::size_t e = text.find('e');
  if (e != std::string::npos && text.find('.') == std::string::npos) text.insert(e, ".0");
  return text;
}

std::string double_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

bool is_safe_plain(std::string_view text) {
  static constexpr std::array<std::string_view, 10> words{"null", "true", "false", "yes", "no",
                                                          "on",   "off",  "y",     "n",   "nan"};
  if (text.empty() || !(std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/' ||
                        text.starts_with("./") || text.starts_with("../")))
    return false;
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (std::find(words.begin(), words.end(), lower) != words.end()) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("_./+-").find(c) != std::string_view::npos;
  });
}

}  // namespace

std::string yaml_number(double value) { return shortest(value); }
std::string yaml_number(float value) { return shortest(value); }

std::string yaml_text(std::string_view text) {
  return is_safe_plain(text) ? std::string(text) : double_quoted(text);
}

std::string describe(const YAML::Node& node) {
  if (node.IsNull()) return "null";
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) {
    std::string text = "[";
    for (std::size_t i = 0; i < node.size() && i < 4; ++i)
      text += (i > 0 ? ", " : "") + (node[i].IsSequence() ? "a list" : describe(node[i]));
    return text + (node.size() > 4 ? ", ...]" : "]");
  }
  std::string text = node.Scalar();
  constexpr std::size_t longest = 60;
  const bool plain = node.Tag() == "?";
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  const bool printable = std::all_of(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
  return plain && printable ? text : "the text " + double_quoted(text);
}

void with_yaml(const std::string& text, const std::function<void(const YAML::Node&)>& use) {
  YAML::Node node;
  try {
    node = YAML::Load(text);
  } catch (const YAML::Exception& e) {
    throw BadValue{"not valid YAML: " + shown(e.msg, 200)};
  }
  use(node);
}

std::optional<Conflict> not_dividing(const std::string& key, std::int64_t part, const std::string& other_key,
                                     std::int64_t whole) {
  if (whole % part == 0) return std::nullopt;
  const auto last = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
  return Conflict{key, fmt::format("{} must divide {} {}", part, last(other_key), whole), other_key,
                  fmt::format("{} must be divisible by {} {}", whole, last(key), part)};
}

std::optional<Conflict> not_one_each(const std::string& key, std::size_t values, const std::string& count_key,
                                     std::int64_t count) {
  if (static_cast<std::int64_t>(values) == count) return std::nullopt;
  const auto last = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
  return Conflict{
      key,
      fmt::format("has {} values, but {} is {}; give one for all, or {}", values, last(count_key), count,
                  count),
      count_key,
      fmt::format("is {}, but {} has {} values; give one for all, or {}", count, last(key), values, count)};
}

}  // namespace vitral
