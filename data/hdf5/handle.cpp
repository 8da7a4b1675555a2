#include "data/hdf5/handle.h"

namespace vitral::data {
namespace {

// The library's own report on stderr is a setting of each thread: errors become exceptions.
void silence() {
  thread_local const bool once = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  static_cast<void>(once);
}

void initialise() {
  static const bool once = [] {
    // Files are closed by their owners. The library's own clean-up at exit would try again to write what a
    // full disk refused, and crash.
    H5dont_atexit();
    H5open();
    unsigned plugins = 0;
    H5PLset_loading_state(plugins);
    float16_type();
    return true;
  }();
  static_cast<void>(once);
  silence();
}

}  // namespace

hid_t float16_type() {
  static const hid_t type = [] {
    const hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, 10, 5, 0, 10);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 15);
    return t;
  }();
  return type;
}

hid_t memory_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return H5T_NATIVE_FLOAT;
    case DType::float64:
      return H5T_NATIVE_DOUBLE;
    case DType::float16:
      return float16_type();
    case DType::uint8:
      return H5T_NATIVE_UINT8;
    case DType::int64:
      return H5T_NATIVE_INT64;
    case DType::int8:
      return H5T_NATIVE_INT8;
    case DType::bfloat16:
      break;
  }
  throw_error<UsageError>("hdf5: dtype {} has no HDF5 type, convert to float32", dtype);
}

std::unique_lock<std::mutex> lock_hdf5() {
  static auto* mutex = new std::mutex;  // never destroyed: files in static storage may outlive it
  std::unique_lock lock(*mutex);
  initialise();
  return lock;
}

}  // namespace vitral::data
