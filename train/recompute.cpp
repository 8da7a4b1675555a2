#include "train/recompute.h"

#include <utility>

#include <fmt/format.h>

namespace vitral::train {
namespace {

constexpr double gigabyte = 1e9;

// Free besides, a part of all memory, and of what is kept.
constexpr std::size_t margin_of_total = 16, margin_of_kept = 8;

bool fits(std::size_t bytes, const DeviceMemory& memory) {
  return bytes + bytes / margin_of_kept + memory.total / margin_of_total <= memory.free;
}

}  // namespace

Recompute::Recompute(const std::string& choice, Device device)
    : device_(device),
      automatic_(choice == "auto" && !device.is_cpu()),
      keeps_(choice == "never" ? Keeping::always : Keeping::no) {}

void Recompute::run(const std::function<void()>& step) {
  const KeepResults keep(keeps_);
  if (!automatic_) return step();
  const RecomputedBytes count;
  step();
  bytes_ = count.peak();
  decided_.reset();
}

Keeping Recompute::keeps() {
  if (!automatic_) return keeps_;
  if (!decided_) {
    decided_ = bytes_ > 0 && fits(bytes_, device_memory(device_));
    kept_ = kept_ || *decided_;
    if (*decided_)
      note_ =
          fmt::format("train.recompute auto: what backward needs is kept, not computed again: {:.2f} GB more",
                      static_cast<double>(bytes_) / gigabyte);
  }
  return *decided_ ? Keeping::now : Keeping::no;
}

bool Recompute::give_up() {
  if (!automatic_ || !kept_) return false;
  automatic_ = false;
  note_ = "train.recompute auto: memory is short; from here on backward computes again what was kept";
  return true;
}

std::string Recompute::take_note() { return std::exchange(note_, {}); }

}  // namespace vitral::train
