// The options of every command that compares images with texts.
#pragma once
#include <string>
#include <vector>

#include "cli/common.h"
#include "infer/texts.h"

namespace vitral::cli {

/// --text, --text-file, --clip, --vocab, --template, --templates, --texts.
struct TextArguments {
  std::vector<std::string> prompts;
  std::string prompt_file;
  std::string clip, vocabulary;
  std::vector<std::string> templates;
  std::string template_file;
  std::string stored;  // a file of text embeddings, instead of CLIP

  /// stored_texts: whether --texts makes sense for the command.
  void add_to(CLI::App& command, bool stored_texts = true);
  bool given() const { return !prompts.empty() || !prompt_file.empty() || !stored.empty(); }
  /// The files that are read, for check_output().
  std::vector<std::string> inputs() const;
  /// UsageError: no texts, options that do not go together, and what the files give.
  infer::TextEmbeddings load(const std::string& device) const;
};

/// UsageError where texts and `whose` embeddings differ in width.
void check_width(const infer::TextEmbeddings& texts, std::int64_t width, const std::string& whose);

}  // namespace vitral::cli
