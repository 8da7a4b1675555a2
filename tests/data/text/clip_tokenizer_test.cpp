#include "data/text/clip_tokenizer.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "data/text/byte_pairs.h"
#include "data/text/clean_text.h"
#include "data/text/html_unescape.h"
#include "tests/golden.h"
#include "tests/gzip.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;
using test::zipped;
using Tokens = std::vector<std::int64_t>;

constexpr const char* small_merges = "tests/golden/tokenizer_merges.txt";

nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(std::ifstream(path)); }

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// --- against the reference --------------------------------------------------------------------------------

TEST(ClipTokenizer, AgreesWithTheReferenceOnThePublishedVocabulary) {
  VITRAL_NEEDS_SHARED(golden, "golden/tokenizer.json");
  VITRAL_NEEDS_SHARED(vocabulary, "data/bpe_simple_vocab_16e6.txt.gz");
  const ClipTokenizer tokenizer = ClipTokenizer::load(vocabulary);
  EXPECT_EQ(tokenizer.size(), 49408);
  EXPECT_EQ(tokenizer.start_token(), 49406);
  EXPECT_EQ(tokenizer.end_token(), 49407);
  for (const auto& c : read_json(golden))
    EXPECT_EQ(tokenizer.encode(c["text"].get<std::string>()), c["tokens"].get<Tokens>()) << c["text"];
}

TEST(ClipTokenizer, GivesTheRowsThatClipReads) {
  VITRAL_NEEDS_SHARED(golden, "golden/clip_tiny.h5");
  VITRAL_NEEDS_SHARED(vocabulary, "data/bpe_simple_vocab_16e6.txt.gz");
  const Tensor expected = H5File::open(golden).read("/token_ids");
  const Tensor rows =
      ClipTokenizer::load(vocabulary)
          .encode(std::vector<std::string>{"a photo of a cat", "green shirt", "a dog jumping", "Big Ben!"},
                  77);
  EXPECT_EQ(rows.shape(), expected.shape());
  EXPECT_EQ(rows.to_vector(), expected.to_vector());
}

// All old characters, all names of HTML and 1,000 strings of special cases:
// tests/reference/make_tokenizer.py.
TEST(ClipTokenizer, AgreesWithTheReferenceOnASmallVocabulary) {
  const ClipTokenizer tokenizer = ClipTokenizer::load(small_merges);
  const auto golden = read_json("tests/golden/tokenizer_small.json");
  ASSERT_GT(golden["cases"].size(), 1000U);
  for (const auto& c : golden["cases"]) {
    const Tokens tokens = tokenizer.encode(c["text"].get<std::string>());
    ASSERT_EQ(tokens, c["tokens"].get<Tokens>()) << c["text"];
    if (c.contains("decoded")) {
      ASSERT_EQ(tokenizer.decode(tokens), c["decoded"].get<std::string>()) << c["text"];
    }
  }
}

// --- the parts --------------------------------------------------------------------------------------------

