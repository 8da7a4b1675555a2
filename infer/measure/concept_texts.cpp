#include "infer/measure/concept_texts.h"

#include <algorithm>

#include "base/error.h"
#include "base/files/text_file.h"
#include "base/text.h"

namespace vitral::infer {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

void add_texts(const std::string& joined, std::int64_t concept_index, const std::string& at,
               ConceptTexts& out) {
  for (std::size_t begin = 0; begin <= joined.size();) {
    const std::size_t end = std::min(joined.find(',', begin), joined.size());
    out.texts.push_back(trimmed(joined.substr(begin, end - begin)));
    out.concept_of.push_back(concept_index);
    if (out.texts.back().empty())
      throw_error<UsageError>("{}: has an empty text; write texts with single commas between", at);
    begin = end + 1;
  }
}

}  // namespace

ConceptTexts one_text_each(const std::vector<std::string>& concepts) {
  ConceptTexts out{.texts = concepts, .concept_of = {}};
  for (std::size_t c = 0; c < concepts.size(); ++c) out.concept_of.push_back(static_cast<std::int64_t>(c));
  return out;
}

ConceptTexts texts_of_names(const std::vector<std::string>& concepts) {
  ConceptTexts out;
  for (std::size_t c = 0; c < concepts.size(); ++c)
    add_texts(concepts[c], static_cast<std::int64_t>(c), fmt::format("concept '{}'", shown(concepts[c])),
              out);
  return out;
}

ConceptTexts texts_of_list(const std::vector<std::string>& concepts, const std::string& list) {
  const std::vector<TextLine> lines = read_lines(list);
  const auto all = static_cast<std::int64_t>(concepts.size());
  const bool named = lines.front().text.find('\t') != std::string::npos;
  if (!named && lines.size() != concepts.size())
    throw_error<UsageError>(
        "{}: has {} lines for {} concepts; write one for each, in their order, or lines concept<TAB>texts",
        list, lines.size(), all);
  ConceptTexts out;
  std::vector<bool> seen(concepts.size() + 1, false);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto& [number, text] = lines[i];
    const std::string at = fmt::format("{}:{}", list, number);
    const std::size_t tab = text.find('\t');
    if ((tab != std::string::npos) != named)
      throw_error<UsageError>("{}: has {} tab, but line {} has {}; write all lines alike", at,
                              named ? "no" : "a", lines.front().number, named ? "one" : "none");
    if (!named) {
      add_texts(text, static_cast<std::int64_t>(i), at, out);
      continue;
    }
    const std::string name = trimmed(text.substr(0, tab));
    const std::int64_t c = std::ranges::find(concepts, name) - concepts.begin();
    if (c == all && name != "background")
      throw_error<UsageError>("{}: '{}' is none of the {} concepts; the first is '{}'", at, shown(name), all,
                              shown(concepts.front()));
    if (seen[static_cast<std::size_t>(c)]) throw_error<UsageError>("{}: names '{}' again", at, shown(name));
    seen[static_cast<std::size_t>(c)] = true;
    add_texts(text.substr(tab + 1), c, at, out);
  }
  for (std::int64_t c = 0; named && c < all; ++c)
    if (!seen[static_cast<std::size_t>(c)])
      throw_error<UsageError>("{}: says nothing of the concept '{}'; write a line for each", list,
                              shown(concepts[static_cast<std::size_t>(c)]));
  return out;
}

}  // namespace vitral::infer
