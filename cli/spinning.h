// Idle OpenMP threads spin for milliseconds before they sleep, which starves the loader's threads, and
// everybody where the machine is shared: a step of a small model then takes ten times as long. How long is
// libgomp's GOMP_SPINCOUNT, which it reads when it is loaded: before main(), and never again.
#pragma once

namespace vitral::cli {

/// Called first in main(). Idle threads have been made to spin shortly, unless the user has decided
/// (GOMP_SPINCOUNT, OMP_WAIT_POLICY); the environment is the user's again. Where that was not possible before
/// main(), the program starts once more.
void limit_openmp_spinning(char** argv);

}  // namespace vitral::cli
