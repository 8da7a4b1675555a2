#include "tests/data/images/golden_file.h"

#include <algorithm>
#include <cstdlib>

#include "data/hdf5/file.h"

namespace vitral::test {

Tensor read_golden(const std::string& file, const std::string& dataset) {
  return data::H5File::open(file).read(dataset);
}

std::vector<std::string> golden_names(const std::string& file, const std::string& group) {
  return data::H5File::open(file).list(group);
}

int max_difference(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape())) return 256;
  int worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    worst = std::max(worst, std::abs(a.data<std::uint8_t>()[i] - b.data<std::uint8_t>()[i]));
  return worst;
}

}  // namespace vitral::test
