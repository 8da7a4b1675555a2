// The bytes are a .safetensors file.
#include "data/weights/safetensors.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  fuzz::check(size, 16, [&] {
    data::looks_like_safetensors(path);
    data::read_safetensors(path);
    for (const auto& [name, tensor] : data::read_safetensors(path, data::TensorMemory::mapped).tensors)
      static_cast<void>(tensor.clone());
  });
  return 0;
}
