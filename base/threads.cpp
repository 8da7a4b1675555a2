#include "base/threads.h"

#include <future>
#include <thread>
#include <vector>

namespace vitral {

void try_threads(int count) {
  std::vector<std::jthread> threads;
  std::promise<void> started;  // broken at the end, or where a thread is refused: those before it go on
  const std::shared_future<void> all = started.get_future().share();
  for (int i = 1; i < count; ++i) threads.emplace_back([all] { all.wait(); });
}

}  // namespace vitral
