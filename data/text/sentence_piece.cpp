#include "data/text/sentence_piece.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <sentencepiece_processor.h>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/json_file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/text/clean_text.h"
#include "data/text/piece_model.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

// Bytes. The library takes time that grows with the square of a run of unknown characters.
constexpr std::size_t longest_text = 1U << 16;
constexpr std::string_view unknown_text = "<unk>";
constexpr char32_t space_symbol = 0x2581;  // what SentencePiece writes a space as
constexpr const char* space_piece = "\u2581";

// Texts that become a token wherever they are written.
class Marks {
 public:
  struct Part {
    std::string_view text;
    std::int64_t token;  // of a mark, else -1
  };

  void add(const std::string& text, std::int64_t token) {
    auto& same_start = by_first_byte_[static_cast<unsigned char>(text.front())];
    same_start.push_back({text, token});
    std::stable_sort(same_start.begin(), same_start.end(),
                     [](const Mark& a, const Mark& b) { return a.text.size() > b.text.size(); });
  }

  /// Leftmost first, of those the longest; parts are not empty.
  std::vector<Part> split(std::string_view text) const {
    std::vector<Part> parts;
    std::size_t begin = 0;
    const auto end_text = [&](std::size_t end) {
      if (end > begin) parts.push_back({text.substr(begin, end - begin), -1});
    };
    for (std::size_t at = 0; at < text.size();) {
      const auto& marks = by_first_byte_[static_cast<unsigned char>(text[at])];
      const auto found = std::find_if(marks.begin(), marks.end(),
                                      [&](const Mark& m) { return text.substr(at).starts_with(m.text); });
      if (found == marks.end()) {
        ++at;
        continue;
      }
      end_text(at);
      parts.push_back({found->text, found->token});
      begin = at += found->text.size();
    }
    end_text(text.size());
    return parts;
  }

 private:
  struct Mark {
    std::string text;
    std::int64_t token;
  };
  std::array<std::vector<Mark>, 256> by_first_byte_;  // longest first
};

bool is_punctuation(char32_t c) {  // Python's string.punctuation
  return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) ||
         (c >= 0x7B && c <= 0x7E);
}

// SiglipTokenizer.canonicalize_text(), after big_vision.
std::string canonical(std::string_view text) {
  const std::u32string lowered = lower_case(from_utf8(text));
  std::u32string out;
  for (const char32_t c : lowered) {
    if (is_punctuation(c)) continue;
    if (!is_white_space(c))
      out += c;
    else if (out.empty() || out.back() != U' ')
      out += U' ';
  }
  return to_utf8(stripped(out));
}

// What SiglipTokenizer would do otherwise; Siglip2Tokenizer does not ask.
void check_configuration(const std::string& model) {
  const std::string path = (fs::path(model).parent_path() / "tokenizer_config.json").string();
  if (fs::exists(file_status(path)) &&
      read_json_object(path).value("do_lower_case", nlohmann::json()) == false)
    throw_error<UsageError>(
        "{}: do_lower_case is false, which is not supported; name the spiece.model alone, in another folder, "
        "to "
        "bring texts to lower case as SigLIP was trained (--vocab)",
        path);
}

}  // namespace

struct SentencePieceTokenizer::State {
  sentencepiece::SentencePieceProcessor pieces;
  Marks marks;
  bool siglip2 = false;
  std::int64_t end = 0, padding = 0, space = -1;
  std::size_t unknown_length = 0;  // tokens of "<unk>" at the beginning of a text

  std::vector<int> encode(const std::string& text) const {
    std::vector<int> tokens;
    const auto status = pieces.Encode(text, &tokens);
    if (!status.ok()) throw_error("text '{}': {}", shown(text), one_line(status.message()));
    return tokens;
  }

  std::vector<std::int64_t> siglip(const std::string& text) const;
  std::vector<std::int64_t> gemma(const std::string& text) const;
};

// As SiglipTokenizer.tokenize() and _tokenize() have it: a text begins with a space; each part between
// special tokens is cut behind "<unk>", whose tokens are dropped, so that a space at its beginning counts.
std::vector<std::int64_t> SentencePieceTokenizer::State::siglip(const std::string& text) const {
  std::vector<std::int64_t> tokens;
  const auto parts = marks.split(text);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].token >= 0) {
      if (i == 1 && tokens.size() == 1 && tokens[0] == space) tokens.clear();
      tokens.push_back(parts[i].token);
      continue;
    }
    // The white space around special tokens goes with the rest at both ends.
    const std::vector<int> found = encode(std::string(unknown_text) + canonical(parts[i].text));
    const std::size_t drop = found.size() >= unknown_length ? unknown_length : 0;
    tokens.insert(tokens.end(), found.begin() + static_cast<std::ptrdiff_t>(drop), found.end());
  }
  return tokens;
}

