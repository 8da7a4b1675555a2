#include "data/text/vocabulary.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/text.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t clip_merges = 49152 - 256 - 2;
constexpr std::uint64_t longest_file = 64U << 20;  // bytes, also unpacked; CLIP's has 3 MB
constexpr const char* advice =
    "give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json (--vocab)";

bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

std::string unpack(const std::string& packed, const std::string& path) {
  z_stream stream{};
  constexpr int gzip_only = 15 + 16;
  if (inflateInit2(&stream, gzip_only) != Z_OK) throw std::bad_alloc();
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } const end{stream};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  for (int state = Z_OK; state != Z_STREAM_END;) {
    const std::size_t begin = text.size();
    text.resize(begin + (1U << 18));
    stream.next_out = reinterpret_cast<Bytef*>(text.data() + begin);
    stream.avail_out = 1U << 18;
    state = inflate(&stream, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END)
      throw_error("{}: {}; copy it again", path,
                  state == Z_BUF_ERROR ? "truncated, the gzip data end too early" : "damaged gzip data");
    text.erase(text.size() - stream.avail_out);
    if (text.size() > longest_file)
      throw_error("{}: unpacks to more than {} bytes, which is no vocabulary; {}", path, longest_file,
                  advice);
  }
  return text;
}

BytePairs parse_merges(std::string_view text, const std::string& path) {
  BytePairs pairs;
  std::size_t line_number = 0, merges = 0;
  while (!text.empty() && merges < clip_merges) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line_number == 1) {
      if (line.find("#version") == line.npos)
        throw_error<UsageError>("{}: is no list of merges, its first line has no '#version'; {}", path,
                                advice);
      continue;
    }
    if (line.empty() && text.empty()) break;  // the line break at the end
    const std::size_t space = line.find(' ');
    const bool two =
        space != line.npos && space > 0 && space + 1 < line.size() && line.find(' ', space + 1) == line.npos;
    if (!two)
      throw_error("{}: line {} is no merge of two tokens: '{}'; copy the file again", path, line_number,
                  shown(line));
    pairs.add_merge(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
    ++merges;
  }
  if (line_number == 0) throw_error("{}: is empty; {}", path, advice);
  return pairs;
}

// The two tokens after those of the pairs, as Hugging Face writes them.
std::string written(const BytePairs& pairs, std::int64_t token) {
  if (token < pairs.size()) return pairs.token(token);
  return token == pairs.size() ? "<|startoftext|>" : "<|endoftext|>";
}

void check_numbers(const BytePairs& pairs, const std::string& merges, const json& numbers,
                   const std::string& path) {
  if (!numbers.is_object()) throw_error("{}: is no JSON object of tokens and numbers; copy it again", path);
  const std::int64_t size = pairs.size() + 2;
  if (static_cast<std::int64_t>(numbers.size()) != size)
    throw_error<UsageError>("{}: has {} tokens, {} makes {}; they must belong together", path, numbers.size(),
                            merges, size);
  for (std::int64_t i = 0; i < size; ++i) {
    const auto found = numbers.find(written(pairs, i));
    if (found == numbers.end() || !found->is_number_integer() || found->get<std::int64_t>() != i)
      throw_error<UsageError>("{}: token '{}' must be number {}, as {} has it; they must belong together",
                              path, shown(written(pairs, i)), i, merges);
  }
}

// --- tokenizer.json of Hugging Face's `tokenizers`
// ------------------------------------------------------------

// The value at a path of keys, or null.
const json& at(const json& object, std::initializer_list<const char*> keys) {
  static const json null;
  const json* here = &object;
  for (const char* key : keys) {
    const auto found = here->find(key);  // of what is no object: the end
    if (!here->is_object() || found == here->end()) return null;
    here = &*found;
  }
  return *here;
}

// Whether a step, or one of a sequence of steps, is of a type.
const json* step(const json& steps, const char* list, std::string_view type) {
  if (at(steps, {"type"}) == type) return &steps;
  for (const json& one : at(steps, {list}))
    if (at(one, {"type"}) == type) return &one;
  return nullptr;
}

// What keeps it from being CLIP's, or "".
std::string other_kind(const json& file) {
  const json &model = at(file, {"model"}), &type = at(model, {"type"});
  if (!model.is_object()) return "it has no model";
  if (type.is_string() && type != "BPE") return "its model is " + shown(type.get<std::string>());
  if (at(model, {"end_of_word_suffix"}) != "</w>") return "its words do not end in </w>";
  if (step(at(file, {"normalizer"}), "normalizers", "Lowercase") == nullptr)
    return "it does not lower letters";
  const json* split = step(at(file, {"pre_tokenizer"}), "pretokenizers", "Split");
  const json pattern = split == nullptr ? json() : at(*split, {"pattern", "Regex"});
  constexpr std::string_view words = R"([\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";
  if (!pattern.is_string() || !pattern.get_ref<const std::string&>().ends_with(words) ||
      step(at(file, {"pre_tokenizer"}), "pretokenizers", "ByteLevel") == nullptr)
    return "it splits words otherwise";
  return "";
}

BytePairs read_tokenizer_json(const std::string& text, const std::string& path) {
  const json file = json::parse(text, nullptr, false);
  if (!file.is_object()) throw_error("{}: is no JSON object; copy it again", path);
  if (const std::string why = other_kind(file); !why.empty())
    throw_error<UsageError>("{}: is no tokeniser of CLIP's kind, {}; {}", path, why, advice);
  BytePairs pairs;
  std::size_t number = 0;
  for (const json& merge : at(file, {"model", "merges"})) {
    std::string left, right;
    if (merge.is_string()) {
      const auto& both = merge.get_ref<const std::string&>();
      const std::size_t space = std::min(both.find(' '), both.size());
      left = both.substr(0, space);
      right = both.substr(std::min(space + 1, both.size()));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0];
      right = merge[1];
    }
    if (left.empty() || right.empty() || right.find(' ') != right.npos)
      throw_error("{}: merge {} is none of two tokens; copy the file again", path, number);
    pairs.add_merge(left, right);
    ++number;
  }
  json numbers = at(file, {"model", "vocab"});
  for (const json& token : at(file, {"added_tokens"}))
    if (const json& content = at(token, {"content"}); content.is_string() && numbers.is_object())
      numbers[content.get_ref<const std::string&>()] = at(token, {"id"});
  check_numbers(pairs, "its list of merges", numbers, path);
  return pairs;
}

}  // namespace

std::string find_vocabulary(const std::string& path) {
  if (!fs::is_directory(file_status(path))) return path;
  for (const char* name :
       {"merges.txt", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt", "tokenizer.json"}) {
    std::string file = (fs::path(path) / name).string();
    if (fs::exists(file_status(file))) return file;
  }
  throw_error<UsageError>(
      "{}: has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor tokenizer.json; {}", path,
      advice);
}

BytePairs read_vocabulary(const std::string& path) {
  const std::string file = find_vocabulary(path);
  std::string text = read_text_file(file, longest_file);
  if (is_gzip(text)) text = unpack(text, file);
  text = decode_text(std::move(text), file);
  if (text.starts_with('{')) return read_tokenizer_json(text, file);
  BytePairs pairs = parse_merges(text, file);
  const std::string numbers = (fs::path(file).parent_path() / "vocab.json").string();
  if (fs::path(file).filename() == "merges.txt" && fs::exists(file_status(numbers)))
    check_numbers(pairs, file, json::parse(read_text(numbers, longest_file), nullptr, false), numbers);
  return pairs;
}

}  // namespace vitral::data
