#include "tensor/transfer.h"

#include <iterator>

#include "base/error.h"

namespace vitral {
namespace {

Tensor pinned(const Tensor& t) {
  if (!t.defined() || t.pinned()) return t;
  Tensor copy = Tensor::pinned(t.shape(), t.dtype());
  copy.copy_from(t);
  return copy;
}

// Whoever queued the work that fails hears of it elsewhere; here it is over either way.
void wait_quietly(const Event& event) noexcept {
  try {
    event.wait();
  } catch (const Error&) {
    return;
  }
}

}  // namespace

void Upload::wait_for_copies() noexcept {
  if (!sources_.empty()) wait_quietly(copied_);
  sources_.clear();
}

bool Upload::begin(std::vector<Tensor> from) {
  if (device_.is_cpu()) {
    to_ = std::move(from);
    return true;
  }
  wait_for_copies();
  sources_ = std::move(from);
  bool moved = to_.size() != sources_.size();
  to_.resize(sources_.size());
  read_.hold(Queue::copy);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    sources_[i] = pinned(sources_[i]);
    const Tensor& source = sources_[i];
    Tensor& to = to_[i];
    if (!source.defined()) {
      moved = moved || to.defined();
      to = {};
      continue;
    }
    const std::int64_t rows = source.dim(0);
    if (!to.defined() || to.dtype() != source.dtype() || to.dim(0) < rows ||
        to.shape().with(0, 1) != source.shape().with(0, 1)) {
      moved = true;
      to = Tensor(source.shape(), source.dtype(), device_);
      // Kernels that were queued may still use this memory, under another name.
      copied_.record(Queue::compute);
      copied_.hold(Queue::copy);
    }
    Tensor part = to.rows(0, rows);
    copy_async(part, source, Queue::copy);
  }
  copied_.record(Queue::copy);
  copied_.hold(Queue::compute);
  return moved;
}

// Dropped where an error came in between, while the device reads and writes what it holds.
Download::~Download() {
  if (held_.empty()) return;
  try {
    end();
  } catch (const Error&) {
    return;
  }
  wait_quietly(done_);
}

void Download::add(Tensor to, const Tensor& from) {
  copy_async(to, from, Queue::compute);
  if (!device_.is_cpu()) held_.push_back(std::move(to));
}

void Download::keep(std::vector<Tensor> sources) {
  std::move(sources.begin(), sources.end(), std::back_inserter(held_));
}

void Download::wait() {
  done_.wait();
  held_.clear();
}

}  // namespace vitral
