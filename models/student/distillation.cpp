#include "models/student/distillation.h"

#include "models/student/infer_config.h"
#include "models/student/regions.h"

namespace vitral::models {

Distillation::Distillation(const StudentConfig& config, std::uint64_t seed,
                           const DistillationOptions& options)
    : student_(config, seed), loss_(options) {
  if (loss_.reads(data::Target::regions)) region_means(options.regions, config.grid());  // what is wrong, now
}

Places Distillation::places() const {
  Places out;
  if (loss_.reads(data::Target::regions)) out.regions = loss_.options().regions;
  if (loss_.reads(data::Target::patches)) out.grid = student_.config().grid();
  return out;
}

std::map<std::string, std::string> Distillation::metadata_in(const std::map<std::string, std::string>& file,
                                                             const std::string& where) const {
  const auto then = student_config_from_metadata(file, where);
  return then ? to_texts(*then) : std::map<std::string, std::string>();
}

// The mask leaves no trace in the tensors.
std::map<std::string, std::string> Distillation::metadata_of(
    const std::vector<std::pair<std::string, Tensor>>& weights, const std::string& where,
    std::vector<std::string>& warnings) const {
  const StudentConfig& own = student_.config();
  const StudentConfig then = infer_student_config(weights, where, own);
  if (const char* original = then.same_norm ? "neighbourhood" : "full"; own.attention != original)
    warnings.push_back(
        fmt::format("{}: {} `scale`, as the original's students with {} attention; training goes on with "
                    "model.attention={}",
                    where, then.same_norm ? "has" : "has no", original, to_texts(own).at("model.attention")));
  return to_texts(then);
}

StudentOutput Distillation::forward(const data::Inputs& inputs, DType dtype,
                                    const nn::ForwardContext& context) const {
  const Variable patches = pixel_patches(student_.config(), inputs.images, dtype);
  if (loss_.reads_patches()) return student_.of_patches(patches, 1, context);
  return {.embedding = student_.embed(patches, context), .probs = {}, .patches = {}};  // one fused kernel
}

std::vector<Term> Distillation::terms(const data::Inputs& inputs, DType dtype,
                                      const nn::ForwardContext& context) const {
  return loss_.terms(forward(inputs, dtype, context), inputs);
}

Measured Distillation::measured(const data::Inputs& inputs, DType dtype) const {
  const NoGrad no_grad;
  return loss_.measured(forward(inputs, dtype, {}), inputs);
}

}  // namespace vitral::models
