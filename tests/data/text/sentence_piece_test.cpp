#include "data/text/sentence_piece.h"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/protobuf.h"
#include "data/text/piece_model.h"
#include "tests/mutated.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using protobuf::field;
using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;
using Tokens = std::vector<std::int64_t>;

const std::string golden = "tests/golden/sentence_piece/";

nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(std::ifstream(path)); }

// --- against transformers: tests/reference/make_sentence_piece.py -----------------------------------------

void expect_rows(const SentencePieceTokenizer& tokenizer, const std::string& expected) {
  const auto reference = read_json(golden + expected);
  EXPECT_EQ(tokenizer.size(), reference.at("size"));
  const std::int64_t context = reference.at("context");
  for (const auto& row : reference.at("rows")) {
    const Tensor tokens = tokenizer.encode(std::vector<std::string>{row.at(0)}, context);
    const auto* data = tokens.data<std::int64_t>();
    EXPECT_EQ(Tokens(data, data + context), row.at(1).get<Tokens>()) << row.at(0);
  }
  EXPECT_EQ(reference.at("rows").size(), 90U);
}

TEST(SentencePiece, SiglipIsThatOfTransformers) {
  expect_rows(SentencePieceTokenizer::load(golden + "spiece.model"), "siglip.json");
}

TEST(SentencePiece, Siglip2IsThatOfTransformers) {
  expect_rows(SentencePieceTokenizer::load(golden + "tokenizer.model"), "siglip2.json");
}

// The only file that transformers 5 saves of it.
TEST(SentencePiece, Siglip2IsReadFromTokenizerJson) {
  const std::string file = "tests/golden/siglip2_tokenizer.json";
  expect_rows(SentencePieceTokenizer::load(file), "siglip2.json");
  const TempDir folder;
  auto whole = read_json(file);
  // As Gemma's was converted.
  auto& pieces = whole["model"]["vocab"];
  pieces["\t"] = pieces["<0x09>"];
  pieces.erase("<0x09>");
  put_file(folder / "tokenizer.json", whole.dump());
  expect_rows(SentencePieceTokenizer::load(folder.str()), "siglip2.json");

  const auto message = [&](const char* place, const nlohmann::json& value) {
    auto changed = whole;
    changed[nlohmann::json::json_pointer(place)] = value;
    put_file(folder / "tokenizer.json", changed.dump());
    return message_of([&] { SentencePieceTokenizer::load(folder.str()); });
  };
  EXPECT_EQ(message("/model/vocab/merges", 700), "no error");  // a piece like any other
  EXPECT_EQ(SentencePieceTokenizer::load(folder.str()).size(), 701);
  const std::string where = (folder / "tokenizer.json") + ": ", again = "; copy the file again";
  EXPECT_EQ(
      message("/model/type", "Unigram"),
      where +
          "is no tokeniser of SigLIP 2's kind (BPE with a fallback to bytes); SigLIP's is read from its "
          "spiece.model, fetch it, as with: hf download ID spiece.model --local-dir DIR");
  EXPECT_EQ(message("/model/vocab", 3), where + "its vocabulary is no object of tokens and numbers" + again);
  EXPECT_EQ(message("/model/vocab/<pad>", -1), where + "token '<pad>' has no number below 700" + again);
  EXPECT_EQ(message("/model/vocab/<pad>", 1),
            where + "tokens '<eos>' and '<pad>' have the same number" + again);
  EXPECT_EQ(message("/model/vocab/more", 12),
            where + "tokens '<unused5>' and 'more' have the same number" + again);
  EXPECT_EQ(message("/added_tokens/0/content", 12), where + "an added token has no text" + again);
  put_file(folder / "tokenizer.json", "{\"model\"");
  EXPECT_EQ(message_of([&] { SentencePieceTokenizer::load(folder.str()); }),
            where + "is no JSON object; copy it again");
}

