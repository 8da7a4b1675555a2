// vitral convert: weights from one kind of file into another.
#include <filesystem>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/calibration.h"
#include "cli/common.h"
#include "cli/print.h"
#include "cli/text.h"
#include "data/text/vocabulary.h"
#include "data/weights/checkpoint_files.h"
#include "data/weights/torch_write.h"
#include "data/weights/weights.h"
#include "models/pretrained/text_encoder.h"
#include "models/pretrained/to_transformers.h"
#include "models/student/encoder.h"
#include "models/student/onnx_export.h"

namespace vitral::cli {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string in, out, dtype;
  std::vector<std::string> calibrate;
  StudentFlags student;
  models::TowerChoices image, text;  // of a CLIP
  std::string vocabulary;
  bool force = false, json = false;

  bool of_clip() const {
    return image.heads > 0 || text.heads > 0 || !image.activation.empty() || !vocabulary.empty();
  }
};

enum class Target { safetensors, torch, onnx, folder };

Target target_of(const std::string& path) {
  static const std::map<std::string, Target> targets{{".safetensors", Target::safetensors},
                                                     {".pt", Target::torch},
                                                     {".pth", Target::torch},
                                                     {".bin", Target::torch},
                                                     {".onnx", Target::onnx}};
  std::error_code ignored;
  if (path.ends_with('/') || fs::is_directory(path, ignored)) return Target::folder;
  const auto found = targets.find(fs::path(path).extension().string());
  if (found == targets.end())
    throw_error<UsageError>(
        "{}: its name says no format; end it in .safetensors, .pt, .pth, .bin or .onnx, or in / for a folder "
        "for transformers",
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
    if (a.dtype == "int8") throw_error<UsageError>("{}; only a student can become int8", e.what());
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
    models::export_onnx(a.out, *models::student_of(*config, weights.tensors, a.in), weights.metadata);
  } else if (target == Target::torch) {
    data::write_torch_file(a.out, weights.tensors, weights.metadata);
  } else {
    auto metadata = weights.metadata;
    metadata["format"] = "pt";  // what tools around PyTorch look for
    data::write_safetensors(a.out, weights.tensors, metadata);
  }
}

constexpr const char *config_file = "config.json", *preprocessor_file = "preprocessor_config.json";

void check_folder(const Arguments& a) {
  VITRAL_CHECK(a.student.values().empty(),
               "{}: a folder for transformers is made of a CLIP; {} are for a student", a.out,
               StudentFlags::names());
  std::vector<const char*> files{config_file, preprocessor_file, data::model_file};
  files.insert(files.end(), std::begin(data::clip_tokenizer_files), std::end(data::clip_tokenizer_files));
  std::error_code ignored;
  for (const std::string& input : {data::weights_folder(a.in), a.vocabulary})
    if (fs::equivalent(a.out, input, ignored))
      throw_error<UsageError>("{}: is one of the inputs; name another folder for the output", a.out);
  check_output_folder(a.out, files, a.force);
}

// A folder for transformers: what became of the weights.
data::NamedTensors write_folder(const Arguments& a) {
  check_folder(a);
  models::Checkpoint checkpoint = models::read_checkpoint(a.in, data::TensorMemory::mapped);
  if (!a.dtype.empty()) cast(checkpoint.tensors, a.dtype);
  models::TransformersClip clip = models::to_transformers(checkpoint, a.image, a.text);
  const std::string place = a.vocabulary.empty() ? checkpoint.vocabulary : a.vocabulary;
  const data::BytePairs vocabulary = data::read_vocabulary(place);
  models::check_vocabulary(data::vocabulary_size(vocabulary), place, clip.text, a.in);
  report_guess(a.in, clip.image_guessed, "--heads");
  report_guess(a.in, clip.text_guessed, "--text-heads");
  AtomicDirectory folder = output_folder(a.out);
  data::write_safetensors(folder.file(data::model_file), clip.tensors, {{"format", "pt"}});
  write_file_atomic(folder.file(config_file), clip.config);
  write_file_atomic(folder.file(preprocessor_file), clip.preprocessor);
  data::write_clip_tokenizer(folder.temporary(), vocabulary, clip.text.context);
  folder.commit();
  return std::move(clip.tensors);
}

// What is asked of int8 weights, before any is read.
void check_int8(const Arguments& a, Target target) {
  VITRAL_CHECK(a.calibrate.empty() || a.dtype == "int8",
               "--calibrate: images are for --dtype int8; add it, or leave them out");
  VITRAL_CHECK(a.dtype != "int8" || target == Target::safetensors || target == Target::onnx,
               "{}: int8 weights are written as .safetensors or .onnx; name such a file", a.out);
}

