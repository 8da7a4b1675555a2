// Reading reference arrays from HDF5 files in tests.
#pragma once
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::test {

/// A whole dataset; throws Error when it is missing.
Tensor read_golden(const std::string& file, const std::string& dataset);
/// The names in a group, sorted.
std::vector<std::string> golden_names(const std::string& file, const std::string& group);

/// The largest difference between two uint8 tensors of one shape, or 256 where the shapes differ.
int max_difference(const Tensor& a, const Tensor& b);

}  // namespace vitral::test
