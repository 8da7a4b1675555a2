// The bytes are a file of captions of whatever form.
#include "data/captions.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  fuzz::check(size, 256, [&] {
    std::size_t bytes = 0;
    data::read_caption_file(path, [&](const data::NamedCaption& caption) {
      bytes += caption.text.size();
      if (caption.text.size() > data::longest_caption) __builtin_trap();
    });
    if (bytes > 2 * size) __builtin_trap();  // UTF-16 grows by a half
  });
  fuzz::check(size, 64, [&] {
    const auto lines = data::captions_in({reinterpret_cast<const char*>(data), size});
    for (const std::string& line : lines)
      if (line.empty() || line.find('\n') != std::string::npos) __builtin_trap();
  });
  return 0;
}
