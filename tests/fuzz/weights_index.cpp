// The bytes are the index of weights that are cut into several files.
#include "data/weights/weights_index.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  fuzz::check(size, 256, [&] { static_cast<void>(data::read_weights_index(path)); });
  return 0;
}
