// The bytes are a .pt file: the zip archive and what is in it.
#include "data/torch_file.h"

#include "data/torch_training.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  fuzz::check(size, 96, [&] { data::read_torch_training(path); });
  return 0;
}
