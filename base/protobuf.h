// Protocol buffers on the wire (protobuf.dev/programming-guides/encoding), as much of it as small writers and
// readers of known messages need: a message is a row of fields, each a varint of (number << 3 | wire type)
// and a value.
// Own code and not the library: two dozen fields of two frozen schemas (TensorBoard's events, ONNX) are in
// use, less text than the schemas and the rules to compile them, and nothing more to load at the start.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vitral::protobuf {

enum class Wire : unsigned { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string varint(std::uint64_t value);
std::string tag(unsigned number, Wire wire);

/// One field; bytes are a text, a packed list or a message.
std::string field(unsigned number, std::string_view bytes);
std::string field(unsigned number, std::int64_t value);
std::string field(unsigned number, double value);
std::string field(unsigned number, float value);

struct Field {
  unsigned number = 0;
  Wire wire = Wire::varint;
  std::uint64_t value = 0;  // of varint, and the bits of fixed32 and fixed64
  std::string_view bytes = {};
};

/// Goes through the fields of a message; nothing is copied.
class Reader {
 public:
  explicit Reader(std::string_view message) : rest_(message) {}

  /// The next field, or nothing at the end and where the message is damaged.
  std::optional<Field> next();
  bool damaged() const { return damaged_; }

 private:
  std::optional<std::uint64_t> read_varint();
  std::optional<std::uint64_t> read_fixed(std::size_t bytes);

  std::string_view rest_;
  bool damaged_ = false;
};

}  // namespace vitral::protobuf
