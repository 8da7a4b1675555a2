// Threads that the system may refuse: limits on processes (ulimit -u, a container's) and on memory.
#pragma once

namespace vitral {

/// Starts `count` - 1 threads beside the caller's, all at once, and ends them: OpenMP cannot start them later
/// without ending the process if it fails. std::system_error (resource_unavailable_try_again): as many are
/// refused.
void try_threads(int count);

}  // namespace vitral
