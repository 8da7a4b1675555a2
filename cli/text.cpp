#include "cli/text.h"

#include "base/text_file.h"

namespace vitral::cli {
namespace {

std::vector<std::string> with_file(std::vector<std::string> given, const std::string& file) {
  if (file.empty()) return given;
  for (auto& line : read_lines(file)) given.push_back(std::move(line.text));
  return given;
}

}  // namespace

void TextArguments::add_to(Command& command, bool stored_texts) {
  command.option("--text", prompts, "texts, as many as you like")
      .type_name("PROMPT...")
      .takes_many()
      .is_text();
  command.option("--text-file", prompt_file, "more texts, one a line; -: standard input").type_name("FILE");
  add_clip_to(command, stored_texts);
}

void TextArguments::add_clip_to(Command& command, bool stored_texts) {
  command.option("--clip", clip, "CLIP's weights: Hugging Face folder, .safetensors or .pt")
      .type_name("CLIP_WEIGHTS");
  command
      .option("--activation", activation,
              "of CLIP: quick_gelu or gelu; default: what the configuration beside its weights says")
      .one_of({"quick_gelu", "gelu"});
  command
      .option("--vocab", vocabulary,
              "bpe_simple_vocab_16e6.txt.gz or merges.txt; default: what lies beside CLIP's weights")
      .type_name("FILE");
  command
      .option("--template", templates,
              "around each text, as in \"a photo of a {}\"; of several the embeddings are averaged")
      .type_name("TEMPLATE")
      .takes_one_each_time()
      .is_text();
  command.option("--templates", template_file, "more templates, one a line").type_name("FILE");
  if (stored_texts)
    command
        .option("--texts", stored,
                "instead of CLIP: text embeddings that `vitral embed --text` wrote; --text chooses of them")
        .type_name("FILE");
}

std::vector<std::string> TextArguments::inputs() const {
  std::vector<std::string> files;
  for (const auto& file : {prompt_file, clip, vocabulary, template_file, stored})
    if (!file.empty()) files.push_back(file);
  return files;
}

infer::TextEmbeddings TextArguments::load(const std::string& device) const {
  VITRAL_CHECK(given(), "no texts given; use --text or --text-file");
  const std::vector<std::string> texts = with_file(prompts, prompt_file);
  if (!texts.empty()) return embed(texts, device);
  check_stored();
  return infer::read_texts(stored);
}

infer::TextEmbeddings TextArguments::embed(const std::vector<std::string>& texts, const std::string& device,
                                           bool in_templates) const {
  if (!stored.empty()) {
    check_stored();
    return infer::select_texts(infer::read_texts(stored), texts, stored);
  }
  VITRAL_CHECK(!clip.empty(), "texts need CLIP's weights; name them with --clip");
  const auto around = in_templates ? with_file(templates, template_file) : std::vector<std::string>{};
  auto out = infer::embed_texts(
      models::ClipTextEncoder::load(clip, vocabulary, parse_device(device), activation), texts, around);
  out.clip = clip;
  return out;
}

void TextArguments::refuse_without_texts() const {
  for (const auto& file : inputs())
    throw_error<UsageError>("{}: belongs to --text, and no text is given", file);
  VITRAL_CHECK(!has_templates(), "--template: belongs to --text, and no text is given");
}

void TextArguments::check_stored() const {
  VITRAL_CHECK(clip.empty() && vocabulary.empty() && !has_templates(),
               "--texts holds embeddings already; leave out --clip, --vocab and templates");
}

std::optional<models::ClipImageEncoder> load_teacher(const std::string& weights, const std::string& device,
                                                     const std::string& activation) {
  if (weights.empty()) return std::nullopt;
  return models::ClipImageEncoder::load(weights, parse_device(device), 0, activation);
}

void check_width(const infer::TextEmbeddings& texts, std::int64_t width, const std::string& whose) {
  VITRAL_CHECK(texts.width() == width,
               "the texts' embeddings are {} wide, those of {} {}; they must share a teacher", texts.width(),
               whose, width);
}

}  // namespace vitral::cli
