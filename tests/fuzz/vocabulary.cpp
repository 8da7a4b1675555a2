// The bytes are a list of merges, also packed by gzip; or, in a folder, a merges.txt, a NUL byte, and the
// vocab.json beside it.
#include <algorithm>
#include <fstream>

#include "data/text/clip_tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  static const test::TempDir folder;
  std::string path = fuzz::file_of({data, size});
  // What gzip packs may be 64 MB of text (data/text/vocabulary.cpp), in a string that grows by doubling.
  const bool packed = size >= 2 && data[0] == 0x1F && data[1] == 0x8B;
  const std::uint8_t* const end = data + size;
  if (const std::uint8_t* const zero = std::find(data, end, 0); zero != end && !packed) {
    path = folder / "merges.txt";
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), zero - data);
    std::ofstream(folder / "vocab.json", std::ios::binary)
        .write(reinterpret_cast<const char*>(zero) + 1, end - zero - 1);
  }
  fuzz::check(
      size, 256, [&] { static_cast<void>(data::ClipTokenizer::load(path).encode("a photo of a cat")); },
      packed ? std::size_t{256} << 20 : 0);
  return 0;
}
