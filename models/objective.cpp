#include "models/objective.h"

#include "data/weights/weights.h"

namespace vitral::models {

Variable loss_of(const std::vector<Term>& terms) {
  VITRAL_CHECK(!terms.empty(), "loss: an objective needs at least one term");
  Variable loss;
  for (const Term& term : terms) {
    const Variable part = term.weight == 1 ? term.value : affine(term.value, term.weight);
    loss = loss.defined() ? add(loss, part) : part;
  }
  return loss;
}

data::NamedTensors Objective::initial_weights(const std::string& path,
                                              std::vector<std::string>& /*warnings*/) const {
  return data::read_weights(path).tensors;
}

// What an objective without features() is never asked for.
Variable Objective::features(const data::Inputs& /*inputs*/, DType /*dtype*/,
                             const nn::ForwardContext& /*context*/) const {
  throw_error("objective: its loss is a mean over images, it has no features to compare");
}

std::vector<Term> Objective::terms_of(const Variable& /*features*/, const Tensor& /*present*/,
                                      std::int64_t /*images*/) const {
  throw_error("objective: its loss is a mean over images, not made of features");
}

std::vector<NamedValue> Objective::measure_whole(const Tensor& /*features*/,
                                                 std::span<const std::int64_t> /*indices*/,
                                                 const data::Dataset& /*dataset*/) const {
  return {};
}

std::string describe(const std::vector<NamedValue>& values) {
  std::string out;
  for (const auto& [name, value] : values)
    out += fmt::format("{}{} {:.4f}", out.empty() ? "" : ", ", name, value);
  return out;
}

std::vector<double> Measured::of(const std::vector<Tensor>& values) const {
  std::vector<double> items;
  items.reserve(values.size());
  for (const Tensor& x : values) items.push_back(x.item());
  return sums(items);
}

void Means::add(const std::vector<double>& sums, std::int64_t images) {
  VITRAL_CHECK(sums.size() == sums_.size(), "means: {} sums for {} measures", sums.size(), sums_.size());
  for (std::size_t i = 0; i < sums.size(); ++i) sums_[i] += sums[i];
  images_ += images;
}

std::vector<NamedValue> Means::result() const {
  std::vector<NamedValue> out;
  for (std::size_t i = 0; i < sums_.size(); ++i)
    out.push_back({names_[i], sums_[i] / static_cast<double>(images_)});
  return out;
}

}  // namespace vitral::models
