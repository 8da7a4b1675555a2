// The bytes are a model of SentencePiece, or a tokenizer.json.
#include "data/text/sentence_piece.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  fuzz::check(
      size, 512,
      [&] {
        const auto tokenizer = data::SentencePieceTokenizer::load(path);
        for (const std::int64_t token : tokenizer.encode("A photo of </s> a <pad> ca\u0301t \uFB01ne \u732B"))
          if (token < 0 || token >= tokenizer.size()) __builtin_trap();
      },
      std::size_t{16} << 20);  // the library's tables
  return 0;
}