TEST(SentencePiece, KnowsWhichOfTheTwoAModelIs) {
  const TempDir folder;
  const std::string bytes = bytes_of_file(golden + "tokenizer.model");
  put_file(folder / "spiece.model", bytes);  // whatever it is called
  const auto tokenizer = SentencePieceTokenizer::load(folder.str());
  EXPECT_EQ(tokenizer.start_token(), std::nullopt);
  EXPECT_EQ(tokenizer.end_token(), 1);
  EXPECT_EQ(tokenizer.padding_token(), 0);
  const auto siglip = SentencePieceTokenizer::load(golden + "spiece.model");
  EXPECT_EQ(siglip.end_token(), 1);
  EXPECT_EQ(siglip.padding_token(), 1);
  put_file(folder / "spiece.model", bytes_of_file(golden + "spiece.model"));
  put_file(folder / "tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_EQ(message_of([&] { SentencePieceTokenizer::load(folder.str()); }),
            (folder / "tokenizer_config.json") +
                ": do_lower_case is false, which is not supported; name the spiece.model alone, in another "
                "folder, to bring texts to lower case as SigLIP was trained (--vocab)");
  EXPECT_EQ(message_of([&] { siglip.encode(std::vector<std::string>{"a"}, 0); }),
            "tokeniser: a context of 0 has no room for the end token");
}

TEST(SentencePiece, NulAndBytesThatAreNoTextBecomeReplacementCharacters) {
  for (const char* file : {"spiece.model", "tokenizer.model"}) {
    const auto tokenizer = SentencePieceTokenizer::load(golden + file);
    EXPECT_EQ(tokenizer.encode(std::string("a\0b\xFFz", 5)), tokenizer.encode("a\uFFFDb\uFFFDz")) << file;
  }
}

TEST(SentencePiece, VeryLongTextsAreRefused) {
  for (const char* file : {"spiece.model", "tokenizer.model"}) {
    const auto tokenizer = SentencePieceTokenizer::load(golden + file);
    for (const std::string part : {"a photo of a cat ", "x", " ", "猫", "</s>", "<"}) {
      std::string text;
      while (text.size() < (1U << 16) - part.size()) text += part;
      EXPECT_EQ(tokenizer.encode(std::vector<std::string>{text}, 64).dim(1), 64);
    }
    EXPECT_EQ(message_of([&] { tokenizer.encode(std::string((1U << 16) + 1, 'a')); }),
              "text: 65537 bytes, at most 65536 can be tokenised; cut it");
  }
}

// --- files ------------------------------------------------------------------------------------------------

std::string piece(const std::string& text, Piece::Type type = Piece::Type::normal, float score = 0) {
  return field(1, field(1, text) + field(2, score) + field(3, static_cast<std::int64_t>(type)));
}
std::string method(std::int64_t number) { return field(2, field(3, number)); }

TEST(SentencePiece, FilesThatCannotBeUsedAreOneClearLine) {
  const TempDir folder;
  const std::string path = folder / "m";
  const auto message = [&](const std::string& bytes) {
    put_file(path, bytes);
    return message_of([&] { SentencePieceTokenizer::load(path); });
  };
  const auto damaged = [&](const std::string& what) {
    return path + ": " + what + "; it is damaged or no SentencePiece model, copy it again";
  };
  using enum Piece::Type;
  EXPECT_EQ(message(""), damaged("has no pieces"));
  EXPECT_EQ(message("no model\n"), damaged("a field is cut off or of an unknown kind"));
  const std::string whole = bytes_of_file(golden + "spiece.model");
  EXPECT_EQ(message(whole.substr(0, whole.size() / 2)), damaged("a field is cut off or of an unknown kind"));
  EXPECT_EQ(message(field(1, std::int64_t{3})), damaged("a number where a message belongs"));
  EXPECT_EQ(message(field(1, field(1, std::string("a")) + field(3, std::int64_t{7}))),
            damaged("piece 0 is of the unknown type 7"));
  EXPECT_EQ(message(piece("a") + piece("")), damaged("piece 1 is no text"));
  EXPECT_EQ(message(piece(std::string("a\0", 2))), damaged("piece 0 is no text"));
  EXPECT_EQ(message(piece("\xFF")), damaged("piece 0 is no text"));
  EXPECT_EQ(message(piece(std::string(1025, 'a'))), damaged("piece 0 has 1025 bytes"));
  EXPECT_EQ(message(piece(std::string(65, 'a'), user_defined)), damaged("user-defined piece 0 has 65 bytes"));
  EXPECT_EQ(message(piece("a", normal, std::numeric_limits<float>::infinity())),
            damaged("the score of piece 0 is not finite"));
  EXPECT_EQ(message(piece("a") + method(3)),
            path + ": cuts texts into words or characters; unigram and BPE models are read");

  const std::string neither =
      path +
      ": is neither SigLIP's vocabulary (unigram with </s> and <unk>) nor SigLIP 2's (BPE with <eos>, "
      "<pad> and <unk>); give the one that belongs to the weights (--vocab)";
  const std::string pieces = piece("</s>", control) + piece("<unk>", unknown) + piece("a");
  EXPECT_EQ(message(pieces + method(2)), neither);  // as Llama's
  EXPECT_EQ(message(piece("<unk>", unknown) + piece("a")), neither);
  EXPECT_EQ(message(pieces), "no error");
  // What the library finds.
  EXPECT_EQ(message(pieces + piece("a")), path + ": a is already defined.; it is damaged, copy it again");
  EXPECT_EQ(message(piece("</s>", control) + piece("<unk>", control) + piece("a")),
            path + ": unk is not defined.; it is damaged, copy it again");

  EXPECT_EQ(message_of([&] { SentencePieceTokenizer::load(folder / "none"); }),
            folder / "none" + ": no such file");
  EXPECT_EQ(message_of([&] { SentencePieceTokenizer::load(folder.str()); }),
            folder.str() +
                ": has no vocabulary, neither spiece.model (SigLIP) nor tokenizer.model or tokenizer.json "
                "(SigLIP 2); "
                "fetch it, as with: hf download ID spiece.model --local-dir " +
                folder.str());
}

