#include "train/exchange.h"

#include <algorithm>
#include <bit>

#include "tensor/ops/binary.h"
#include "train/config.h"
#include "train/objective.h"

namespace vitral::train {
namespace {

// items[0] becomes the balanced sum over all of them, whose number is a power of two.
template <class T, class Add>
void tree_sum(std::span<T> items, Add&& add) {
  for (std::size_t half = 1; half < items.size(); half *= 2)
    for (std::size_t i = 0; i < items.size(); i += 2 * half) add(items[i], items[i + half]);
}

void add_sums(SliceSums& to, const SliceSums& from) {
  to.loss += from.loss;
  for (std::size_t i = 0; i < to.terms.size(); ++i) to.terms[i] += from.terms[i];
  to.images += from.images;
  to.skipped += from.skipped;
  to.signal = std::max(to.signal, from.signal);
}

}  // namespace

std::int64_t slices_of(const TrainConfig& config, const Group& group) {
  const std::int64_t size = group.size(), slices = config.slices.value_or(size);
  VITRAL_CHECK(
      std::has_single_bit(static_cast<std::uint64_t>(size)),
      "{} processes are no power of two, and slices of a batch are shared evenly; start 1, 2, 4, 8, ...",
      size);
  VITRAL_CHECK(slices >= size,
               "train.slices: {} cannot be shared by {} processes; start at most {}, or set more", slices,
               size, slices);
  VITRAL_CHECK(config.batch_size % slices == 0, "train.batch_size: {} must be a multiple of {}, {}",
               config.batch_size, slices, config.slices ? "train.slices" : "the number of processes");
  if (const std::string term = coupling_term(config); !term.empty())
    VITRAL_CHECK(
        slices < config.batch_size,
        "train.objective.{}: compares images, and of train.batch_size {} each of {} processes has 1; "
        "start fewer",
        term, config.batch_size, size);
  return slices;
}

Exchange::Exchange(Group& group, std::int64_t slices, const nn::Module& module)
    : group_(group), slices_(slices), parameters_(module.parameters()), gradients_(parameters_.size()) {
  for (const auto& p : parameters_) {
    VITRAL_CHECK(p.value->dtype() == DType::float32, "exchange: parameter {} is {}, must be float32", p.name,
                 p.value->dtype());
    offsets_.push_back(elements_);
    elements_ += p.value->value().numel();
  }
}

void Exchange::add(const SliceSums& sums) {
  if (sums_.empty() && !levels_.empty() && levels_.back().defined()) {  // of the step before
    free_.push_back(std::move(levels_.back()));
    levels_.back() = {};
  }
  const auto count = static_cast<std::int64_t>(parameters_.size()), size = std::int64_t{group_.size()};
  const std::int64_t padded = (elements_ + count + size - 1) / size * size;
  Tensor flat = free_.empty() ? Tensor({padded}, DType::float32) : std::move(free_.back());
  if (!free_.empty()) free_.pop_back();
  flat.rows(elements_, padded).fill(0);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& gradient = parameters_[i].value->grad();
    const std::int64_t n = parameters_[i].value->value().numel();
    Tensor place = flat.rows(offsets_[i], offsets_[i] + n);
    if (gradient.defined())
      place.copy_from(gradient.reshape({n}));
    else
      place.fill(0);
    flat.data<float>()[elements_ + static_cast<std::int64_t>(i)] = gradient.defined() ? 1.0F : 0.0F;
  }
  // A binary counter: two subtrees of one size make one of the next.
  std::size_t level = 0;
  for (; level < levels_.size() && levels_[level].defined(); ++level) {
    kernel::add_to(levels_[level], flat);
    free_.push_back(std::move(flat));
    flat = std::move(levels_[level]);
    levels_[level] = {};
  }
  if (level == levels_.size()) levels_.emplace_back();
  levels_[level] = std::move(flat);
  sums_.push_back(sums);
}

SliceSums Exchange::reduce() {
  const auto size = static_cast<std::size_t>(group_.size()), mine = static_cast<std::size_t>(slices_) / size;
  VITRAL_CHECK(sums_.size() == mine, "exchange: {} slices were added, {} are this process's", sums_.size(),
               mine);
  Tensor total = levels_.back();
  std::vector<SliceSums> all(static_cast<std::size_t>(slices_));
  group_.all_gather(sums_.data(), all.data(), mine * sizeof(SliceSums));
  sums_.clear();
  double fastest = all.front().seconds, slowest = fastest;
  for (std::size_t p = 0; p < size; ++p) {
    double seconds = 0;
    for (std::size_t k = 0; k < mine; ++k) seconds += all[p * mine + k].seconds;
    fastest = p == 0 ? seconds : std::min(fastest, seconds);
    slowest = p == 0 ? seconds : std::max(slowest, seconds);
  }
  tree_sum(std::span(all), add_sums);
  all.front().seconds = slowest - fastest;

  if (size > 1) {
    if (!received_.defined()) received_ = Tensor(total.shape(), DType::float32);
    const std::int64_t piece = total.numel() / group_.size();
    const auto bytes = static_cast<std::size_t>(piece) * sizeof(float);
    group_.all_to_all(total.raw(), received_.raw(), bytes);
    std::vector<Tensor> pieces;
    for (std::int64_t p = 0; p < group_.size(); ++p)
      pieces.push_back(received_.rows(p * piece, (p + 1) * piece));
    tree_sum(std::span(pieces), [](Tensor& to, const Tensor& from) { kernel::add_to(to, from); });
    group_.all_gather(pieces.front().raw(), total.raw(), bytes);
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& value = parameters_[i].value->value();
    const bool some = total.data<float>()[elements_ + static_cast<std::int64_t>(i)] > 0;
    gradients_[i] =
        some ? total.rows(offsets_[i], offsets_[i] + value.numel()).reshape(value.shape()) : Tensor();
  }
  return all.front();
}

void Exchange::scale(double factor) {
  if (factor == 1) return;
  Tensor elements = levels_.back().rows(0, elements_);
  kernel::affine(elements, elements, factor, 0);
}

}  // namespace vitral::train