std::vector<std::int64_t> SentencePieceTokenizer::State::gemma(const std::string& text) const {
  std::vector<std::int64_t> tokens;
  for (const Marks::Part& part : marks.split(text)) {
    if (part.token >= 0) {
      tokens.push_back(part.token);
      continue;
    }
    const std::vector<int> found = encode(to_utf8(lower_case_of_each(from_utf8(part.text))));
    tokens.insert(tokens.end(), found.begin(), found.end());
  }
  return tokens;
}

SentencePieceTokenizer::SentencePieceTokenizer(std::unique_ptr<const State> state)
    : state_(std::move(state)) {}
SentencePieceTokenizer::SentencePieceTokenizer(SentencePieceTokenizer&&) noexcept = default;
SentencePieceTokenizer& SentencePieceTokenizer::operator=(SentencePieceTokenizer&&) noexcept = default;
SentencePieceTokenizer::~SentencePieceTokenizer() = default;

SentencePieceTokenizer SentencePieceTokenizer::load(const std::string& path) {
  const std::string file = find_piece_model(path);
  PieceModel model = read_piece_model(file);
  auto state = std::make_unique<State>();
  const bool byte_pairs = model.method == PieceModel::Method::byte_pairs;
  const std::int64_t unknown_token = model.find(unknown_text);
  if (!byte_pairs) {
    state->end = state->padding = model.find("</s>");
  } else {
    state->end = model.find("<eos>");
    state->padding = model.find("<pad>");
  }
  if (unknown_token < 0 || state->end < 0 || state->padding < 0)
    throw_error<UsageError>(
        "{}: is neither SigLIP's vocabulary (unigram with </s> and <unk>) nor SigLIP 2's (BPE with <eos>, "
        "<pad> and <unk>); give the one that belongs to the weights (--vocab)",
        file);
  state->siglip2 = byte_pairs;
  if (!byte_pairs) check_configuration(file);
  state->space = model.find(space_piece);
  if (byte_pairs) {
    // transformers cuts these out of the text as it is written, and lets the merges make them elsewhere in
    // the order of their numbers.
    for (std::size_t i = 0; i < model.pieces.size(); ++i) {
      Piece& piece = model.pieces[i];
      using enum Piece::Type;
      if (piece.type == control || piece.type == unknown || piece.type == user_defined)
        state->marks.add(piece.text, static_cast<std::int64_t>(i));
      if (piece.type == user_defined) piece.type = normal;
      piece.score = -static_cast<float>(i);
    }
  } else {
    state->marks.add("</s>", state->end);
    state->marks.add(std::string(unknown_text), unknown_token);
  }
  const auto status = state->pieces.LoadFromSerializedProto(model.serialised());
  if (!status.ok()) throw_error("{}: {}; it is damaged, copy it again", file, one_line(status.message()));
  state->unknown_length = state->encode(std::string(unknown_text)).size();
  return SentencePieceTokenizer(std::move(state));
}

std::int64_t SentencePieceTokenizer::size() const { return state_->pieces.GetPieceSize(); }
std::int64_t SentencePieceTokenizer::end_token() const { return state_->end; }
std::int64_t SentencePieceTokenizer::padding_token() const { return state_->padding; }

std::vector<std::int64_t> SentencePieceTokenizer::encode(std::string_view text) const {
  VITRAL_CHECK(text.size() <= longest_text, "text: {} bytes, at most {} can be tokenised; cut it",
               text.size(), longest_text);
  std::u32string codes = from_utf8(text);
  std::replace(codes.begin(), codes.end(), U'\0', U'\uFFFD');  // the library's tables end texts in NUL
  if (state_->siglip2) return state_->gemma(to_utf8(codes));
  std::replace(codes.begin(), codes.end(), space_symbol, U' ');
  return state_->siglip(space_piece + to_utf8(codes));
}

std::string find_piece_model(const std::string& path) {
  if (!fs::is_directory(file_status(path))) return path;
  for (const char* name : {"spiece.model", "tokenizer.model", "tokenizer.json"}) {
    std::string file = (fs::path(path) / name).string();
    if (fs::exists(file_status(file))) return file;
  }
  throw_error<UsageError>(
      "{}: has no vocabulary, neither spiece.model (SigLIP) nor tokenizer.model or tokenizer.json (SigLIP "
      "2); "
      "fetch it, as with: hf download ID spiece.model --local-dir {}",
      path, path);
}

}  // namespace vitral::data
