#include "data/text/vocabulary.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/atomic.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/hash.h"
#include "base/text.h"
#include "data/text/clip_words.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t clip_merges = 49152 - 256 - 2, all_merges = std::size_t(-1);
constexpr std::uint64_t longest_file = 64U << 20;  // bytes, also unpacked; CLIP's has 3 MB
constexpr const char *merges_file = "merges.txt", *numbers_file = "vocab.json";
constexpr const char* advice =
    "give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json (--vocab, model.text.vocabulary)";

// `most`: how many of the merges count.
BytePairs parse_merges(std::string_view text, const std::string& path, std::size_t most) {
  BytePairs pairs;
  std::size_t line_number = 0, merges = 0;
  while (!text.empty() && merges < most) {
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

// Those of the pairs, then the two special tokens.
std::string written(const BytePairs& pairs, std::int64_t token) {
  if (token < pairs.size()) return pairs.token(token);
  return std::string(token == pairs.size() ? start_of_text : end_of_text);
}

void check_numbers(const BytePairs& pairs, const std::string& merges, const json& numbers,
                   const std::string& path) {
  if (!numbers.is_object()) throw_error("{}: is no JSON object of tokens and numbers; copy it again", path);
  const std::int64_t size = vocabulary_size(pairs);
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

// The merges, one a line.
std::string lines_of(const BytePairs& pairs) {
  std::string out;
  for (const auto& [left, right] : pairs.merges())
    fmt::format_to(std::back_inserter(out), "{} {}\n", left, right);
  return out;
}

}  // namespace

std::string find_vocabulary(const std::string& path) {
  if (!fs::is_directory(file_status(path))) return path;
  for (const char* name :
       {merges_file, "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt", "tokenizer.json"}) {
    std::string file = (fs::path(path) / name).string();
    if (fs::exists(file_status(file))) return file;
  }
  throw_error<UsageError>(
      "{}: has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor tokenizer.json; {}", path,
      advice);
}

BytePairs read_vocabulary(const std::string& path) {
  const std::string file = find_vocabulary(path);
  const std::string text = read_packed_text(file, longest_file);
  if (text.starts_with('{')) return read_tokenizer_json(text, file);
  const std::string numbers = (fs::path(file).parent_path() / numbers_file).string();
  if (fs::path(file).filename() != merges_file || !fs::exists(file_status(numbers)))
    return parse_merges(text, file, clip_merges);
  BytePairs pairs = parse_merges(text, file, all_merges);
  check_numbers(pairs, file, json::parse(read_text(numbers, longest_file), nullptr, false), numbers);
  return pairs;
}

std::string digest(const BytePairs& pairs) { return fmt::format("{:016x}", hash_of(lines_of(pairs))); }

void write_vocabulary(const std::string& folder, const BytePairs& pairs) {
  std::string numbers;
  for (std::int64_t i = 0; i < vocabulary_size(pairs); ++i)
    numbers += fmt::format("{}{}: {}", i == 0 ? "{" : ", ", json(written(pairs, i)).dump(), i);
  write_file_atomic((fs::path(folder) / numbers_file).string(), numbers + "}\n");
  write_file_atomic((fs::path(folder) / merges_file).string(), "#version: 0.2\n" + lines_of(pairs));
}

void write_clip_tokenizer(const std::string& folder, const BytePairs& pairs, std::int64_t context) {
  write_vocabulary(folder, pairs);
  const nlohmann::ordered_json special = {{"bos_token", start_of_text},
                                          {"eos_token", end_of_text},
                                          {"unk_token", end_of_text},
                                          {"pad_token", end_of_text}};
  nlohmann::ordered_json config = {{"tokenizer_class", "CLIPTokenizer"}, {"do_lower_case", true}};
  config.update(special);
  if (context > 0) config["model_max_length"] = context;
  const auto write = [&](const char* name, const nlohmann::ordered_json& object) {
    write_file_atomic((fs::path(folder) / name).string(), object.dump(2) + '\n');
  };
  write("special_tokens_map.json", special);
  write("tokenizer_config.json", config);
}

}  // namespace vitral::data
