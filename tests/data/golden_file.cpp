#include "tests/data/golden_file.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include <hdf5.h>

namespace vitral::test {
namespace {

class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
    if (id < 0) throw_error("{}: cannot be read", what);
  }
  ~Handle() { close_(id_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

}  // namespace

Tensor read_golden(const std::string& file, const std::string& dataset) {
  const Handle f(H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, file);
  const Handle d(H5Dopen2(f, dataset.c_str(), H5P_DEFAULT), H5Dclose, file + ":" + dataset);
  const Handle space(H5Dget_space(d), H5Sclose, dataset);
  const Handle type(H5Dget_type(d), H5Tclose, dataset);
  std::array<hsize_t, Shape::max_rank> dims{};
  const int rank = H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  const std::vector<std::int64_t> shape(dims.begin(), dims.begin() + rank);
  const bool floats = H5Tget_class(type) == H5T_FLOAT;
  Tensor result(Shape(shape), floats ? DType::float32 : DType::uint8);
  const hid_t memory = floats ? H5T_NATIVE_FLOAT : H5T_NATIVE_UINT8;
  if (H5Dread(d, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, result.raw()) < 0)
    throw_error("{}:{}: cannot be read", file, dataset);
  return result;
}

std::vector<std::string> golden_names(const std::string& file, const std::string& group) {
  const Handle f(H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, file);
  const Handle g(H5Gopen2(f, group.c_str(), H5P_DEFAULT), H5Gclose, file + ":" + group);
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  H5Literate(g, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &names);
  return names;
}

int max_difference(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape())) return 256;
  int worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    worst = std::max(worst, std::abs(a.data<std::uint8_t>()[i] - b.data<std::uint8_t>()[i]));
  return worst;
}

}  // namespace vitral::test
