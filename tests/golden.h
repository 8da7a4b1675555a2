// Golden files: what the original PyTorch code and Pillow compute. The large ones lie in a shared folder
// beside the repository, small ones of the same layout in tests/golden; every check runs on both where both
// are there.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <hdf5.h>

#include "data/hdf5/file.h"
#include "tests/support.h"

namespace vitral::test {

/// |a - b| / |b| over the whole array.
inline double relative_error(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector(), y = b.to_vector();
  EXPECT_EQ(x.size(), y.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    difference += (x[i] - y[i]) * (x[i] - y[i]);
    size += y[i] * y[i];
  }
  return std::sqrt(difference / size);
}

using State = std::vector<std::pair<std::string, Tensor>>;

/// A whole dataset of a file.
inline Tensor read_golden(const std::string& file, const std::string& dataset) {
  return data::H5File::open(file).read(dataset);
}

/// The names in a group of a file, sorted.
inline std::vector<std::string> golden_names(const std::string& file, const std::string& group) {
  return data::H5File::open(file).list(group);
}

/// The largest difference between two uint8 tensors of one shape, or 256 where the shapes differ.
inline int max_difference(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape())) return 256;
  int worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    worst = std::max(worst, std::abs(a.data<std::uint8_t>()[i] - b.data<std::uint8_t>()[i]));
  return worst;
}

/// All datasets of a group, in no particular order.
inline State read_group(const data::H5File& file, const std::string& group) {
  State out;
  for (const auto& name : file.list(group)) out.emplace_back(name, file.read(group + "/" + name));
  return out;
}

/// A number or a bool among the attributes of a file, or of an object in it.
inline double number_attribute(const data::H5File& file, const char* name, const char* object = "/") {
  const hid_t id = H5Fopen(file.path().c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t attribute = H5Aopen_by_name(id, object, name, H5P_DEFAULT, H5P_DEFAULT),
              type = H5Aget_type(attribute);
  double number = 0;
  signed char flag = 0;  // h5py writes a bool as an enumeration
  const bool is_bool = H5Tget_class(type) == H5T_ENUM;
  const herr_t status =
      is_bool ? H5Aread(attribute, type, &flag) : H5Aread(attribute, H5T_NATIVE_DOUBLE, &number);
  EXPECT_GE(status, 0) << file.path() << " " << name;
  H5Tclose(type);
  H5Aclose(attribute);
  H5Fclose(id);
  return is_bool ? flag : number;
}

/// The existing ones of shared/golden/NAME and tests/golden/NAME.
inline std::vector<std::string> golden_files(const std::string& name) {
  std::vector<std::string> out;
  if (const auto shared = shared_path("golden/" + name); !shared.empty()) out.push_back(shared);
  if (const std::string own = "tests/golden/" + name; std::filesystem::exists(own)) out.push_back(own);
  EXPECT_FALSE(out.empty()) << name << " is nowhere";
  return out;
}

}  // namespace vitral::test
