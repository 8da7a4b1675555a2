// The files of SentencePiece (github.com/google/sentencepiece, src/sentencepiece_model.proto): pieces with
// scores, how a text is normalised before it is cut into them, and which of two methods cuts it.
//
// They are read here and written again for the library, which aborts on some damaged files and reads past the
// end of its tables on others: it sees only what was checked.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vitral::data {

struct Piece {
  enum class Type : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  std::string text;
  float score = 0;
  Type type = Type::normal;
};

struct PieceModel {
  enum class Method : std::uint8_t { unigram = 1, byte_pairs };
  Method method = Method::unigram;
  std::vector<Piece> pieces;   // by token number
  bool byte_fallback = false;  // unknown characters become the pieces of their bytes
  bool space_at_end = false;   // of a word instead of in front
  // Normalisation: a table of replacements ("": none), a space in front, runs of spaces made one.
  std::string replacements;
  bool space_in_front = true, single_spaces = true, escaped_spaces = true;

  /// The token number of a piece, or -1.
  std::int64_t find(std::string_view text) const;
  /// The model as the library loads it.
  std::string serialised() const;
};

/// A model of SentencePiece, or a tokenizer.json of Hugging Face's `tokenizers` of SigLIP 2's kind (byte
/// pairs with a fallback to bytes), the only file that transformers 5 writes of it. UsageError: no such file,
/// another kind of model; Error: damaged, or with limits passed (64 MB, a piece of 1024 bytes).
PieceModel read_piece_model(const std::string& path);

/// The second of these. Its merges are not read: they follow from the order of the pieces.
PieceModel parse_tokenizer_json(const std::string& text, const std::string& path);

/// Error naming `path`: a table of replacements (SentencePiece's precompiled_charsmap) that leads outside of
/// itself. Layout: uint32 size of the trie, little endian; the trie, a double array of darts-clone; texts
/// that end in a NUL byte.
void check_replacements(std::string_view table, const std::string& path);

}  // namespace vitral::data