TEST(Utf8, ReplacesWhatIsNone) {
  // Python: bytes.decode("utf-8", "replace")
  const std::vector<std::pair<std::string, std::u32string>> cases = {
      {"a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", U"a\u00E4\u20AC\U0001F600"},
      {"\x80z", U"\uFFFDz"},          // no beginning
      {"\xC0\xAF", U"\uFFFD\uFFFD"},  // too long for its character
      {"\xE0\x80\x80", U"\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", U"\uFFFD\uFFFD\uFFFD"},  // a surrogate
      {"\xF0\x9F\x98z", U"\uFFFDz"},            // cut off: one for what was there
      {"\xF0\x9F", U"\uFFFD"},
      {"\xF4\x90\x80\x80", U"\uFFFD\uFFFD\uFFFD\uFFFD"},  // above U+10FFFF
      {"\xFF\xFE", U"\uFFFD\uFFFD"},
      {std::string("\0x", 2), std::u32string(U"\0x", 2)},
  };
  for (const auto& [bytes, codes] : cases) EXPECT_EQ(from_utf8(bytes), codes);
  EXPECT_EQ(to_utf8(U"a\u00E4\u20AC\U0001F600"), "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
  EXPECT_EQ(to_utf8({U"\x00110000", 1}), "\xEF\xBF\xBD");
}

TEST(HtmlUnescape, AsPythonDoesIt) {
  const std::vector<std::pair<std::u32string, std::u32string>> cases = {
      {U"&amp;&lt;&AMP", U"&<&"},
      {U"&notit; &notin; &not", U"\u00ACit; \u2209 \u00AC"},
      {U"&NotEqualTilde;", U"\u2242\u0338"},  // two characters
      {U"&#65;&#x41;&#X41&#65x", U"AAAAx"},
      {U"&#128;&#0;&#xD800;&#1114112;&#99999999999999999999;", U"\u20AC\uFFFD\uFFFD\uFFFD\uFFFD"},
      {U"a&#1;b&#xFDD0;c&#13;", U"abc\r"},  // control characters go, but for this one
      {U"&", U"&"},
      {U"&#;&#x;&# &;&unknown; & amp;", U"&#;&#x;&# &;&unknown; & amp;"},
      {U"&CounterClockwiseContourIntegral;x", U"\u2233x"},  // the longest name
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(to_utf8(html_unescape(text)), to_utf8(expected));
}

TEST(CleanText, LowerCaseAsPython) {
  EXPECT_EQ(lower_case(U"ÀÉ ΟΔΟΣ Σ ΣΑ ΑΣ. ΑΣ.Α İI ǅ ẞ"), U"àé οδος σ σα ας. ασ.α i\u0307i ǆ ß");
}

TEST(CleanText, NormalFormAndWhiteSpace) {
  EXPECT_EQ(normal_form_c(U"e\u0301 \u1112\u1161\u11AB o\u0327\u0301 o\u0301\u0327 \u212B"),
            U"\u00E9 \uD55C \u00F3\u0327 \u00F3\u0327 \u00C5");
  EXPECT_EQ(clean_text(" \x1c a\t\n\xC2\xA0 B\x1c c \x1f"), "a b\x1c c");
  EXPECT_EQ(clean_text("&amp;lt;B&amp;gt; &nbsp;"), "<b>");
  EXPECT_EQ(clean_text(""), "");
}

TEST(BytePairs, MergesTheLowestRankEverywhereFirst) {
  BytePairs pairs;
  pairs.add_merge("a", "b");       // 512
  pairs.add_merge("ab", "ab");     // 513
  pairs.add_merge("c", "ab");      // 514
  pairs.add_merge("ab", "d</w>");  // 515
  const auto written = [&](const char* word) {
    std::string out;
    for (const auto token : pairs.encode(word)) out.append(out.empty() ? "" : " ").append(pairs.token(token));
    return out;
  };
  EXPECT_EQ(written("ababab"), "abab a b</w>");  // the last b is another symbol
  EXPECT_EQ(written("cababd"), "c abab d</w>");  // 513 before 514 and 515
  EXPECT_EQ(written("cabd"), "cab d</w>");
  EXPECT_EQ(written("b"), "b</w>");
  EXPECT_EQ(pairs.encode("abd"), (std::vector<std::int32_t>{515}));
  EXPECT_EQ(written("\xC3\xA4 "), "Ã ¤ Ġ</w>");
}

TEST(BytePairs, OneRankIsMergedWholeBeforeWhatItMakes) {
  // "xy" is made by the second merge only where the first has left something; ("xy","x") ranks before it.
  BytePairs pairs;
  pairs.add_merge("xy", "x");  // 512
  pairs.add_merge("x", "y");   // 513
  const auto tokens = pairs.encode("xyxyz");
  ASSERT_EQ(tokens.size(), 3U);  // both "xy" at once: nothing is left for ("xy","x")
  EXPECT_EQ(pairs.token(tokens[0]), "xy");
  EXPECT_EQ(pairs.token(tokens[1]), "xy");
}

// --- rows -------------------------------------------------------------------------------------------------

TEST(ClipTokenizer, CutsLongTextsBeforeTheEndToken) {
  const ClipTokenizer tokenizer = ClipTokenizer::load(small_merges);
  const Tensor rows = tokenizer.encode(std::vector<std::string>{"", "1", "1 2 3 4 5 6 7 8 9"}, 6);
  const double start = static_cast<double>(tokenizer.size() - 2), end = start + 1;
  const auto digit = [&](const char* text) { return static_cast<double>(tokenizer.encode(text)[0]); };
  EXPECT_EQ(rows.to_vector(),
            (std::vector<double>{start, end, 0, 0, 0, 0, start, digit("1"), end, 0, 0, 0, start, digit("1"),
                                 digit("2"), digit("3"), digit("4"), end}));
  EXPECT_EQ(message_of([&] { tokenizer.encode(std::vector<std::string>{}, 77); }),
            "tokeniser: no texts given");
  EXPECT_EQ(message_of([&] { tokenizer.encode(std::vector<std::string>{"a"}, 1); }),
            "tokeniser: a context of 1 has no room for the start and end tokens");
  EXPECT_EQ(message_of([&] { tokenizer.decode({614}); }),
            "tokeniser: has no token 614, they are numbered 0 to 613");
}

TEST(ClipTokenizer, ThreadsMayShareIt) {
  const ClipTokenizer tokenizer = ClipTokenizer::load(small_merges);
  const Tokens expected = tokenizer.encode("a photo of the large camera");
  std::vector<int> same(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& mine : same)
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i)
          mine += tokenizer.encode("a photo of the large camera") == expected &&
                  !tokenizer.encode(fmt::format("word{}", i)).empty();
      });
  }
  EXPECT_EQ(same, (std::vector<int>{200, 200, 200, 200}));
}

