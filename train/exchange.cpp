#include "train/exchange.h"

#include <algorithm>
#include <bit>

#include "tensor/ops/binary.h"
#include "train/config_keys.h"

namespace vitral::train {
namespace {

constexpr std::int64_t alignment = 32;  // elements of the flat gradient: vector accesses and cache lines

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Row 0 of x [R,...] becomes the balanced sum over all rows, whose number is a power of two.
void tree_sum(const Tensor& x) {
  for (std::int64_t half = 1; half < x.dim(0); half *= 2)
    for (std::int64_t i = 0; i < x.dim(0); i += 2 * half) {
      Tensor to = x.rows(i, i + 1);
      kernel::add_to(to, x.rows(i + half, i + half + 1));
    }
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
  Device device;
  for (const auto& p : parameters_) {
    device = p.value->device();
    VITRAL_CHECK(p.value->dtype() == DType::float32, "exchange: parameter {} is {}, must be float32", p.name,
                 p.value->dtype());
    offsets_.push_back(elements_);
    elements_ = round_up(elements_ + p.value->value().numel(), alignment);
  }
  elements_ = round_up(elements_, alignment * group.size());
  defined_.resize(parameters_.size());
  own_ = Tensor::zeros({own_slices(), slice_numbers}, DType::float64, device);
  all_ = Tensor::zeros({slices, slice_numbers}, DType::float64, device);
  sums_ = Tensor::zeros(all_.shape(), DType::float64, device);
  if (!device.is_cpu() && !group.is_one()) {
    const std::string id = group.is_first() ? Collective::make_id(device) : "";
    collective_.emplace(device, group.rank(), group.size(), broadcast(group, id));
  }
}

void Exchange::begin() {
  for (Tensor& level : levels_) {  // the sum of the step before among them
    if (level.defined()) free_.push_back(std::move(level));
    level = {};
  }
}

void Exchange::add() {
  Tensor flat;
  if (free_.empty()) {
    flat = Tensor::zeros({elements_}, DType::float32, own_.device());
  } else {
    flat = std::move(free_.back());
    free_.pop_back();
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& gradient = parameters_[i].value->grad();
    const std::int64_t n = parameters_[i].value->value().numel();
    Tensor place = flat.rows(offsets_[i], offsets_[i] + n);
    if (gradient.defined()) {
      VITRAL_CHECK(
          has_gradient_.empty() || has_gradient_[i],
          "exchange: parameter {} has a gradient for the first time after the first step; with several "
          "slices all have theirs from then on",
          parameters_[i].name);
      defined_[i] = 1;
      place.copy_from(gradient.reshape({n}));
    } else {
      place.fill(0);
    }
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
}

// A process whose images all fail to decode does not know: the others tell, once one of them had some.
void Exchange::settle() {
  const std::size_t count = parameters_.size();
  std::vector<unsigned char> all(count * static_cast<std::size_t>(group_.size()));
  group_.all_gather(defined_.data(), all.data(), count);
  std::vector<unsigned char> any(count);
  for (std::size_t i = 0; i < all.size(); ++i) any[i % count] |= all[i];
  if (std::find(any.begin(), any.end(), 1) != any.end()) has_gradient_ = std::move(any);
}

void Exchange::all_to_all(Tensor& to, const Tensor& from) {
  if (collective_) return collective_->all_to_all(to, from);
  group_.all_to_all(from.raw(), to.raw(), from.bytes() / static_cast<std::size_t>(group_.size()));
}

void Exchange::all_gather(Tensor& to, const Tensor& from) {
  if (collective_) return collective_->all_gather(to, from);
  if (group_.is_one()) return to.copy_from(from);
  group_.all_gather(from.raw(), to.raw(), from.bytes());
}

Tensor Exchange::gather(const Tensor& own) {
  Tensor all(own.shape().with(0, slices_), own.dtype(), own.device());
  all_gather(all, own);
  return all;
}

void Exchange::finish(Tensor& control) {
  VITRAL_CHECK(
      !levels_.empty() && levels_.back().defined() && std::int64_t{1} << (levels_.size() - 1) == own_slices(),
      "exchange: finished before all of this process's {} slices were added", own_slices());
  all_gather(all_, own_);
  sums_.copy_from(all_);
  tree_sum(sums_);
  constexpr std::int64_t first = update_loss, last = update_slots;
  control.rows(first, last).copy_from(sums_.reshape({sums_.numel()}).rows(first, last));
  Tensor& total = levels_.back();
  if (group_.size() > 1) {
    if (!received_.defined())
      received_ = Tensor({group_.size(), elements_ / group_.size()}, DType::float32, total.device());
    all_to_all(received_, total);
    tree_sum(received_);
    all_gather(total, received_.rows(0, 1));
  }
  if (!is_settled()) settle();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& value = parameters_[i].value->value();
    gradients_[i] = is_settled() && has_gradient_[i]
                        ? total.rows(offsets_[i], offsets_[i] + value.numel()).reshape(value.shape())
                        : Tensor();
  }
}

}  // namespace vitral::train
