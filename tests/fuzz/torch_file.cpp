// The bytes are a .pt file: the zip archive and what is in it.
#include "data/weights/torch_file.h"

#include "data/weights/torch_training.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  // libzip makes room for the 65,535 entries that an archive may claim before it looks for them.
  constexpr std::size_t directory = 2 << 20;
  fuzz::check(
      size, 96, [&] { data::read_torch_training(path); }, directory);
  return 0;
}
