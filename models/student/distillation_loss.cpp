#include "models/student/distillation_loss.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/ranges.h>

#include "models/constant.h"
#include "models/student/regions.h"

namespace vitral::models {
namespace {

// What the terms of a batch are made of.
class Pair {
 public:
  Pair(const StudentOutput& y, const data::Inputs& inputs, const DistillationOptions& options,
       Variable& texts, Variable& region_means)
      : y_(y), inputs_(inputs), options_(options), texts_(texts), region_means_(region_means) {}

  const StudentOutput& output() const { return y_; }
  const data::Inputs& inputs() const { return inputs_; }
  const DistillationOptions& options() const { return options_; }
  std::int64_t images() const { return y_.embedding.dim(0); }
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
  /// C [K,D]
  const Variable& texts() {
    return constant(texts_, y_.embedding, [&] { return options_.texts; });
  }
  /// [R,N]
  const Variable& region_means() {
    return constant(region_means_, y_.patches,
                    [&] { return models::region_means(options_.regions, grid_of(y_.patches)); });
  }

 private:
  static int grid_of(const Variable& patches) {
    return static_cast<int>(std::lround(std::sqrt(static_cast<double>(patches.dim(1)))));
  }

  const StudentOutput& y_;
  const data::Inputs& inputs_;
  const DistillationOptions& options_;
  Variable &texts_, &region_means_;
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

Scaled cosine(Pair& p) { return {1, affine(mean(sum(mul(p.unit_output(), p.unit_targets()), 1)), -1, 1)}; }

// The diagonal adds nothing: both products are 1 there, whatever y is.
Scaled relational(Pair& p) {
  const Variable &y = p.unit_output(), &t = p.unit_targets();
  const auto b = static_cast<double>(p.images());
  const double pairs = std::max(1.0, b * (b - 1));
  return {1, affine(sum(square(sub(matmul(y, y, true), matmul(t, t, true)))), 1 / pairs)};
}

Scaled contrastive(Pair& p) {
  const Variable &y = p.unit_output(), &t = p.unit_targets();
  const double sharpness = 1 / p.options().temperature;
  const Variable all = logsumexp(affine(matmul(y, t, true), sharpness));
  return {1, sub(mean(all), affine(mean(sum(mul(y, t), 1)), sharpness))};
}

// log p - log q = (C t^ - C y^) / temperature - logsumexp of the one + logsumexp of the other
Scaled texts(Pair& p) {
  const double sharpness = 1 / p.options().temperature;
  const Variable of_y = affine(matmul(p.unit_output(), p.texts(), true), sharpness),
                 of_t = affine(matmul(p.unit_targets(), p.texts(), true), sharpness);
  const Variable rest = sub(logsumexp(of_y), logsumexp(of_t));
  return {1, mean(add(sum(mul(softmax(of_t), sub(of_t, of_y)), 1), rest))};
}

// Mean of 1 - cos over places, x and t [B,P,D].
Scaled of_places(const Variable& x, const Variable& t) {
  return {1, affine(mean(sum(mul(l2_normalize(x), l2_normalize(t)), 2)), -1, 1)};
}

Scaled regions(Pair& p) {
  return of_places(mix_tokens(p.output().patches, p.region_means()), Variable(p.inputs().region_targets));
}

Scaled patches(Pair& p) { return of_places(p.output().patches, Variable(p.inputs().patch_targets)); }

struct Row {
  Scaled (*function)(Pair&);
  DistillationTerm term;
};
constexpr std::array rows{
    Row{l1, {.name = "l1"}},
    Row{cosine, {.name = "cosine"}},
    Row{relational, {.name = "relational", .couples_images = true}},
    Row{contrastive, {.name = "contrastive", .couples_images = true}},
    Row{texts, {.name = "texts", .reads_texts = true}},
    Row{regions, {.name = "regions", .reads_patches = true, .target = data::Target::regions}},
    Row{patches, {.name = "patches", .reads_patches = true, .target = data::Target::patches}},
};

double weight_of(const DistillationOptions& options, const Row& row) {
  const auto it = options.terms.find(row.term.name);
  return it == options.terms.end() ? 0 : it->second;
}

template <class Value>
bool any_term(const DistillationOptions& options, Value DistillationTerm::*property, Value value) {
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
    return weight_of(options, row) > 0 && row.term.*property == value;
  });
}

std::vector<Term> terms_of(Pair& pair) {
  std::vector<Term> out;
  for (const Row& row : rows) {
    const double weight = weight_of(pair.options(), row);
    if (weight == 0) continue;
    const Scaled term = row.function(pair);
    out.push_back({row.term.name, weight * term.factor, term.value});
  }
  return out;
}

}  // namespace

