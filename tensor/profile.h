// Where time goes, operation by operation. Kernel's dispatch (tensor/kernel.h) reports every call to the
// profile that is being taken on its thread; where none is, that costs it one branch.
//
//   Profile profile;
//   {
//     const Profile::Use use(profile);
//     ...                                        // kernels that this thread calls are counted
//   }
//   for (const OperationProfile& o : profile.operations()) ...
//
// On a GPU each kernel is waited for, before and after, so that its time is its own: slower than without a
// profile, and no graph can be recorded meanwhile.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/device.h"

namespace vitral {

/// All calls of one kernel. Some call others (a linear layer its product): their time is part of it, and they
/// stand in `inside`, so that the sum over the outermost counts every moment once.
struct OperationProfile {
  std::string name;
  std::int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  // 2 M N K of each product, where the kernel's contract says so; else 0
  double bytes = 0;  // of all tensors that the kernel got, each counted once
  std::vector<OperationProfile> inside = {};
};

class Profile {
 public:
  /// The outermost operations, the slowest first, in each `inside`, too.
  std::vector<OperationProfile> operations() const;
  /// Time under Use. What the operations do not account for was spent outside of kernels.
  double seconds() const { return seconds_; }

  /// While one lives, the kernels that this thread calls are counted, in the newest one's profile.
  class Use {
   public:
    explicit Use(Profile& profile);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Profile& profile_;
    Profile* before_;
    std::chrono::steady_clock::time_point start_;
  };

  /// One call, for the dispatch. A call that ends without end() has thrown and is not counted.
  class Call {
   public:
    Call(Profile& profile, const char* name, Device device, double flops, double bytes);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    void end();

   private:
    Profile& profile_;
    OperationProfile* caller_;  // null at the outermost
    OperationProfile* operation_;
    Device device_;
    double flops_, bytes_;
    std::chrono::steady_clock::time_point start_;
  };

 private:
  // Pointers into it stay good while calls run: a list grows only while none of its elements is running.
  std::vector<OperationProfile> operations_;
  OperationProfile* running_ = nullptr;  // the innermost call
  double seconds_ = 0;
};

/// The profile that is being taken on this thread, or null.
extern constinit thread_local Profile* current_profile;

}  // namespace vitral