// A step that looks at the whole text for each character would take minutes here.
TEST(ClipTokenizer, LongTextsOfAnyKindTakeLinearTime) {
  const ClipTokenizer tokenizer = ClipTokenizer::load(small_merges);
  const auto start = std::chrono::steady_clock::now();
  const int n = 200'000;
  EXPECT_EQ(tokenizer.encode(repeated("a", n)).size(), static_cast<std::size_t>(n));
  EXPECT_GT(tokenizer.encode(repeated("photo", n)).size(), 0U);
  EXPECT_GT(tokenizer.encode(repeated("\xCC\x81\xCC\xA7", n)).size(), 0U);  // marks out of order
  EXPECT_GT(tokenizer.encode(repeated("\xCE\xA3.", n)).size(), 0U);         // capital sigmas
  EXPECT_GT(tokenizer.encode(repeated("&am", n)).size(), 0U);
  EXPECT_GT(tokenizer.encode(repeated("&#9", 1) + repeated("9", n)).size(), 0U);
  EXPECT_GT(tokenizer.encode(repeated("\xF0\x9F", n)).size(), 0U);
  EXPECT_EQ(tokenizer.encode(repeated(" \n", n)).size(), 0U);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 60);
}

// --- vocabulary files -------------------------------------------------------------------------------------

// Hugging Face's vocab.json for a merges.txt.
std::string numbers_of(const std::string& merges) {
  BytePairs pairs;
  std::istringstream lines(merges);
  std::string left, right;
  std::getline(lines, left);
  while (lines >> left >> right) pairs.add_merge(left, right);
  nlohmann::json out;
  for (std::int64_t i = 0; i < pairs.size(); ++i) out[pairs.token(i)] = i;
  out["<|startoftext|>"] = pairs.size();
  out["<|endoftext|>"] = pairs.size() + 1;
  return out.dump();
}

