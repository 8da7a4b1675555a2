#include "tensor/profile.h"

#include <algorithm>

#include "tensor/stream.h"

namespace vitral {

constinit thread_local Profile* current_profile = nullptr;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A step knows some twenty kernels: looking through them costs less than a map.
OperationProfile& find_or_add(std::vector<OperationProfile>& operations, const char* name) {
  for (OperationProfile& o : operations)
    if (o.name == name) return o;
  return operations.emplace_back(OperationProfile{.name = name});
}

void sort_by_time(std::vector<OperationProfile>& operations) {
  std::erase_if(operations, [](const auto& o) { return o.calls == 0; });
  std::stable_sort(operations.begin(), operations.end(),
                   [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  for (OperationProfile& o : operations) sort_by_time(o.inside);
}

}  // namespace

std::vector<OperationProfile> Profile::operations() const {
  auto out = operations_;
  sort_by_time(out);
  return out;
}

Profile::Use::Use(Profile& profile) : profile_(profile), before_(current_profile), start_(Clock::now()) {
  current_profile = &profile;
}

Profile::Use::~Use() {
  current_profile = before_;
  profile_.seconds_ += seconds_since(start_);
}

Profile::Call::Call(Profile& profile, const char* name, Device device, double flops, double bytes)
    : profile_(profile),
      caller_(profile.running_),
      operation_(&find_or_add(caller_ ? caller_->inside : profile.operations_, name)),
      device_(device),
      flops_(flops),
      bytes_(bytes) {
  synchronize(device_);
  profile_.running_ = operation_;
  start_ = Clock::now();
}

Profile::Call::~Call() { profile_.running_ = caller_; }

void Profile::Call::end() {
  synchronize(device_);
  operation_->seconds += seconds_since(start_);
  operation_->flops += flops_;
  operation_->bytes += bytes_;
  ++operation_->calls;
}

}  // namespace vitral
