// The bytes are a text from which a vocabulary is learned: its files say what was learned, and it loses
// nothing of the text.
#include "data/text/clip_tokenizer.h"
#include "data/text/learn_byte_pairs.h"
#include "data/text/vocabulary.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  static const test::TempDir folder;
  static const data::ClipTokenizer bytes = data::ClipTokenizer::load("tests/golden/tokenizer_merges.txt");
  const std::string text(reinterpret_cast<const char*>(data), size);
  fuzz::check(
      size, 1024,
      [&] {
        data::WordCounts words;
        data::count_words(text, words);
        const data::BytePairs pairs = data::learn_byte_pairs(words, 64);
        data::write_vocabulary(folder.str(), pairs);
        if (data::read_vocabulary(folder.str()).merges() != pairs.merges()) __builtin_trap();
        const auto learned = data::ClipTokenizer::load(folder.str());
        if (learned.decode(learned.encode(text)) != bytes.decode(bytes.encode(text))) __builtin_trap();
      },
      std::size_t{8} << 20);  // of the words that are remembered
  return 0;
}
