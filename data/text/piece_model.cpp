#include "data/text/piece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/bytes.h"
#include "base/error.h"
#include "base/files/input_file.h"
#include "base/protobuf.h"
#include "base/text.h"
#include "base/utf8.h"

namespace vitral::data {
namespace {

using protobuf::Field;
using protobuf::Wire;

constexpr std::uint64_t longest_file = 64U << 20;  // bytes; Gemma's has 4 MB
constexpr std::size_t longest_piece = 1024;        // bytes

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw_error("{}: {}; it is damaged or no SentencePiece model, copy it again", path, what);
}

class ModelReader {
 public:
  explicit ModelReader(std::string path) : path_(std::move(path)) {}

  PieceModel read(std::string_view bytes) {
    each(bytes, [&](const Field& f) {
      if (f.number == 1) piece(message(f));
      if (f.number == 2) training(message(f));
      if (f.number == 3) normalisation(message(f));
    });
    return std::move(model_);
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const { data::damaged(path_, what); }

  void each(std::string_view bytes, auto&& f) const {
    protobuf::Reader reader(bytes);
    while (const auto field = reader.next()) f(*field);
    if (reader.damaged()) damaged("a field is cut off or of an unknown kind");
  }
  std::string_view message(const Field& f) const {
    if (f.wire != Wire::bytes) damaged("a number where a message belongs");
    return f.bytes;
  }
  std::uint64_t number(const Field& f) const {
    if (f.wire != Wire::varint) damaged("no number where one belongs");
    return f.value;
  }

  void piece(std::string_view bytes) {
    const std::size_t at = model_.pieces.size();
    Piece piece;
    each(bytes, [&](const Field& f) {
      if (f.number == 1) piece.text = std::string(message(f));
      if (f.number == 2 && f.wire == Wire::fixed32)
        piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(f.value));
      if (f.number == 3) {
        if (number(f) < 1 || number(f) > 6)
          damaged(fmt::format("piece {} is of the unknown type {}", at, number(f)));
        piece.type = static_cast<Piece::Type>(number(f));
      }
    });
    model_.pieces.push_back(std::move(piece));
  }

  void training(std::string_view bytes) {
    each(bytes, [&](const Field& f) {
      if (f.number == 3) {
        if (number(f) != 1 && number(f) != 2)
          throw_error<UsageError>("{}: cuts texts into words or characters; unigram and BPE models are read",
                                  path_);
        model_.method = static_cast<PieceModel::Method>(number(f));
      }
      if (f.number == 24) model_.space_at_end = number(f) != 0;
      if (f.number == 35) model_.byte_fallback = number(f) != 0;
    });
  }

  void normalisation(std::string_view bytes) {
    each(bytes, [&](const Field& f) {
      if (f.number == 2) model_.replacements = std::string(message(f));
      if (f.number == 3) model_.space_in_front = number(f) != 0;
      if (f.number == 4) model_.single_spaces = number(f) != 0;
      if (f.number == 5) model_.escaped_spaces = number(f) != 0;
    });
  }

  std::string path_;
  PieceModel model_;
};

// What the library takes for granted.
void check(const PieceModel& model, const std::string& path) {
  if (model.pieces.empty()) damaged(path, "has no pieces");
  // It takes down at most 64 user-defined pieces, one of each length, at a place of a text. (Byte pairs are
  // given none: sentence_piece.cpp.)
  constexpr std::size_t longest_user_defined = 64;
  const bool unigram = model.method == PieceModel::Method::unigram;
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const std::string_view text = piece.text;
    if (text.empty() || text.find('\0') != text.npos || valid_utf8(text) < text.size())
      damaged(path, fmt::format("piece {} is no text", i));
    const bool marked = unigram && piece.type == Piece::Type::user_defined;
    if (text.size() > (marked ? longest_user_defined : longest_piece))
      damaged(path, fmt::format("{}piece {} has {} bytes", marked ? "user-defined " : "", i, text.size()));
    if (!std::isfinite(piece.score)) damaged(path, fmt::format("the score of piece {} is not finite", i));
  }
  if (!model.replacements.empty()) check_replacements(model.replacements, path);
}

}  // namespace

