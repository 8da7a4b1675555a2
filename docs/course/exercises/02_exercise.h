// Exercises of lesson 2. Write them in docs/course/exercises/02_exercise.cpp; `scripts/course 2 check` says
// whether they are right.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace exercise {

using Dims = std::vector<std::int64_t>;

/// Exercise 1: how many elements a step along each axis of a row-major tensor passes over; 1 for the last
/// axis.
///   [2, 3, 4] -> 12 4 1
Dims strides(const Dims& shape);

/// Exercise 2: where the element at `index` lies: the sum of index[i] strides[i].
std::int64_t offset(const Dims& index, const Dims& strides);

/// Exercise 3: the elements of x, row-major of `shape`, in the order of a tensor whose axis i is axis axes[i]
/// of x: a copy, row-major again.
///   x [2, 3], axes 1 0:  0 1 2 3 4 5 -> 0 3 1 4 2 5
std::vector<float> permute(const std::vector<float>& x, const Dims& shape,
                           const std::vector<std::size_t>& axes);

/// Exercise 4: the size of the block that serves a request of `bytes`. 64 up to 64; else, with p the largest
/// power of two below `bytes`, the next multiple of p / 4, or of p / 32 for more than 1 MiB.
///   65 -> 80, 100 -> 112, 128 -> 128, 129 -> 160
std::size_t size_class(std::size_t bytes);

}  // namespace exercise
