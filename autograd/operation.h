// What an operation is, beside its inputs: its name and its attributes.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <variant>
#include <vector>

namespace vitral {

struct Attribute {
  using Value = std::variant<std::int64_t, double, std::vector<std::int64_t>>;
  const char* name;
  Value value;
};

/// {"slice", {{"axis", 1}, {"begin", 0}, {"end", 3}}}, or a name alone. Only for the length of a call.
struct Operation {
  // NOLINTNEXTLINE(google-explicit-constructor): most operations have a name alone.
  Operation(const char* called, std::initializer_list<Attribute> with = {})
      : name(called), attributes(with) {}

  const char* name;
  std::initializer_list<Attribute> attributes;
};

}  // namespace vitral
