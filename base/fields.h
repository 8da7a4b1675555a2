// The fields of a configuration, described once: from the table of a struct's fields come its YAML, the
// metadata of weights files, command-line flags, checks, error texts, and what `vitral info` and the
// documentation show.
//
//   const std::vector<Field<Lens>>& lens_fields() {     // the kinds are in base/field_kinds.h
//     using namespace fields;
//     static const std::vector<Field<Lens>> table{
//         VITRAL_FIELD(Lens, size, Integer{1, 8192}),
//         VITRAL_FIELD(Lens, coated, Truth{}),
//     };
//     return table;
//   }
//
// A value is YAML on one line everywhere: 3, true, neighbourhood, [full, full].
#pragma once
#include <concepts>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace YAML {
class Node;
}

namespace vitral {

/// Thrown by Field::read: "must be an integer >= 1, not 0"; the caller adds where, and the field's name.
struct BadValue {
  std::string text;
};

/// One value for all of a number of things, or a list of one for each: of the layers, say.
template <class T>
class OneOrEach {
 public:
  OneOrEach() : values_(1) {}
  // Not explicit: where one value is enough, it is given as it is.
  template <std::convertible_to<T> U>
  OneOrEach(const U& one) : values_{static_cast<T>(one)} {}
  OneOrEach(std::initializer_list<T> each) : values_(each), is_list_(true) {}
  explicit OneOrEach(std::vector<T> each) : values_(std::move(each)), is_list_(true) {}

  /// That of thing i, which a list must have.
  const T& operator[](int i) const { return is_list_ ? values_.at(static_cast<std::size_t>(i)) : values_[0]; }
  bool is_list() const { return is_list_; }
  const std::vector<T>& values() const { return values_; }
  friend bool operator==(const OneOrEach&, const OneOrEach&) = default;

 private:
  std::vector<T> values_;
  bool is_list_ = false;
};

template <class Config>
struct Field {
  std::string name;   // the path of the member: optimizer.lr
  std::string value;  // what it may be: "a number > 0"
  std::function<void(const YAML::Node&, Config&)> read;
  std::function<std::string(const Config&)> write;
  std::function<void(const Config& from, Config& to)> copy;
  /// Of a field that may be set over what a file of weights says: what it is, for --help. "": it may not.
  std::string flag{};
  /// Came later than the first files: metadata leave it out where it has its default, so that the files of
  /// those who do not use it stay as they were, and older programs read them.
  bool added = false;
};

/// The same field, added later.
template <class Config>
Field<Config> added(Field<Config> field) {
  field.added = true;
  return field;
}

/// The same field of a struct that holds this one: `part(config)` is the inner struct.
template <class Outer, class Inner, class Part>
Field<Outer> field_of_part(const std::string& prefix, const Field<Inner>& field, Part part) {
  return {prefix + field.name,
          field.value,
          [=](const YAML::Node& node, Outer& outer) { field.read(node, part(outer)); },
          [=](const Outer& outer) { return field.write(part(outer)); },
          [=](const Outer& from, Outer& to) { field.copy(part(from), part(to)); },
          field.flag,
          field.added};
}

/// Two fields that do not fit together, told from the side of either.
struct Conflict {
  std::string key, text;
  std::string other_key, other_text;
};
/// `key` must divide `other_key`; nothing where it does.
std::optional<Conflict> not_dividing(const std::string& key, std::int64_t part, const std::string& other_key,
                                     std::int64_t whole);
/// A list must have as many values as `count_key` counts; nothing where it does.
std::optional<Conflict> not_one_each(const std::string& key, std::size_t values, const std::string& count_key,
                                     std::int64_t count);
template <class T>
std::optional<Conflict> not_one_each(const std::string& key, const OneOrEach<T>& field,
                                     const std::string& count_key, std::int64_t count) {
  if (!field.is_list()) return std::nullopt;
  return not_one_each(key, field.values().size(), count_key, count);
}

/// Parses one value and hands it over. BadValue: not YAML.
void with_yaml(const std::string& text, const std::function<void(const YAML::Node&)>& use);

/// The names of a table: "image_size, patch_size, width".
template <class Config>
std::string names_of(const std::vector<Field<Config>>& fields) {
  std::string out;
  for (const auto& field : fields) out += (out.empty() ? "" : ", ") + field.name;
  return out;
}

/// Each value in the range of its field; BadValue "window must be an odd integer >= 1, not 4" else.
template <class Config>
void check_values(const std::vector<Field<Config>>& fields, const Config& config) {
  Config copy = config;
  for (const auto& field : fields) try {
      with_yaml(field.write(config), [&](const YAML::Node& node) { field.read(node, copy); });
    } catch (const BadValue& bad) {
      throw BadValue{field.name + " " + bad.text};
    }
}

/// All fields as text under prefix + name.
template <class Config>
std::map<std::string, std::string> to_texts(const std::vector<Field<Config>>& fields, const Config& config,
                                            const std::string& prefix) {
  std::map<std::string, std::string> out;
  for (const auto& field : fields) out[prefix + field.name] = field.write(config);
  return out;
}

/// Whether metadata hold the field.
template <class Config>
bool is_told(const Field<Config>& field, const Config& config) {
  return !field.added || field.write(config) != field.write(Config{});
}

/// What metadata hold.
template <class Config>
std::map<std::string, std::string> to_metadata(const std::vector<Field<Config>>& fields, const Config& config,
                                               const std::string& prefix) {
  auto out = to_texts(fields, config, prefix);
  for (const auto& field : fields)
    if (!is_told(field, config)) out.erase(prefix + field.name);
  return out;
}

/// Back: a field that is missing has its default, so that what was written before the field was there stays
/// readable. Nothing where no key begins with the prefix. Error naming `where` and the key: one that is
/// unknown, a value that is not valid.
template <class Config>
std::optional<Config> from_metadata(const std::vector<Field<Config>>& fields,
                                    const std::map<std::string, std::string>& metadata,
                                    const std::string& prefix, const std::string& where) {
  Config config;
  bool any = false;
  for (auto it = metadata.lower_bound(prefix); it != metadata.end() && it->first.starts_with(prefix); ++it) {
    any = true;
    const auto& [key, text] = *it;
    const Field<Config>* field = nullptr;
    for (const auto& f : fields)
      if (std::string_view(key).substr(prefix.size()) == f.name) field = &f;
    if (!field)
      throw_error(
          "{}: metadata {}: unknown key; known are {}: it was written by a newer vitral, or is damaged",
          where, shown(key), names_of(fields));
    try {
      with_yaml(text, [&](const YAML::Node& node) { field->read(node, config); });
    } catch (const BadValue& bad) {
      throw_error("{}: metadata {}: {}", where, key, bad.text);
    }
  }
  return any ? std::optional(config) : std::nullopt;
}

}  // namespace vitral