std::int64_t PieceModel::find(std::string_view text) const {
  const auto found =
      std::find_if(pieces.begin(), pieces.end(), [&](const Piece& p) { return p.text == text; });
  return found == pieces.end() ? -1 : found - pieces.begin();
}

std::string PieceModel::serialised() const {
  using protobuf::field;
  const auto flag = [](bool value) { return std::int64_t{value}; };
  // An empty table makes the library write a line to standard error; this one has no entries: a root of zeros
  // whose children bear other labels.
  static const std::string no_replacements = le32(1024) + std::string(1024 + 1, '\0');
  std::string out;
  for (const Piece& p : pieces)
    out += field(1, field(1, p.text) + field(2, p.score) + field(3, static_cast<std::int64_t>(p.type)));
  out += field(2, field(3, static_cast<std::int64_t>(method)) + field(24, flag(space_at_end)) +
                      field(35, flag(byte_fallback)));
  out += field(3, field(2, replacements.empty() ? no_replacements : replacements) +
                      field(3, flag(space_in_front)) + field(4, flag(single_spaces)) +
                      field(5, flag(escaped_spaces)));
  return out;
}

PieceModel read_piece_model(const std::string& path) {
  const std::string bytes = read_text_file(path, longest_file);
  PieceModel model =
      bytes.starts_with('{') ? parse_tokenizer_json(bytes, path) : ModelReader(path).read(bytes);
  check(model, path);
  return model;
}

// A unit of the trie (darts-clone, DoubleArrayUnit): a label in the low byte, bit 31 set in those that hold a
// value, bit 8 where a value follows, and how far its children lie. Every byte may follow on every unit that
// can be reached, and must then lead to a unit of the trie; values are places in the texts.
void check_replacements(std::string_view table, const std::string& path) {
  const auto damaged = [&] {
    throw_error("{}: its table of replacements is damaged; copy the file again", path);
  };
  const auto word = [&](std::size_t at) {
    std::uint32_t out = 0;
    for (std::size_t i = 4; i-- > 0;) out = out << 8 | static_cast<unsigned char>(table[at + i]);
    return out;
  };
  constexpr std::size_t all_bytes = 256;
  // The library has room for so many entries that begin at the same place of a text, and no check.
  constexpr int longest_key = 32;                  // bytes
  constexpr std::size_t longest_replacement = 64;  // bytes; U+FDFA is replaced by 33
  if (table.size() < 4 || word(0) % 4 != 0 || word(0) >= table.size() - 4) damaged();
  const std::size_t units = word(0) / 4;
  const std::string_view texts = table.substr(4 + word(0));
  const auto unit = [&](std::size_t at) { return word(4 + 4 * at); };
  const auto children = [&](std::size_t at) {
    const std::uint32_t u = unit(at), far = (u >> 10) << ((u & 0x200) >> 6);
    const std::size_t first = at ^ far;
    if ((first | (all_bytes - 1)) >= units) damaged();
    return first;
  };
  if (units == 0 || texts.back() != '\0') damaged();
  std::vector<std::size_t> level{children(0)};
  for (int length = 0; !level.empty(); ++length) {
    if (length > longest_key) damaged();
    std::vector<std::size_t> next;
    for (const std::size_t from : level)
      for (std::size_t byte = 1; byte < all_bytes; ++byte) {  // texts have no NUL
        const std::size_t at = from ^ byte;
        if ((unit(at) & 0x800000FFU) != byte) continue;
        const std::size_t first = children(at);
        if ((unit(at) & 0x100) != 0) {
          const std::size_t text = unit(first) & 0x7FFFFFFF;
          if (text >= texts.size() || texts.find('\0', text) - text > longest_replacement) damaged();
        }
        next.push_back(first);
      }
    std::sort(next.begin(), next.end());
    next.erase(std::unique(next.begin(), next.end()), next.end());
    level = std::move(next);
  }
}

}  // namespace vitral::data
