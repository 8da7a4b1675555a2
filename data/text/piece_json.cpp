#include <charconv>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "data/text/piece_model.h"

namespace vitral::data {
namespace {

using nlohmann::json;

// The byte that "<0x41>" stands for, or -1.
int byte_of(std::string_view piece) {
  int byte = -1;
  if (piece.size() == 6 && piece.starts_with("<0x") && piece.back() == '>')
    std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  return byte;
}

std::string byte_piece(int byte) { return fmt::format("<0x{:02X}>", byte); }

class JsonReader {
 public:
  JsonReader(std::string_view text, const std::string& path) : path_(path) {
    // The merges are most of the file and follow from the order of the pieces.
    const auto no_merges = [](int depth, json::parse_event_t event, const json& value) {
      return depth != 2 || event != json::parse_event_t::key || value != "merges";
    };
    file_ = json::parse(text, no_merges, false);
    if (!file_.is_object()) throw_error("{}: is no JSON object; copy it again", path);
  }

  PieceModel read() {
    const json model = value(file_, "model");
    if (value(model, "type") != "BPE" || value(model, "byte_fallback") != true)
      throw_error<UsageError>(
          "{}: is no tokeniser of SigLIP 2's kind (BPE with a fallback to bytes); SigLIP's is read from its "
          "spiece.model, fetch it, as with: hf download ID spiece.model --local-dir DIR",
          path_);
    const json vocabulary = value(model, "vocab");
    if (!vocabulary.is_object()) damaged("its vocabulary is no object of tokens and numbers");
    const json added = value(file_, "added_tokens");
    pieces_.resize(vocabulary.size());
    for (const auto& [text, number] : vocabulary.items()) put(text, number, Piece::Type::normal);
    for (const json& token : added) {
      const json content = value(token, "content"), number = value(token, "id");
      if (!content.is_string()) damaged("an added token has no text");
      if (number == pieces_.size()) pieces_.emplace_back();
      put(content.get<std::string>(), number,
          value(token, "special") == true ? Piece::Type::control : Piece::Type::user_defined);
    }
    for (std::size_t i = 0; i < pieces_.size(); ++i)
      if (pieces_[i].text.empty()) damaged(fmt::format("no token has the number {}", i));
    PieceModel out;
    out.method = PieceModel::Method::byte_pairs;
    out.pieces = std::move(pieces_);
    out.byte_fallback = true;
    out.space_in_front = out.single_spaces = false;
    name_bytes(out, value(model, "unk_token"));
    return out;
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw_error("{}: {}; copy the file again", path_, what);
  }
  static json value(const json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object.at(key) : json();
  }

  void put(const std::string& text, const json& number, Piece::Type type) {
    if (!number.is_number_unsigned() || number.get<std::uint64_t>() >= pieces_.size())
      damaged(fmt::format("token '{}' has no number below {}", shown(text), pieces_.size()));
    Piece& piece = pieces_[number.get<std::size_t>()];
    if (!piece.text.empty() && piece.text != text)
      damaged(fmt::format("tokens '{}' and '{}' have the same number", shown(piece.text), shown(text)));
    piece.text = text;
    piece.type = type;
  }

  // Files that were made from Gemma's model have "\t" where that has "<0x09>": the number is what counts.
  static void name_bytes(PieceModel& model, const json& unknown) {
    for (Piece& piece : model.pieces) {
      if (piece.text == unknown) piece.type = Piece::Type::unknown;
      if (byte_of(piece.text) >= 0) piece.type = Piece::Type::byte;
    }
    if (model.find(byte_piece('\t')) >= 0) return;
    if (const std::int64_t tab = model.find("\t"); tab >= 0)
      model.pieces[static_cast<std::size_t>(tab)] = {byte_piece('\t'), 0, Piece::Type::byte};
  }

  std::string path_;
  json file_;
  std::vector<Piece> pieces_;
};

}  // namespace

PieceModel parse_tokenizer_json(const std::string& text, const std::string& path) {
  return JsonReader(text, path).read();
}

}  // namespace vitral::data
