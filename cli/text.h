// The options of every command that compares images with texts.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/common.h"
#include "infer/texts.h"
#include "models/pretrained/image_encoder.h"

namespace vitral::cli {

/// What of TextArguments a command has.
struct TextOptions {
  bool stored = true;             // --texts
  const char* teacher = nullptr;  // what --teacher is for; null: it has none
};

/// --text, --text-file, --clip, --vocab, --activation, --template, --templates, --texts; --teacher. Heads of
/// the text tower are --heads, or --text-heads beside --teacher, whose heads are --heads.
struct TextArguments {
  std::vector<std::string> prompts;
  std::string prompt_file;
  std::string clip, vocabulary;
  std::string teacher;     // weights of the image tower
  std::string activation;  // of both towers
  int heads = 0, teacher_heads = 0;
  std::vector<std::string> templates;
  std::string template_file;
  std::string stored;  // a file of text embeddings, instead of CLIP

  void add_to(Command& command, const TextOptions& options = {});
  /// The same without --text and --text-file, for commands that find their texts elsewhere.
  void add_clip_to(Command& command, const TextOptions& options = {});
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
  /// With --clip what makes embeddings of a dataset's concepts of their names, in the templates; else empty.
  std::function<Tensor(const std::vector<std::string>&)> concept_embedder(const std::string& device) const;
  /// Whether CLIP or stored embeddings are named.
  bool has_source() const { return !clip.empty() || !stored.empty(); }
  /// The image tower of --teacher; nothing where it is not given.
  std::optional<models::ImageEncoder> load_teacher(const std::string& device,
                                                   const PrecisionArgument& precision) const;
  bool has_templates() const { return !templates.empty() || !template_file.empty(); }

 private:
  void check_stored() const;

  bool command_has_teacher_ = false;
};

/// --activation of pretrained towers.
Option add_activation_to(Command& command, std::string& activation);
/// Says on stderr what of a tower of `weights` had to be guessed; nothing where nothing was.
void report_guess(const std::string& weights, const std::string& guessed, const char* heads_option);

/// UsageError where texts and `whose` embeddings differ in width.
void check_width(const infer::TextEmbeddings& texts, std::int64_t width, const std::string& whose);

}  // namespace vitral::cli
