// Runs the blocks of a grid, one after the other, their threads as fibers.
#pragma once
#include "simulator.h"

namespace simulator {

void run(const Kernel& kernel);

}  // namespace simulator
