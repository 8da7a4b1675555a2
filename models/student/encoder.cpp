#include "models/student/encoder.h"

#include <algorithm>

#include "base/hash.h"
#include "models/finite.h"
#include "models/student/infer_config.h"

namespace vitral::models {

namespace {

void override_field(StudentConfig& config, const std::string& name, const std::string& text) {
  for (const auto& field : student_fields())
    if (field.name == name && !field.flag.empty()) try {
        return with_yaml(text, [&](const YAML::Node& node) { field.read(node, config); });
      } catch (const BadValue& bad) {
        throw_error<UsageError>("{} {}", name, bad.text);
      }
  throw_error<UsageError>("{}: is no field of a student that may be set over its weights", name);
}

// Calls refuse(field, what tensors tell, what is said) where a configuration says other than they do.
template <class Refuse>
void compare(const data::NamedTensors& tensors, const std::string& path, const StudentConfig& said,
             const Refuse& refuse) {
  const StudentConfig told = infer_student_config(tensors, path, said);
  for (const auto& field : student_fields())
    if (field.write(told) != field.write(said)) refuse(field.name, field.write(told), field.write(said));
}

}  // namespace

StudentConfig configure_student(data::WeightsFile& weights, const std::string& path,
                                const StudentOverrides& overrides) {
  const auto overridden = [&](StudentConfig config) {
    for (const auto& [name, text] : overrides) override_field(config, name, text);
    return config;
  };
  const auto stored = student_config_from_metadata(weights.metadata, path);
  if (stored)
    compare(weights.tensors, path, *stored,
            [&](const std::string& field, const std::string& told, const std::string& said) {
              throw_error(
                  "{}: metadata model.{}: is {}, but the tensors are those of {}; write the file again", path,
                  field, said, told);
            });
  StudentConfig config =
      overridden(stored ? *stored
                        : infer_student_config(weights.tensors, path,
                                               overridden(usual_student_config(weights.tensors))));
  // A tensor that a field needs must be there; one that it does without goes.
  const auto settle = [&](const char* field, bool needed, const char* what, const char* tensor) {
    if (!overrides.contains(field)) return;
    const auto is_it = [&](const auto& named) { return named.first == tensor; };
    VITRAL_CHECK(!needed || std::any_of(weights.tensors.begin(), weights.tensors.end(), is_it),
                 "{}: {} needs the weights '{}', which this file does not have", path, what, tensor);
    if (!needed) std::erase_if(weights.tensors, is_it);
  };
  settle("same_norm", config.same_norm, "same_norm", "scale");
  settle("position", config.position == "learned", "position learned", "positional_embedding");
  if (!overrides.empty())
    compare(weights.tensors, path, config,
            [&](const std::string& field, const std::string& told, const std::string& said) {
              throw_error<UsageError>("{}: {} {} does not go with its tensors, which are those of {}", path,
                                      field, said, told);
            });
  return config;
}

std::unique_ptr<Student> student_of(const StudentConfig& config, const data::NamedTensors& tensors,
                                    const std::string& where) {
  const nn::NoInit no_init;
  auto student = std::make_unique<Student>(config);
  student->share_state(tensors, where);
  return student;
}

Encoder Encoder::load(const std::string& path, Device device, const StudentOverrides& overrides,
                      double temperature, DType dtype) {
  data::WeightsFile weights = data::read_weights(path, data::TensorMemory::mapped);
  const StudentConfig config = configure_student(weights, path, overrides);
  auto student = student_of(config, weights.tensors, path);
  student->to(device);
  if (dtype != DType::float32) student->keep_copies(dtype);
  student->pack_weights();
  return {path, std::move(student), device, temperature, dtype};
}

std::uint64_t Encoder::digest() const {
  Hash hash;
  // With the zero behind them, so that two texts are not one.
  const auto add_text = [&](const std::string& text) { hash.add(text.c_str(), text.size() + 1); };
  for (const auto& [name, tensor] : student_->state()) {
    add_text(name);
    const Tensor host = tensor.to(cpu);
    hash.add(host.raw(), host.bytes());
  }
  add_text(settings());
  return hash.value();
}

std::string Encoder::settings() const {
  std::string out;
  for (const auto& field : student_fields())
    if (!field.flag.empty() && is_told(field, config()))
      out += fmt::format("{} {}, ", field.name, field.write(config()));
  return out +
         fmt::format("temperature {}{}", temperature_, dtype_ == DType::bfloat16 ? ", precision bf16" : "");
}

Pending<ImageEmbeddings> Encoder::begin_embed(const Tensor& images, std::int64_t batch) const {
  const std::int64_t count = images.dim(0), n = config().tokens(), w = config().width;
  ImageEmbeddings out{inference_->room({count, w}), inference_->room({count, n}),
                      inference_->room({count, n, w})};
  Download down =
      inference_->begin(images, batch, {out.embeddings, out.probs, out.patches}, [&](const Tensor& pixels) {
        const StudentOutput y = student_->of_patches(pixel_patches(config(), pixels, dtype_), temperature_);
        return std::vector{y.embedding, y.probs, y.patches};
      });
  return {std::move(out), std::move(down), [path = path_](const ImageEmbeddings& e) {
            for (const Tensor* values : {&e.embeddings, &e.probs, &e.patches})
              require_finite(*values, path, "the training diverged, take an earlier checkpoint");
          }};
}

}  // namespace vitral::models
