#include "base/threads.h"

#include <future>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace vitral {

void try_threads(int count) {
  std::vector<std::jthread> threads;
  std::promise<void> started;  // broken at the end, or where a thread is refused: those before it go on
  const std::shared_future<void> all = started.get_future().share();
  for (int i = 1; i < count; ++i) threads.emplace_back([all] { all.wait(); });
}

#ifdef _OPENMP
CpuThreads::CpuThreads(int count) : before_(omp_get_max_threads()) {
  if (count > 0) omp_set_num_threads(count);
}
CpuThreads::~CpuThreads() { omp_set_num_threads(before_); }
#else
CpuThreads::CpuThreads(int) : before_(1) {}
CpuThreads::~CpuThreads() = default;
#endif

}  // namespace vitral