TEST(SentencePiece, ADamagedTableOfReplacementsIsRefused) {
  const TempDir folder;
  const std::string path = folder / "m",
                    refused = path + ": its table of replacements is damaged; copy the file again";
  const auto message = [&](const std::string& table) {
    return message_of([&] { check_replacements(table, path); });
  };
  constexpr std::uint32_t value = 1U << 31, followed = 1U << 8;
  // Root 0 leads to 256, "a" from there to 512, where the place of its replacement stands.
  std::vector<std::uint32_t> units(768);
  units[0] = 256 << 10;
  units[256 ^ 'a'] = ((256 ^ 'a') ^ 512U) << 10 | followed | 'a';
  units[512] = value | 2;
  const auto table = [&](const std::string& texts = std::string("x\0yz\0", 5)) {
    std::string out = le32(4 * units.size());
    for (const std::uint32_t unit : units) out += le32(unit);
    return out + texts;
  };
  EXPECT_EQ(message(table()), "no error");
  for (const auto& short_one :
       {std::string(), std::string("abc"), le32(8) + "12345678", le32(3) + "123" + '\0'})
    EXPECT_EQ(message(short_one), refused);
  EXPECT_EQ(message(table("no end")), refused);
  EXPECT_EQ(message(table(std::string("x\0", 2))), refused);  // the place is behind the texts
  EXPECT_EQ(message(table("xy" + std::string(65, 'z') + '\0')), refused);
  auto& a = units[256 ^ 'a'];
  a = ((256 ^ 'a') ^ 768U) << 10 | followed | 'a';  // outside of the trie
  EXPECT_EQ(message(table()), refused);
  a = 'a' << 10 | 'a';  // back to where it came from, without end
  EXPECT_EQ(message(table()), refused);
}

TEST(SentencePiece, DamagedModelsNeverCrash) {
  const TempDir folder;
  const std::string path = folder / "m";
  Random random(5);
  for (const char* file : {"spiece.model", "tokenizer.model"}) {
    const std::string whole = bytes_of_file(golden + file);
    int loaded = 0;
    for (int i = 0; i < 150; ++i) {
      put_file(path, test::mutated(whole, "\x08\x0a\x10\x12\x18\x7f", random));
      try {
        const auto tokenizer = SentencePieceTokenizer::load(path);
        for (const std::int64_t token : tokenizer.encode("A photo of </s> a <pad> ﬁne 猫\n 😀"))
          EXPECT_TRUE(token >= 0 && token < tokenizer.size());
        ++loaded;
      } catch (const Error& e) {
        EXPECT_TRUE(std::string(e.what()).starts_with(path + ": ")) << e.what();
      }
    }
    EXPECT_GT(loaded, 0);
  }
}

}  // namespace
}  // namespace vitral::data
