// vitral convert: weights from one kind of file into another.
#include <filesystem>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/print.h"
#include "data/weights/torch_write.h"
#include "data/weights/weights.h"
#include "models/student/encoder.h"
#include "models/student/onnx_export.h"

namespace vitral::cli {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string in, out, dtype;
  StudentFlags student;
  bool force = false, json = false;
};

enum class Target { safetensors, torch, onnx };

Target target_of(const std::string& path) {
  static const std::map<std::string, Target> targets{{".safetensors", Target::safetensors},
                                                     {".pt", Target::torch},
                                                     {".pth", Target::torch},
                                                     {".bin", Target::torch},
                                                     {".onnx", Target::onnx}};
  const auto found = targets.find(fs::path(path).extension().string());
  if (found == targets.end())
    throw_error<UsageError>("{}: its name says no format; end it in .safetensors, .pt, .pth, .bin or .onnx",
                            path);
  return found->second;
}

void check_files(const Arguments& a) {
  std::vector<std::string> inputs = data::weights_files(a.in);
  inputs.push_back(a.in);
  check_output(a.out, inputs);
  std::error_code ignored;
  if (!a.force && fs::exists(fs::symlink_status(a.out, ignored)))
    throw_error<UsageError>("{}: is there already; give --force to replace it, or name another file", a.out);
}

// The student that the weights are; nothing for other weights.
std::optional<models::StudentConfig> student_in(data::WeightsFile& weights, const Arguments& a,
                                                Target target) {
  try {
    return models::configure_student(weights, a.in, {});
  } catch (const UsageError& e) {
    if (target == Target::onnx)
      throw_error<UsageError>("{}; only a student can become an ONNX model", e.what());
    if (!a.student.values().empty())
      throw_error<UsageError>("{}; {} are for a student", e.what(), StudentFlags::names());
    return {};
  }
}

void cast(data::NamedTensors& tensors, const std::string& name) {
  static const std::map<std::string, DType> types{
      {"float32", DType::float32}, {"float16", DType::float16}, {"bfloat16", DType::bfloat16}};
  for (auto& [key, tensor] : tensors)
    if (tensor.dtype() != DType::uint8 && tensor.dtype() != DType::int64)
      tensor = tensor.cast(types.at(name));
}

void write(const Arguments& a, Target target, const data::WeightsFile& weights,
           const std::optional<models::StudentConfig>& config) {
  if (target == Target::onnx) {
    const nn::NoInit no_init;
    models::Student student(*config);
    student.share_state(weights.tensors, a.in);
    models::export_onnx(a.out, student, weights.metadata);
  } else if (target == Target::torch) {
    data::write_torch_file(a.out, weights.tensors, weights.metadata);
  } else {
    auto metadata = weights.metadata;
    metadata["format"] = "pt";  // what tools around PyTorch look for
    data::write_safetensors(a.out, weights.tensors, metadata);
  }
}

void convert(const Arguments& a) {
  const Target target = target_of(a.out);
  if (target == Target::onnx && !a.dtype.empty() && a.dtype != "float32")
    throw_error<UsageError>("--dtype {}: an ONNX model is float32; leave the option out", a.dtype);
  check_files(a);
  data::WeightsFile weights = data::read_weights(a.in, data::TensorMemory::mapped);
  auto config = student_in(weights, a, target);
  if (config && !a.student.values().empty()) {
    config = models::configure_student(weights, a.in, a.student.values());
    models::check(*config);
  }
  if (config) {
    std::erase_if(weights.metadata, [](const auto& entry) { return entry.first.starts_with("model."); });
    weights.metadata.merge(models::to_metadata(*config));
  }
  if (!a.dtype.empty()) cast(weights.tensors, a.dtype);
  write(a, target, weights, config);

  std::int64_t parameters = 0;
  for (const auto& [name, tensor] : weights.tensors) parameters += tensor.numel();
  const auto bytes = fs::file_size(a.out);
  if (a.json)
    print_json(nlohmann::ordered_json{{"file", a.out},
                                      {"read_from", data::find_weights(a.in)},
                                      {"tensors", weights.tensors.size()},
                                      {"parameters", parameters},
                                      {"bytes", bytes}});
  else
    fmt::print("{}: {} tensors, {} parameters, {} bytes\n", a.out, weights.tensors.size(), parameters, bytes);
}

}  // namespace

void add_convert(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command = program.command("convert", "writes weights as .safetensors, .pt or .onnx",
                                    "vitral convert runs/student student.onnx");
  command.option("in", a->in, "run folder, checkpoint, .safetensors, .pt or pytorch_model.bin")
      .required()
      .type_name("IN");
  command.option("out", a->out, "file to write: .safetensors, .pt (also .pth, .bin) or .onnx")
      .required()
      .type_name("OUT");
  command
      .option("--dtype", a->dtype, "of .safetensors and .pt: float32, float16 or bfloat16; default: as it is")
      .one_of({"float32", "float16", "bfloat16"});
  a->student.add_to(command);
  command.flag("--force", a->force, "replace OUT where it is there");
  command.flag("--json", a->json, "one JSON object");
  command.run([a] { convert(*a); });
}

}  // namespace vitral::cli
