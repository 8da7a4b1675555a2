// The kinds of values that a field may have (base/fields.h). Each has value() (what is valid, for messages
// and the documentation), read (false: not valid) and write. Included by the tables alone: yaml-cpp is heavy.
#pragma once
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include "base/fields.h"
#include "base/home.h"
#include "base/yaml_text.h"

namespace vitral::fields {

inline bool is_plain(const YAML::Node& node) { return node.IsScalar() && node.Tag() == "?"; }

/// A scalar without quotes as a number; false where it is none, or does not fit T.
template <class T>
bool parse_number(const YAML::Node& node, T& value) {
  if (!is_plain(node)) return false;
  const std::string& text = node.Scalar();
  const char* first = text.data();
  const char* last = first + text.size();
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') ++first;
  const auto [rest, problem] = std::from_chars(first, last, value);
  return problem == std::errc{} && rest == last;
}

inline std::string join_or(const std::vector<std::string>& names) {
  if (names.size() == 1) return names[0];
  return fmt::format("{} or {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

struct Integer {
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  bool odd = false;

  std::string value() const {
    const std::string what = odd ? "an odd integer" : "an integer";
    if (max == std::numeric_limits<std::int64_t>::max()) return fmt::format("{} >= {}", what, min);
    return fmt::format("{} from {} to {}", what, min, max);
  }
  template <class T>
  bool read(const YAML::Node& node, T& field) const {
    std::int64_t i = 0;
    if (!parse_number(node, i) || i < min || i > max || i > std::numeric_limits<T>::max()) return false;
    if (odd && i % 2 == 0) return false;
    field = static_cast<T>(i);
    return true;
  }
  template <class T>
  std::string write(T field) const {
    return fmt::format("{}", field);
  }
};

struct Number {
  std::string text;
  double min = 0, max = std::numeric_limits<double>::infinity();
  bool open_min = false, open_max = true;

  std::string value() const { return text; }
  template <class T>
  bool read(const YAML::Node& node, T& field) const {
    T x = 0;
    if (!parse_number(node, x) || !std::isfinite(x)) return false;
    const auto d = static_cast<double>(x);
    if (open_min ? d <= min : d < min) return false;
    if (open_max ? d >= max : d > max) return false;
    field = x;
    return true;
  }
  template <class T>
  std::string write(T field) const {
    return yaml_number(field);
  }
};

inline Number above_zero() { return {.text = "a number > 0", .open_min = true}; }
inline Number zero_or_more() { return {.text = "a number >= 0"}; }
inline Number one_or_more() { return {.text = "a number >= 1", .min = 1}; }
inline Number fraction() { return {.text = "a number in [0, 1]", .max = 1, .open_max = false}; }
inline Number inside_unit() { return {.text = "a number in (0, 1)", .max = 1, .open_min = true}; }
inline Number below_one() { return {.text = "a number in [0, 1)", .max = 1}; }

struct Truth {
  std::string value() const { return "true or false"; }
  bool read(const YAML::Node& node, bool& field) const {
    if (!is_plain(node)) return false;
    const std::string& text = node.Scalar();
    if (text == "true" || text == "True" || text == "TRUE") return field = true;
    field = false;
    return text == "false" || text == "False" || text == "FALSE";
  }
  std::string write(bool field) const { return field ? "true" : "false"; }
};

struct Choice {
  std::vector<std::string> names;

  std::string value() const { return join_or(names); }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsScalar() || std::find(names.begin(), names.end(), node.Scalar()) == names.end()) return false;
    field = node.Scalar();
    return true;
  }
  std::string write(const std::string& field) const { return field; }
};

/// Some of these names, in their order, each once; or one of them alone.
struct Choices {
  std::vector<std::string> names;

  std::string value() const { return fmt::format("a list of {}, may be empty", join_or(names)); }
  bool read(const YAML::Node& node, std::vector<std::string>& field) const {
    std::vector<std::string> given;
    if (node.IsScalar()) given.push_back(node.Scalar());
    if (!node.IsScalar() && !node.IsSequence()) return false;
    for (std::size_t i = 0; node.IsSequence() && i < node.size(); ++i) {
      if (!node[i].IsScalar()) return false;
      given.push_back(node[i].Scalar());
    }
    std::vector<std::string> chosen;
    for (const auto& name : names)
      if (std::find(given.begin(), given.end(), name) != given.end()) chosen.push_back(name);
    if (chosen.size() != given.size()) return false;
    field = std::move(chosen);
    return true;
  }
  std::string write(const std::vector<std::string>& field) const {
    return fmt::format("[{}]", fmt::join(field, ", "));
  }
};

struct Path {
  std::string value() const { return "a path"; }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsScalar() || node.Scalar().empty() || node.Scalar().find('\0') != std::string::npos)
      return false;
    if (const std::string variable = unexpanded_variable(node.Scalar()); !variable.empty())
      throw BadValue{
          fmt::format("{}: {} is not expanded here; write the path in full, or ~/ for the home folder",
                      shown(node.Scalar()), shown(variable))};
    try {
      field = expand_home(node.Scalar());
    } catch (const UsageError& e) {
      throw BadValue{e.what()};
    }
    return true;
  }
  std::string write(const std::string& field) const { return yaml_text(field); }
};

