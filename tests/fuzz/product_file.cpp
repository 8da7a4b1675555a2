// The bytes are a file of train.products.
#include "train/product_file.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral::train;
  const std::string& path = vitral::fuzz::file_of({data, size});
  vitral::fuzz::check(size, 64, [&] {
    const std::string multiplier = "NVIDIA H200 9.0, cuBLASLt 13.1.0";
    const ProductFile file(path, read_product_file(path), multiplier, ProductFile::Missing::silent);
    static_cast<void>(file.agrees_with(file.fingerprint()));
  });
  return 0;
}
