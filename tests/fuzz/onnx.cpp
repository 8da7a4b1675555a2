// The bytes are an ONNX model.
#include "data/weights/onnx_file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  fuzz::check(size, 64, [&] {
    data::looks_like_onnx(path);
    data::read_onnx_summary(path);
  });
  return 0;
}
