// The bytes are a list of merges, also packed by gzip.
#include "data/text/clip_tokenizer.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  // What gzip packs may be 64 MB of text (data/text/vocabulary.cpp), in a string that grows by doubling.
  const bool packed = size >= 2 && data[0] == 0x1F && data[1] == 0x8B;
  fuzz::check(
      size, 256, [&] { static_cast<void>(data::ClipTokenizer::load(path).encode("a photo of a cat")); },
      packed ? std::size_t{256} << 20 : 0);
  return 0;
}
