// Threads that the system may refuse: limits on processes (ulimit -u, a container's) and on memory.
#pragma once

namespace vitral {

/// libgomp crashes with some more.
inline constexpr int most_threads = 4096;

/// Starts `count` - 1 threads beside the caller's, all at once, and ends them: OpenMP cannot start them later
/// without ending the process if it fails. std::system_error (resource_unavailable_try_again): as many are
/// refused.
void try_threads(int count);

/// Until the end of the scope, what this thread calls computes with `count` threads; 0: with as many as
/// before.
class CpuThreads {
 public:
  explicit CpuThreads(int count);
  ~CpuThreads();
  CpuThreads(const CpuThreads&) = delete;
  CpuThreads& operator=(const CpuThreads&) = delete;

 private:
  int before_;
};

}  // namespace vitral