struct PathOrNull {
  std::string value() const { return "null or a path"; }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsNull()) return Path{}.read(node, field);
    field.clear();
    return true;
  }
  std::string write(const std::string& field) const { return field.empty() ? "null" : yaml_text(field); }
};

struct Paths {
  bool may_be_empty = false;

  std::string value() const {
    return may_be_empty ? "a path or a list of paths, may be empty" : "a path or a list of paths";
  }
  bool read(const YAML::Node& node, std::vector<std::string>& field) const {
    std::vector<std::string> paths;
    if (node.IsSequence()) {
      for (const auto& item : node) {
        if (!Path{}.read(item, paths.emplace_back())) return false;
      }
    } else if (!Path{}.read(node, paths.emplace_back())) {
      return false;
    }
    if (paths.empty() && !may_be_empty) return false;
    field = std::move(paths);
    return true;
  }
  std::string write(const std::vector<std::string>& field) const {
    std::vector<std::string> texts;
    texts.reserve(field.size());
    for (const auto& path : field) texts.push_back(yaml_text(path));
    return fmt::format("[{}]", fmt::join(texts, ", "));
  }
};

/// One value for all, or a list of one for each `thing`: 3, [3, 3, 5], and on a command line 3,3,5.
template <class Kind>
struct OneOrList {
  Kind kind;
  std::string thing;

  std::string value() const { return fmt::format("{}, or a list of one for each {}", kind.value(), thing); }
  template <class T>
  bool read(const YAML::Node& node, OneOrEach<T>& field) const {
    if (node.IsSequence()) {
      std::vector<T> values(node.size());
      for (std::size_t i = 0; i < values.size(); ++i)
        if (!kind.read(node[i], values[i]))
          throw BadValue{fmt::format("number {} of the list must be {}, not {}", i + 1, kind.value(),
                                     describe(node[i]))};
      if (!values.empty()) field = OneOrEach<T>(std::move(values));
      return node.size() > 0;
    }
    if (is_plain(node) && node.Scalar().find(',') != std::string::npos) {
      with_yaml("[" + node.Scalar() + "]", [&](const YAML::Node& list) { read(list, field); });
      return true;
    }
    T value{};
    if (!kind.read(node, value)) return false;
    field = value;
    return true;
  }
  template <class T>
  std::string write(const OneOrEach<T>& field) const {
    if (!field.is_list()) return kind.write(field.values()[0]);
    std::vector<std::string> texts;
    texts.reserve(field.values().size());
    for (const T& value : field.values()) texts.push_back(kind.write(value));
    return fmt::format("[{}]", fmt::join(texts, ", "));
  }
};
template <class Kind>
OneOrList(Kind, const char*) -> OneOrList<Kind>;

template <class Kind>
struct OrNull {
  Kind kind;

  std::string value() const { return "null or " + kind.value(); }
  template <class T>
  bool read(const YAML::Node& node, std::optional<T>& field) const {
    if (node.IsNull()) {
      field.reset();
      return true;
    }
    T value{};
    if (!kind.read(node, value)) return false;
    field = value;
    return true;
  }
  template <class T>
  std::string write(const std::optional<T>& field) const {
    return field ? kind.write(*field) : "null";
  }
};
template <class Kind>
OrNull(Kind) -> OrNull<Kind>;

/// `member(config)` is the member that the field is.
template <class Config, class Member, class Kind>
Field<Config> make_field(std::string name, Member member, Kind kind, std::string flag = "") {
  return {std::move(name),
          kind.value(),
          [member, kind](const YAML::Node& node, Config& config) {
            if (!kind.read(node, member(config)))
              throw BadValue{fmt::format("must be {}, not {}", kind.value(), describe(node))};
          },
          [member, kind](const Config& config) { return kind.write(member(config)); },
          [member](const Config& from, Config& to) { member(to) = member(from); },
          std::move(flag)};
}

}  // namespace vitral::fields

/// The name of a field is the path of its member.
#define VITRAL_FIELD(Config, member, ...) \
  ::vitral::fields::make_field<Config>(   \
      #member, [](auto& c) -> auto& { return c.member; }, __VA_ARGS__)
