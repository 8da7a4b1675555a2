// Python's pickle, read as data: a stack machine that builds plain values and never calls or imports anything
// (format: CPython's Lib/pickletools.py). What a pickle wants to call is kept as a description, "this name
// with these arguments", and it is up to the reader which descriptions mean something.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace vitral::data {

struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,     // integer is 0 or 1
    integer,     // integer; Python's ints beyond 64 bits become an object "int"
    real,        // real
    text,        // text: str and bytes
    list,        // items; also sets
    tuple,       // items
    dict,        // items: key, value, key, value, ... in the order of the file; also collections.OrderedDict
    global,      // text: "module.name" of a class or function
    object,      // what calling text ("module.name") with the arguments `items` would have made; inert
    persistent,  // items[0]: an identifier that means something outside of the pickle
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<PickleValue*> items;
  PickleValue* state = nullptr;  // object: what its attributes would have been set from

  bool is(Kind k) const { return kind == k; }
  /// The last value of a dict under this text key; nullptr where there is none or this is no dict.
  const PickleValue* find(std::string_view key) const;
};

/// Owns every value, so that deep or circular structures of a hostile file cost nothing to take down.
class Pickle {
 public:
  /// Interprets protocols 2 to 5 without out-of-band buffers. Throws Error "WHERE: ..." for anything else,
  /// for a truncated pickle, and for more values than three in four bytes (and 10,000) or two million.
  Pickle(std::string_view bytes, const std::string& where);

  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  PickleValue* root_ = nullptr;
};

}  // namespace vitral::data