TEST(Vocabulary, EveryFormGivesTheSame) {
  const TempDir folder;
  const std::string merges = bytes_of_file(small_merges);
  put_file(folder / "plain.txt", merges);
  put_file(folder / "bpe_simple_vocab_16e6.txt.gz", zipped(merges));
  const Tokens expected = ClipTokenizer::load(small_merges).encode("a photo of a cat");
  EXPECT_EQ(ClipTokenizer::load(folder / "plain.txt").encode("a photo of a cat"), expected);
  EXPECT_EQ(ClipTokenizer::load(folder / "bpe_simple_vocab_16e6.txt.gz").encode("a photo of a cat"),
            expected);
  EXPECT_EQ(ClipTokenizer::load(folder.str()).encode("a photo of a cat"), expected);
  put_file(folder / "merges.txt", merges);
  put_file(folder / "vocab.json", numbers_of(merges));
  EXPECT_EQ(ClipTokenizer::load(folder.str()).encode("a photo of a cat"), expected);
}

TEST(Vocabulary, AWrongVocabJsonIsRefused) {
  const TempDir folder;
  const std::string merges = bytes_of_file(small_merges), file = folder / "vocab.json",
                    other = folder / "merges.txt";
  put_file(other, merges);
  auto numbers = nlohmann::json::parse(numbers_of(merges));
  std::swap(numbers["a"], numbers["b"]);
  put_file(file, numbers.dump());
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(other); }),
            file + ": token 'a' must be number 64, as " + other + " has it; they must belong together");
  numbers.erase("a");
  put_file(file, numbers.dump());
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(other); }),
            file + ": has 613 tokens, " + other + " makes 614; they must belong together");
  put_file(file, "[1,");
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(other); }),
            file + ": is no JSON object of tokens and numbers; copy it again");
}

TEST(Vocabulary, DamagedFilesAreOneClearLine) {
  const TempDir folder;
  const std::string path = folder / "v", advice =
                                             "give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or "
                                             "tokenizer.json (--vocab, model.text.vocabulary)";
  const auto message = [&](const std::string& bytes) {
    put_file(path, bytes);
    return message_of([&] { ClipTokenizer::load(path); });
  };
  const std::string packed = zipped(bytes_of_file(small_merges));
  EXPECT_EQ(message(packed.substr(0, packed.size() / 2)),
            path + ": truncated, the gzip data end too early; copy it again");
  std::string damaged = packed;
  damaged[packed.size() / 2] = static_cast<char>(~damaged[packed.size() / 2]);
  EXPECT_EQ(message(damaged), path + ": damaged gzip data; copy it again");
  EXPECT_EQ(message(zipped(std::string((64U << 20) + 1, 'a'))),
            path + ": unpacks to more than 67108864 bytes; it is damaged or of another kind");
  EXPECT_EQ(message(""), path + ": is empty; " + advice);
  EXPECT_EQ(message("a b\n"), path + ": is no list of merges, its first line has no '#version'; " + advice);
  for (const char* line : {"a", "a b c", " a", "a ", ""})
    EXPECT_EQ(message("#version: 0.2\na b\n" + std::string(line) + "\nc d\n"),
              path + ": line 3 is no merge of two tokens: '" + line + "'; copy the file again");
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(folder / "none"); }), folder / "none" + ": no such file");
  std::filesystem::create_symlink("circle", folder / "circle");
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(folder / "circle/clip"); }),
            folder / "circle/clip" +
                ": cannot be read: Too many levels of symbolic links; check the path and its permissions");
  std::filesystem::remove(folder / "circle");
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(folder.str()); }),
            folder.str() +
                ": has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor tokenizer.json; " +
                advice);
}

