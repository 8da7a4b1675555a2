// The bytes are a text.
#include "data/text/clip_tokenizer.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  static const data::ClipTokenizer tokenizer = data::ClipTokenizer::load("tests/golden/tokenizer_merges.txt");
  const std::string text(reinterpret_cast<const char*>(data), size);
  fuzz::check(
      size, 256,
      [&] {
        const auto tokens = tokenizer.encode(text);
        for (const std::int64_t token : tokens)
          if (token < 0 || token >= tokenizer.size()) __builtin_trap();
        static_cast<void>(tokenizer.decode(tokens));
        const Tensor row = tokenizer.encode(std::vector<std::string>{text}, 8);
        if (row.data<std::int64_t>()[0] != tokenizer.start_token()) __builtin_trap();
      },
      std::size_t{8} << 20);  // of the words that are remembered
  return 0;
}
