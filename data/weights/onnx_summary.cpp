// Reads what an ONNX file says of itself; the elements of its tensors are passed over.
#include <array>

#include "base/files/input_file.h"
#include "base/protobuf.h"
#include "data/weights/onnx_file.h"

namespace vitral::data {
namespace {

using protobuf::Field;
using protobuf::Reader;
using protobuf::Wire;

constexpr std::uint64_t largest = (std::uint64_t{1} << 31) - 1;

std::string dtype_name(std::uint64_t type) {
  constexpr std::array<const char*, 17> names{
      "undefined", "float32", "uint8",   "int8",   "uint16", "int16",     "int32",      "int64",   "string",
      "bool",      "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"};
  return type < names.size() ? names[type] : fmt::format("type {}", type);
}

class SummaryReader {
 public:
  explicit SummaryReader(std::string path) : path_(std::move(path)) {}

  OnnxSummary model(std::string_view bytes) {
    bool graph_seen = false;
    std::string name, version;
    each(bytes, [&](const Field& f) {
      if (f.number == 2) name = text(f);
      if (f.number == 3) version = text(f);
      if (f.number == 7) {
        graph_seen = true;
        graph(message(f));
      }
      if (f.number == 8) opset(message(f));
      if (f.number == 14) metadata(message(f));
    });
    if (!graph_seen) damaged("has no graph");
    out_.producer = version.empty() ? name : name + " " + version;
    return std::move(out_);
  }

 private:
  [[noreturn]] void damaged(const char* what) const {
    throw_error("{}: {}; it is damaged or not an ONNX model, export it again", path_, what);
  }

  void each(std::string_view bytes, auto&& f) {
    Reader reader(bytes);
    while (const auto field = reader.next()) f(*field);
    if (reader.damaged()) damaged("a field is cut off or of an unknown kind");
  }
  std::string_view message(const Field& f) const {
    if (f.wire != Wire::bytes) damaged("a number where a message belongs");
    return f.bytes;
  }
  std::string text(const Field& f) const { return std::string(message(f)); }
  std::int64_t number(const Field& f) const {
    if (f.wire != Wire::varint) damaged("no number where one belongs");
    return static_cast<std::int64_t>(f.value);
  }

  void opset(std::string_view bytes) {
    std::string domain;
    std::int64_t version = 0;
    each(bytes, [&](const Field& f) {
      if (f.number == 1) domain = text(f);
      if (f.number == 2) version = number(f);
    });
    if (domain.empty() || domain == "ai.onnx") out_.opset = version;
  }

  void metadata(std::string_view bytes) {
    std::string key, value;
    each(bytes, [&](const Field& f) {
      if (f.number == 1) key = text(f);
      if (f.number == 2) value = text(f);
    });
    out_.metadata[key] = value;
  }

  void graph(std::string_view bytes) {
    each(bytes, [&](const Field& f) {
      if (f.number == 1) out_.nodes.push_back(node(message(f)));
      if (f.number == 5) out_.constants.push_back(constant(message(f)));
      if (f.number == 11) out_.inputs.push_back(value_info(message(f)));
      if (f.number == 12) out_.outputs.push_back(value_info(message(f)));
    });
  }

  OnnxNode node(std::string_view bytes) {
    OnnxNode out;
    each(bytes, [&](const Field& f) {
      if (f.number == 1) out.inputs.push_back(text(f));
      if (f.number == 2) out.outputs.push_back(text(f));
      if (f.number == 4) out.operation = text(f);
    });
    return out;
  }

  OnnxTensor constant(std::string_view bytes) {
    OnnxTensor out;
    each(bytes, [&](const Field& f) {
      if (f.number == 1 && f.wire == Wire::bytes)
        packed(f.bytes, out.dims);
      else if (f.number == 1)
        out.dims.emplace_back(number(f));
      if (f.number == 2) out.dtype = dtype_name(static_cast<std::uint64_t>(number(f)));
      if (f.number == 8) out.name = text(f);
    });
    return out;
  }

  // A list of numbers end to end, as newer writers write it: read as fields without tags.
  void packed(std::string_view bytes, std::vector<OnnxDim>& dims) {
    while (!bytes.empty()) {
      std::uint64_t value = 0;
      std::size_t used = 0;
      for (unsigned shift = 0; shift < 64 && used < bytes.size(); shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes[used++]);
        value |= std::uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80) break;
      }
      dims.emplace_back(static_cast<std::int64_t>(value));
      bytes.remove_prefix(used);
    }
  }

  OnnxTensor value_info(std::string_view bytes) {
    OnnxTensor out;
    const auto dimension = [&](std::string_view dim) {
      OnnxDim size = std::string("?");
      each(dim, [&](const Field& f) {
        if (f.number == 1) size = number(f);
        if (f.number == 2) size = text(f);
      });
      out.dims.push_back(size);
    };
    const auto tensor_type = [&](std::string_view type) {
      each(type, [&](const Field& f) {
        if (f.number == 1) out.dtype = dtype_name(static_cast<std::uint64_t>(number(f)));
        if (f.number == 2)
          each(message(f), [&](const Field& dim) {
            if (dim.number == 1) dimension(message(dim));
          });
      });
    };
    each(bytes, [&](const Field& f) {
      if (f.number == 1) out.name = text(f);
      if (f.number == 2)
        each(message(f), [&](const Field& type) {
          if (type.number == 1) tensor_type(message(type));
        });
    });
    return out;
  }

  std::string path_;
  OnnxSummary out_;
};

}  // namespace

bool looks_like_onnx(const std::string& path) {
  const InputFile file(path);
  std::array<unsigned char, 2> start{};
  if (file.size() < 4) return false;
  file.read(0, start.data(), start.size());
  return start[0] == 0x08 && start[1] >= 1 && start[1] < 64;  // field 1, a small number
}

OnnxSummary read_onnx_summary(const std::string& path) {
  return SummaryReader(path).model(read_text_file(path, largest));
}

}  // namespace vitral::data