// As transformers writes it: tests/reference/make_tokenizer_json.py.
TEST(Vocabulary, TokenizerJsonAloneIsEnough) {
  const TempDir folder;
  const std::string file = folder / "tokenizer.json";
  auto whole = read_json("tests/golden/clip_tokenizer.json");
  put_file(file, whole.dump());
  const ClipTokenizer merges = ClipTokenizer::load(small_merges);
  const auto reference = read_json("tests/golden/clip_tokenizer_rows.json");
  const auto expect_same = [&] {
    const ClipTokenizer tokenizer = ClipTokenizer::load(folder.str());
    EXPECT_EQ(tokenizer.size(), merges.size());
    for (const auto& row : reference.at("rows")) {
      Tokens expected = row.at(1);
      // OpenAI's lowers a text before it looks for special tokens, transformers' afterwards.
      if (row.at(0) == "<|ENDOFTEXT|>")
        expected = {merges.start_token().value(), merges.end_token(), merges.end_token()};
      expected.resize(77, 0);
      const Tensor tokens = tokenizer.encode(std::vector<std::string>{row.at(0)}, 77);
      EXPECT_EQ(Tokens(tokens.data<std::int64_t>(), tokens.data<std::int64_t>() + 77), expected) << row.at(0);
    }
  };
  expect_same();
  for (auto& merge : whole["model"]["merges"])  // as transformers 4 writes them
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  whole["model"].erase("type");
  put_file(file, whole.dump());
  expect_same();
}

TEST(Vocabulary, TokenizerJsonOfAnotherKindIsRefused) {
  const TempDir folder;
  const std::string file = folder / "tokenizer.json",
                    advice =
                        "; give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json (--vocab, "
                        "model.text.vocabulary)";
  const auto whole = read_json("tests/golden/clip_tokenizer.json");
  const auto message = [&](const char* place, const nlohmann::json& value) {
    auto changed = whole;
    changed[nlohmann::json::json_pointer(place)] = value;
    put_file(file, changed.dump());
    return message_of([&] { ClipTokenizer::load(folder.str()); });
  };
  const std::string kind = file + ": is no tokeniser of CLIP's kind, ";
  EXPECT_EQ(message("/model", 3), kind + "it has no model" + advice);
  EXPECT_EQ(message("/model/type", "Unigram"), kind + "its model is Unigram" + advice);
  EXPECT_EQ(message("/model/end_of_word_suffix", nullptr), kind + "its words do not end in </w>" + advice);
  EXPECT_EQ(message("/normalizer", nullptr), kind + "it does not lower letters" + advice);
  EXPECT_EQ(message("/pre_tokenizer", {{"type", "BertPreTokenizer"}}),
            kind + "it splits words otherwise" + advice);
  EXPECT_EQ(message("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\s+"),
            kind + "it splits words otherwise" + advice);
  EXPECT_EQ(message("/model/merges/3", "a b c"),
            file + ": merge 3 is none of two tokens; copy the file again");
  EXPECT_EQ(message("/model/merges/3", 7), file + ": merge 3 is none of two tokens; copy the file again");
  EXPECT_EQ(message("/model/vocab/a", 65),
            file + ": token 'a' must be number 64, as its list of merges has it; they must belong together");
  EXPECT_EQ(message("/model/vocab/extra", 614),
            file + ": has 615 tokens, its list of merges makes 614; they must belong together");
  EXPECT_EQ(message("/model/vocab", 1), file + ": is no JSON object of tokens and numbers; copy it again");
  put_file(file, whole.dump().substr(0, 1000));
  EXPECT_EQ(message_of([&] { ClipTokenizer::load(file); }), file + ": is no JSON object; copy it again");
}

TEST(Vocabulary, OfALongListTheFirstMergesCount) {
  const TempDir folder;
  std::string merges = "#version: 0.2\n";
  for (int i = 0; i < 50'000; ++i) merges += fmt::format("q{} z\n", i);
  put_file(folder / "merges.txt", merges);
  EXPECT_EQ(ClipTokenizer::load(folder.str()).size(), 49408);
}

}  // namespace
}  // namespace vitral::data
