// The bytes are a configuration file, and after a zero byte an override of the command line.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "train/config.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::uint8_t* end = data + size;
  const std::uint8_t* zero = std::find(data, end, 0);
  const std::string& path = fuzz::file_of({data, zero});
  std::vector<std::string> overrides;
  if (zero != end) overrides.emplace_back(zero + 1, end);
  constexpr std::size_t buffer = 1 << 20;  // that the file is read into, whatever its size
  fuzz::check(
      size, 1024,
      [&] {
        const train::Config config = train::load_config(path, overrides);
        // What was read can be written and gives the same again.
        const std::string text = to_yaml(config);
        const std::string& again =
            fuzz::file_of({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
        if (!(train::load_config(again) == config)) __builtin_trap();
      },
      buffer);
  return 0;
}
