#include "models/student/distillation.h"

#include <algorithm>

#include <fmt/ranges.h>

namespace vitral::models {
namespace {

// What the terms of a batch are made of.
class Pair {
 public:
  Pair(const StudentOutput& y, const data::Inputs& inputs, const DistillationOptions& options)
      : y_(y), inputs_(inputs), options_(options) {}

  const StudentOutput& output() const { return y_; }
  const data::Inputs& inputs() const { return inputs_; }
  const DistillationOptions& options() const { return options_; }
  Variable targets() const { return Variable(inputs_.targets); }
  /// y^ and t^ [B,D], made once for all terms.
  const Variable& unit_output() {
    if (!unit_output_.defined()) unit_output_ = l2_normalize(y_.embedding);
    return unit_output_;
  }
  const Variable& unit_targets() {
    if (!unit_targets_.defined()) unit_targets_ = l2_normalize(targets());
    return unit_targets_;
  }

 private:
  const StudentOutput& y_;
  const data::Inputs& inputs_;
  const DistillationOptions& options_;
  Variable unit_output_, unit_targets_;
};

// --- the terms: each a value [1] and a factor of it ---

struct Scaled {
  double factor = 1;
  Variable value;
};

// One kernel makes loss and gradient. Without gradients the factor is applied in double, and the unit vectors
// are those of the cosine.
Scaled l1(Pair& p) {
  const double norm = p.options().loss_norm;
  if (grad_enabled()) return {1, distillation_loss(p.output().embedding, p.targets(), norm)};
  return {norm, mean(abs(sub(p.unit_output(), p.unit_targets())))};
}

struct Row {
  const char* name;
  Scaled (*function)(Pair&);
  bool reads_patches = false;
};
constexpr std::array rows{Row{"l1", l1}};

const Row* find_row(const std::string& name) {
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name == name; });
  return row == rows.end() ? nullptr : &*row;
}

std::vector<Term> terms_of(Pair& pair) {
  std::vector<Term> out;
  for (const auto& [name, weight] : pair.options().terms) {
    const Scaled term = find_row(name)->function(pair);
    out.push_back({name, weight * term.factor, term.value});
  }
  return out;
}

}  // namespace

DistillationLoss::DistillationLoss(DistillationOptions options) : options_(std::move(options)) {
  std::vector<std::string> known;
  known.reserve(std::size(rows));
  for (const Row& row : rows) known.emplace_back(row.name);
  for (const auto& [name, weight] : options_.terms)
    VITRAL_CHECK(find_row(name), "distillation: term '{}' of the loss is unknown, choose of {}", name,
                 fmt::join(known, ", "));
  VITRAL_CHECK(!options_.terms.empty(), "distillation: the loss has no term, choose of {}",
               fmt::join(known, ", "));
}

bool DistillationLoss::reads_patches() const {
  return std::any_of(options_.terms.begin(), options_.terms.end(),
                     [](const auto& term) { return find_row(term.first)->reads_patches; });
}

std::vector<Term> DistillationLoss::terms(const StudentOutput& y, const data::Inputs& inputs) const {
  Pair pair(y, inputs, options_);
  return terms_of(pair);
}

std::vector<double> DistillationLoss::measure(const StudentOutput& y, const data::Inputs& inputs) const {
  const NoGrad no_grad;
  Pair pair(y, inputs, options_);
  const auto images = static_cast<double>(y.embedding.dim(0));
  double loss = 0;
  for (const Term& term : terms_of(pair)) loss += images * term.weight * term.value.item();
  return {loss, sum(mul(pair.unit_output(), pair.unit_targets())).item()};
}

Distillation::Distillation(const StudentConfig& config, std::uint64_t seed,
                           const DistillationOptions& options)
    : student_(config, seed), loss_(options) {}

std::map<std::string, std::string> Distillation::metadata_in(const std::map<std::string, std::string>& file,
                                                             const std::string& where) const {
  const auto then = student_config_from_metadata(file, where);
  return then ? to_metadata(*then) : std::map<std::string, std::string>();
}

// The mask leaves no trace in the tensors.
std::map<std::string, std::string> Distillation::metadata_of(
    const std::vector<std::pair<std::string, Tensor>>& weights, const std::string& where,
    std::vector<std::string>& warnings) const {
  const StudentConfig& own = student_.config();
  StudentConfig then = infer_student_config(weights, where);
  if (then.attention != own.attention)
    warnings.push_back(
        fmt::format("{}: {} `scale`, as the original's students with {} attention; training goes on with "
                    "model.attention={}",
                    where, then.same_norm ? "has" : "has no", then.attention, own.attention));
  then.attention = own.attention;
  then.window = own.window;
  return to_metadata(then);
}

StudentOutput Distillation::forward(const data::Inputs& inputs, DType dtype,
                                    const nn::ForwardContext& context) const {
  const Variable patches = pixel_patches(student_.config(), inputs.images, inputs.crops, dtype);
  if (loss_.reads_patches()) return student_.of_patches(patches, 1, context);
  return {.embedding = student_.embed(patches, context), .probs = {}, .patches = {}};  // one fused kernel
}

std::vector<Term> Distillation::terms(const data::Inputs& inputs, DType dtype,
                                      const nn::ForwardContext& context) const {
  return loss_.terms(forward(inputs, dtype, context), inputs);
}

std::vector<double> Distillation::measure(const data::Inputs& inputs, DType dtype) const {
  const NoGrad no_grad;
  return loss_.measure(forward(inputs, dtype, {}), inputs);
}

}  // namespace vitral::models
