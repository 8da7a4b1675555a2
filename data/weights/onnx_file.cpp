#include "data/weights/onnx_file.h"

#include "base/error.h"
#include "base/protobuf.h"

namespace vitral::data {
namespace {

using protobuf::field;
using protobuf::tag;
using protobuf::varint;
using protobuf::Wire;

constexpr std::int64_t ir_version = 8;  // the one of opset 17

// TensorProto.DataType and AttributeProto.AttributeType.
constexpr std::int64_t type_float = 1, type_int8 = 3, type_int64 = 7;
constexpr std::int64_t attribute_float = 1, attribute_int = 2, attribute_ints = 7;

std::string value_info(const std::string& name, const std::vector<OnnxDim>& dims) {
  std::string shape;
  for (const auto& dim : dims)
    shape += field(1, std::holds_alternative<std::string>(dim) ? field(2, std::get<std::string>(dim))
                                                               : field(1, std::get<std::int64_t>(dim)));
  return field(1, name) + field(2, field(1, field(1, type_float) + field(2, shape)));
}

std::string attribute(const OnnxAttribute& a) {
  if (const auto* number = std::get_if<std::int64_t>(&a.value))
    return field(1, a.name) + field(3, *number) + field(20, attribute_int);
  if (const auto* number = std::get_if<float>(&a.value))
    return field(1, a.name) + field(2, *number) + field(20, attribute_float);
  std::string out = field(1, a.name);
  for (const std::int64_t number : std::get<std::vector<std::int64_t>>(a.value)) out += field(8, number);
  return out + field(20, attribute_ints);
}

}  // namespace

void OnnxModel::input(const std::string& name, const std::vector<OnnxDim>& dims) {
  inputs_.push_back(field(11, value_info(name, dims)));
}

void OnnxModel::output(const std::string& name, const std::vector<OnnxDim>& dims) {
  outputs_.push_back(field(12, value_info(name, dims)));
}

std::string OnnxModel::constant(const std::string& name, const Tensor& tensor) {
  static const std::map<DType, std::int64_t> types{
      {DType::float32, type_float}, {DType::int8, type_int8}, {DType::int64, type_int64}};
  const auto type = types.find(tensor.dtype());
  VITRAL_CHECK(type != types.end(), "onnx: tensor '{}' is {}, supported are float32, int8 and int64", name,
               tensor.dtype());
  const Tensor host = tensor.to(cpu);
  std::string out;
  for (const std::int64_t dim : host.shape()) out += field(1, dim);
  out += field(2, type->second) + field(8, name);
  out += field(9, std::string_view(static_cast<const char*>(host.raw()), host.bytes()));
  constants_.push_back(field(5, out));
  return name;
}
std::string OnnxModel::constant(const std::string& name, const std::vector<std::int64_t>& values) {
  return constant(name, Tensor::from(values, {static_cast<std::int64_t>(values.size())}));
}
std::string OnnxModel::constant(const std::string& name, std::int64_t value) {
  return constant(name, Tensor::from(std::vector<std::int64_t>{value}, {1}).reshape({}));
}
std::string OnnxModel::constant(const std::string& name, float value) {
  return constant(name, Tensor::full({}, value));
}

std::string OnnxModel::node(const std::string& operation, const std::vector<std::string>& inputs,
                            const std::vector<OnnxAttribute>& attributes, const std::string& name) {
  std::string result = name.empty() ? fmt::format("{}_{}", operation, made_up_++) : name;
  std::string out;
  for (const auto& input : inputs) out += field(1, input);
  out += field(2, result) + field(3, result) + field(4, operation);
  for (const auto& a : attributes) out += field(5, attribute(a));
  nodes_.push_back(field(1, out));
  return result;
}

FileDigest OnnxModel::write(const std::string& path,
                            const std::map<std::string, std::string>& metadata) const {
  const std::string graph_name = field(2, name_);
  std::uint64_t bytes = graph_name.size();
  for (const auto* part : {&nodes_, &constants_, &inputs_, &outputs_})
    for (const auto& piece : *part) bytes += piece.size();
  VITRAL_CHECK(bytes < (std::uint64_t{1} << 31) - (1 << 20),
               "{}: {} bytes are more than the 2 GB of an ONNX file", path, bytes);
  AtomicFile file(path);
  file.write(field(1, ir_version) + field(2, std::string_view("vitral")) +
             field(3, std::string_view(VITRAL_VERSION)));
  file.write(tag(7, Wire::bytes) + varint(bytes));
  for (const auto& piece : nodes_) file.write(piece);
  file.write(graph_name);
  for (const auto* part : {&constants_, &inputs_, &outputs_})
    for (const auto& piece : *part) file.write(piece);
  file.write(field(8, field(1, std::string_view()) + field(2, opset)));
  for (const auto& [key, value] : metadata) file.write(field(14, field(1, key) + field(2, value)));
  return file.commit();
}

}  // namespace vitral::data
