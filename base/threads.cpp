#include "base/threads.h"

#include <future>
#include <thread>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace vitral {
namespace {

// How many there were before.
int use_threads([[maybe_unused]] int count) {
#ifdef _OPENMP
  const int before = omp_get_max_threads();
  if (count > 0) omp_set_num_threads(count);
  return before;
#else
  return 1;
#endif
}

}  // namespace

void try_threads(int count) {
  std::vector<std::jthread> threads;
  std::promise<void> started;  // broken at the end, or where a thread is refused: those before it go on
  const std::shared_future<void> all = started.get_future().share();
  for (int i = 1; i < count; ++i) threads.emplace_back([all] { all.wait(); });
}

CpuThreads::CpuThreads(int count) : before_(use_threads(count)) {}
CpuThreads::~CpuThreads() { use_threads(before_); }

}  // namespace vitral
