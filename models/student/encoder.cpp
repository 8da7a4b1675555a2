#include "models/student/encoder.h"

#include <algorithm>

#include "data/weights/weights.h"

namespace vitral::models {

StudentConfig config_of_weights(const std::vector<std::pair<std::string, Tensor>>& tensors,
                                const std::map<std::string, std::string>& metadata, const std::string& path) {
  if (const auto config = student_config_from_metadata(metadata, path)) return *config;
  return infer_student_config(tensors, path);
}

Encoder Encoder::load(const std::string& path, Device device, const EncoderOverrides& overrides) {
  const data::WeightsFile weights = data::read_weights(path, data::TensorMemory::mapped);
  const StudentConfig stored = config_of_weights(weights.tensors, weights.metadata, path);
  StudentConfig config = stored;
  if (overrides.attention) config.attention = *overrides.attention;
  if (overrides.window) config.window = *overrides.window;
  // `scale` is there or not whatever the flags say: the tensors decide the architecture, the flag only the
  // forward pass.
  const nn::NoInit no_init;
  auto student = std::make_unique<Student>(config);
  student->share_state(weights.tensors, path);
  student->to(device);
  student->pack_weights();
  Encoder encoder(std::move(student), device, overrides.temperature);
  encoder.same_norm_ = overrides.same_norm;
  VITRAL_CHECK(!overrides.same_norm.value_or(false) || stored.same_norm,
               "{}: same_norm needs the weights 'scale', which this file does not have", path);
  return encoder;
}

std::string Encoder::settings() const {
  return fmt::format("{} attention, window {}, same_norm {}, temperature {}", config().attention,
                     config().window, same_norm_.value_or(config().same_norm), temperature_);
}

Encoded Encoder::encode(const Tensor& images, std::int64_t batch) const {
  const NoGrad no_grad;
  const std::int64_t count = images.dim(0), n = config().tokens(), w = config().width;
  Encoded out{Tensor({count, w}), Tensor({count, n}), Tensor({count, n, w})};
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(count, begin + batch);
    const Variable patches = pixel_patches(config(), images.rows(begin, end).to(device_));
    const StudentOutput y =
        student_->of_patches(patches, {.temperature = temperature_, .same_norm = same_norm_});
    out.embeddings.rows(begin, end).copy_from(y.embedding.value());
    out.probs.rows(begin, end).copy_from(y.probs.value().reshape({end - begin, n}));
    out.patches.rows(begin, end).copy_from(y.patches.value());
  }
  return out;
}

}  // namespace vitral::models
