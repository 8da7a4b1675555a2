#include "models/measure/zero_shot.h"

#include <algorithm>

#include "models/measure/retrieval.h"

namespace vitral::models {

double ZeroShotResult::mean_per_class() const {
  double sum = 0;
  std::int64_t shown = 0;
  for (const Class& c : classes) {
    sum += c.accuracy();
    shown += c.images > 0 ? 1 : 0;
  }
  return shown > 0 ? sum / static_cast<double>(shown) : 0;
}

double ZeroShotResult::chance(std::int64_t k) const {
  return std::min(1.0, static_cast<double>(k) / static_cast<double>(classes.size()));
}

ZeroShot::ZeroShot(const Tensor& classes) : classes_(classes) {
  VITRAL_CHECK(classes.rank() == 2 && classes.dtype() == DType::float32 && classes.numel() > 0,
               "zero_shot: classes {} {} must be float32 [C, D]", classes.dtype(), classes.shape());
  sums_.classes.resize(static_cast<std::size_t>(classes.dim(0)));
}

void ZeroShot::add(const Tensor& embeddings, std::span<const std::int64_t> labels) {
  Answers answers;
  answers.group.assign(labels.begin(), labels.end());
  for (const std::int64_t label : labels)
    VITRAL_CHECK(label >= 0 && label < classes_.dim(0), "zero_shot: class {} is out of range, there are {}",
                 label, classes_.dim(0));
  for (std::int64_t c = 0; c < classes_.dim(0); ++c) answers.members.push_back({c});
  const std::vector<Rank> found = ranks(embeddings, classes_, answers);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    ZeroShotResult::Class& own = sums_.classes[static_cast<std::size_t>(labels[i])];
    ++own.images;
    own.found += found[i].within(1);
    ++sums_.images;
    sums_.top1 += found[i].within(1);
    sums_.top5 += found[i].within(5);
  }
}

ZeroShotResult ZeroShot::result() const {
  ZeroShotResult out = sums_;
  const double images = static_cast<double>(std::max<std::int64_t>(out.images, 1));
  out.top1 /= images;
  out.top5 /= images;
  return out;
}

}  // namespace vitral::models