// The student's weights as int8, or floats of int8 ones, as --dtype says; and what int8 cost where there were
// images to see it on.
std::optional<models::Int8Student> change_int8(data::NamedTensors& tensors,
                                               const models::StudentConfig& config, const Arguments& a,
                                               Target target) {
  const bool is_int8 = data::has_int8(tensors);
  VITRAL_CHECK(
      !is_int8 || target != Target::torch || !a.dtype.empty(),
      "{}: its weights are int8, which are written as .safetensors or .onnx; give --dtype float32 for {}",
      a.in, a.out);
  VITRAL_CHECK(!is_int8 || a.calibrate.empty(),
               "{}: its weights are int8 already; calibrate with the float32 ones, or leave --calibrate out",
               a.in);
  if (is_int8 && !a.dtype.empty() && a.dtype != "int8") {
    const auto student = models::student_of(config, tensors, a.in);
    student->to(DType::float32);
    tensors = student->state();
  }
  if (is_int8 || a.dtype != "int8") return {};
  auto int8 = models::quantize_student(
      config, tensors, a.in,
      a.calibrate.empty() ? models::ImageBatches() : calibration_images(a.calibrate, config.image_size));
  tensors = int8.student->state();
  if (a.calibrate.empty()) return {};
  return int8;
}

struct Written {
  data::NamedTensors tensors;
  std::optional<models::Int8Student> int8 = {};
};

// A file: what became of the weights.
Written write_file(const Arguments& a, Target target) {
  VITRAL_CHECK(
      !a.of_clip(),
      "--heads, --text-heads, --activation and --vocab are for a folder for transformers; end {} in /",
      a.out);
  if (target == Target::onnx && !a.dtype.empty() && a.dtype != "float32" && a.dtype != "int8")
    throw_error<UsageError>("--dtype {}: an ONNX model is float32 or int8; leave the option out", a.dtype);
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
  std::optional<models::Int8Student> int8;
  if (config) int8 = change_int8(weights.tensors, *config, a, target);
  if (!a.dtype.empty() && a.dtype != "int8") cast(weights.tensors, a.dtype);
  write(a, target, weights, config);
  return {std::move(weights.tensors), std::move(int8)};
}

void convert(const Arguments& a) {
  const Target target = target_of(a.out);
  const bool folder = target == Target::folder;
  check_int8(a, target);
  const auto [tensors, int8] = folder ? Written{write_folder(a)} : write_file(a, target);
  const std::int64_t parameters = data::parameter_count(tensors);
  const auto bytes = fs::file_size(folder ? fs::path(a.out) / data::model_file : fs::path(a.out));
  if (!a.json) {
    fmt::print("{}: {} tensors, {} parameters, {} bytes\n", a.out, tensors.size(), parameters, bytes);
    if (int8) print(*int8);
    return;
  }
  nlohmann::ordered_json out{{"file", a.out},
                             {"read_from", data::find_weights(a.in)},
                             {"tensors", tensors.size()},
                             {"parameters", parameters},
                             {"bytes", bytes}};
  if (int8) out["int8"] = json_of(*int8);
  print_json(out);
}

}  // namespace

void add_convert(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command =
      program.command("convert", "writes weights as .safetensors, .pt or .onnx, a CLIP for transformers",
                      "vitral convert runs/student student.onnx\n"
                      "  vitral convert runs/student small.safetensors --dtype int8 --calibrate photos/\n"
                      "  vitral convert runs/scenes-clip scenes-clip/");
  command
      .option("in", a->in,
              "run folder, checkpoint, .safetensors, .pt or pytorch_model.bin; for a folder the weights of "
              "any CLIP")
      .required()
      .type_name("IN");
  command
      .option("out", a->out,
              "file to write: .safetensors, .pt (also .pth, .bin) or .onnx; of a CLIP also a folder for "
              "transformers, its name ended by /")
      .required()
      .type_name("OUT");
  command
      .option("--dtype", a->dtype,
              "of .safetensors, .pt and a folder: float32, float16 or bfloat16; of a student's .safetensors "
              "and .onnx also int8, a scale a row; default: as it is")
      .one_of({"float32", "float16", "bfloat16", "int8"});
  command
      .option("--calibrate", a->calibrate,
              "for int8: datasets, image files and folders of them to fit the weights to, some dozens of "
              "images; the answer then says what int8 costs on them")
      .type_name("IMAGES")
      .takes_many();
  a->student.add_to(command);
  command
      .option("--vocab", a->vocabulary,
              "of a folder: the vocabulary of the CLIP, where it does not lie beside the weights")
      .type_name("FILE");
  command
      .option(
          "--heads", a->image.heads,
          "of a folder: attention heads of the image tower; default: the configuration's, else width / 64")
      .at_least(1);
  command.option("--text-heads", a->text.heads, "the same of the text tower").at_least(1);
  add_activation_to(command, a->image.activation);
  command.flag("--force", a->force, "replace OUT where it is there");
  command.flag("--json", a->json, "one JSON object");
  command.run([a] {
    a->text.activation = a->image.activation;
    convert(*a);
  });
}

}  // namespace vitral::cli