std::span<const DistillationTerm> distillation_terms() {
  static constexpr auto terms = [] {
    std::array<DistillationTerm, rows.size()> out{};
    for (std::size_t i = 0; i < rows.size(); ++i) out[i] = rows[i].term;
    return out;
  }();
  return terms;
}

DistillationLoss::DistillationLoss(DistillationOptions options) : options_(std::move(options)) {
  std::vector<std::string> known;
  known.reserve(rows.size());
  for (const Row& row : rows) known.emplace_back(row.term.name);
  bool any = false;
  for (const auto& [name, weight] : options_.terms) {
    VITRAL_CHECK(std::find(known.begin(), known.end(), name) != known.end(),
                 "distillation: term '{}' of the loss is unknown, choose of {}", name,
                 fmt::join(known, ", "));
    VITRAL_CHECK(weight >= 0 && std::isfinite(weight),
                 "distillation: term '{}' of the loss has weight {}, it must be a number >= 0", name, weight);
    any = any || weight > 0;
  }
  VITRAL_CHECK(any, "distillation: the loss has no term, choose of {}", fmt::join(known, ", "));
  VITRAL_CHECK(!reads(data::Target::regions) || options_.regions.defined(),
               "distillation: term 'regions' of the loss needs their boxes [R,4]");
  if (!any_term(options_, &DistillationTerm::reads_texts, true)) return;
  VITRAL_CHECK(options_.texts.defined() && options_.texts.rank() == 2 && options_.texts.dim(0) > 0,
               "distillation: term 'texts' of the loss needs embeddings of texts [K,D]");
  const NoGrad no_grad;
  options_.texts = l2_normalize(Variable(options_.texts.cast(DType::float64))).value();
  for (const double x : options_.texts.to_vector())
    VITRAL_CHECK(std::isfinite(x), "distillation: an embedding of the texts has no direction");
}

bool DistillationLoss::reads_patches() const {
  return any_term(options_, &DistillationTerm::reads_patches, true);
}

bool DistillationLoss::reads(data::Target target) const {
  return any_term(options_, &DistillationTerm::target, target);
}

bool DistillationLoss::records_terms() const {
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
    return weight_of(options_, row) != weight_of(DistillationOptions(), row);
  });
}

std::vector<std::string> DistillationLoss::measures() const {
  std::vector<std::string> out{"loss", "cosine"};
  if (!records_terms()) return out;
  for (const Row& row : rows)
    if (weight_of(options_, row) > 0) out.push_back(std::string("loss.") + row.term.name);
  return out;
}

std::vector<Term> DistillationLoss::terms(const StudentOutput& y, const data::Inputs& inputs) const {
  Pair pair(y, inputs, options_, texts_, region_means_);
  return terms_of(pair);
}

Measured DistillationLoss::measured(const StudentOutput& y, const data::Inputs& inputs) const {
  const NoGrad no_grad;
  Pair pair(y, inputs, options_, texts_, region_means_);
  Measured out;
  out.numbers.push_back(sum(mul(pair.unit_output(), pair.unit_targets())).value());
  std::vector<std::pair<double, double>> weights;  // of a term's value in the loss; in the objective
  for (const Term& term : terms_of(pair)) {
    out.numbers.push_back(term.value.value());
    weights.emplace_back(term.weight, options_.terms.at(term.name));
  }
  const auto images = static_cast<double>(pair.images());
  out.sums = [weights, images, each = records_terms()](std::span<const double> numbers) {
    std::vector<double> sums{0, numbers[0]};
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double value = images * weights[i].first * numbers[i + 1];
      sums[0] += value;
      if (each) sums.push_back(value / weights[i].second);
    }
    return sums;
  };
  return out;
}

}  // namespace vitral::models
