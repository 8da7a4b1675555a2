// The options of every command that compares images with texts.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/common.h"
#include "infer/texts.h"
#include "models/clip/image_encoder.h"

namespace vitral::cli {

/// --text, --text-file, --clip, --vocab, --activation, --template, --templates, --texts.
struct TextArguments {
  std::vector<std::string> prompts;
  std::string prompt_file;
  std::string clip, vocabulary;
  std::string activation;  // of CLIP, of --teacher too
  std::vector<std::string> templates;
  std::string template_file;
  std::string stored;  // a file of text embeddings, instead of CLIP

  /// stored_texts: whether --texts makes sense for the command.
  void add_to(Command& command, bool stored_texts = true);
  /// The same without --text and --text-file, for commands that find their texts elsewhere.
  void add_clip_to(Command& command, bool stored_texts = true);
  bool given() const { return !prompts.empty() || !prompt_file.empty() || !stored.empty(); }
  /// Of a command that goes on without texts. UsageError: an option that needs them.
  void refuse_without_texts() const;
  /// The files that are read, for check_output().
  std::vector<std::string> inputs() const;
  /// UsageError: no texts, options that do not go together, and what the files give.
  infer::TextEmbeddings load(const std::string& device) const;
  /// The same for texts that come from elsewhere; in_templates: whether they go into the templates.
  infer::TextEmbeddings embed(const std::vector<std::string>& texts, const std::string& device,
                              bool in_templates = true) const;
  /// Whether CLIP or stored embeddings are named.
  bool has_source() const { return !clip.empty() || !stored.empty(); }
  bool has_templates() const { return !templates.empty() || !template_file.empty(); }

 private:
  void check_stored() const;
};

/// CLIP's image tower for --teacher; nothing where it is not given.
std::optional<models::ClipImageEncoder> load_teacher(const std::string& weights, const std::string& device,
                                                     const std::string& activation);

/// UsageError where texts and `whose` embeddings differ in width.
void check_width(const infer::TextEmbeddings& texts, std::int64_t width, const std::string& whose);

}  // namespace vitral::cli
