#include "data/weights/safetensors_header.h"

#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "tensor/shape.h"

namespace vitral::data {
namespace {

using nlohmann::json;

// An entry takes some hundred bytes of memory whatever its length in the file; models have thousands at most.
constexpr std::size_t max_entries = 100'000;

// Where in the header the next event belongs.
enum class Place { start, file, metadata, tensor, dtype, shape, offsets, done };

// nlohmann's SAX interface: every event returns whether to go on; a false leaves the reason in `problem`.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  SafetensorsHeader header;
  std::string problem;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return fail(fmt::format("{}: {} must not be negative", where(), value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_list_) return unexpected("a number");
    auto& list = place_ == Place::shape ? entry().shape : entry().offsets;
    const std::size_t limit = place_ == Place::shape ? static_cast<std::size_t>(Shape::max_rank) : 2;
    if (list.size() == limit)
      return fail(place_ == Place::shape
                      ? fmt::format("{}: more than {} dimensions", where(), Shape::max_rank)
                      : fmt::format("{}: more than 2 data_offsets", where()));
    list.push_back(value);
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override {
    return fail(fmt::format("{}: {} is not an unsigned 64-bit integer", where(), shown(text)));
  }
  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      if (header.metadata.size() == max_entries)
        return fail(fmt::format("__metadata__: more than {} entries", max_entries));
      header.metadata[key_] = std::move(value);
      return true;
    }
    if (place_ != Place::dtype) return unexpected("a text");
    entry().dtype = std::move(value);
    place_ = Place::tensor;
    return true;
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool start_object(std::size_t) override {
    if (place_ == Place::start) {
      place_ = Place::file;
      return true;
    }
    if (place_ != Place::file) return unexpected("an object");
    if (key_ == "__metadata__") {
      place_ = Place::metadata;
      return true;
    }
    if (header.tensors.size() == max_entries) return fail(fmt::format("more than {} tensors", max_entries));
    header.tensors.push_back({key_, {}, {}, {}});
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    place_ = Place::tensor;
    return true;
  }
  bool key(string_t& name) override {
    if (place_ == Place::tensor) return tensor_key(name);
    if (place_ == Place::file) {
      if (!names_.insert(name).second) return fail(fmt::format("'{}' is there twice", shown(name)));
    } else if (header.metadata.contains(name)) {
      return fail(fmt::format("__metadata__: '{}' is there twice", shown(name)));
    }
    key_ = std::move(name);
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) {
      if (!seen_dtype_ || !seen_shape_ || !seen_offsets_)
        return fail(fmt::format("{}: {} is missing", where(),
                                !seen_dtype_   ? "dtype"
                                : !seen_shape_ ? "shape"
                                               : "data_offsets"));
      if (entry().offsets.size() != 2) return fail(fmt::format("{}: data_offsets need 2 numbers", where()));
    }
    place_ = place_ == Place::file ? Place::done : Place::file;
    return true;
  }
  bool start_array(std::size_t) override {
    if (in_list_ || (place_ != Place::shape && place_ != Place::offsets)) return unexpected("a list");
    in_list_ = true;
    return true;
  }
  bool end_array() override {
    in_list_ = false;
    place_ = Place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return fail(fmt::format("the header is not valid JSON at byte {}", position + 7));
  }

 private:
  TensorEntry& entry() { return header.tensors.back(); }

  std::string where() {
    switch (place_) {
      case Place::start:
      case Place::done:
      case Place::file:
        return "the header";
      case Place::metadata:
        return fmt::format("__metadata__ '{}'", shown(key_));
      default:
        return fmt::format("tensor '{}'", shown(entry().name));
    }
  }

  bool tensor_key(const std::string& name) {
    bool* seen = nullptr;
    if (name == "dtype") {
      seen = &seen_dtype_;
      place_ = Place::dtype;
    } else if (name == "shape") {
      seen = &seen_shape_;
      place_ = Place::shape;
    } else if (name == "data_offsets") {
      seen = &seen_offsets_;
      place_ = Place::offsets;
    } else {
      return fail(
          fmt::format("{}: '{}' is unknown, expected dtype, shape and data_offsets", where(), shown(name)));
    }
    if (*seen) return fail(fmt::format("{}: {} is there twice", where(), name));
    *seen = true;
    return true;
  }

  bool unexpected(const char* what) { return fail(fmt::format("{}: {} where none belongs", where(), what)); }
  bool fail(std::string text) {
    if (problem.empty()) problem = std::move(text);
    return false;
  }

  Place place_ = Place::start;
  bool in_list_ = false;
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  std::string key_;
  std::unordered_set<std::string> names_;
};

std::string quoted(const std::string& path, const std::string& text) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    throw_error<UsageError>("{}: '{}' is not valid UTF-8; names and metadata must be", path, shown(text));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(const std::string& path, std::string_view text) {
  HeaderReader reader;
  if (!json::sax_parse(text.begin(), text.end(), &reader))
    throw_error("{}: {}; the file is damaged or not a safetensors file", path, reader.problem);
  return std::move(reader.header);
}

std::string format_safetensors_header(const std::string& path, const SafetensorsHeader& header) {
  std::string text = "{";
  if (!header.metadata.empty()) {
    text += "\"__metadata__\":{";
    const char* comma = "";
    for (const auto& [key, value] : header.metadata) {
      text += fmt::format("{}{}:{}", comma, quoted(path, key), quoted(path, value));
      comma = ",";
    }
    text += '}';
  }
  for (const auto& tensor : header.tensors) {
    if (text.size() > 1) text += ',';
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", quoted(path, tensor.name),
                        tensor.dtype, fmt::join(tensor.shape, ","), fmt::join(tensor.offsets, ","));
  }
  text += '}';
  // With the 8 bytes before it the header ends at a multiple of a cache line.
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  return text;
}

}  // namespace vitral::data
