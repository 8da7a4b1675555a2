#include "cli/text.h"

#include <cstdio>

#include "base/files/text_file.h"

namespace vitral::cli {
namespace {

std::vector<std::string> with_file(std::vector<std::string> given, const std::string& file) {
  if (file.empty()) return given;
  for (auto& line : read_lines(file)) given.push_back(std::move(line.text));
  return given;
}

}  // namespace

void TextArguments::add_to(Command& command, const TextOptions& options) {
  command.option("--text", prompts, "texts, as many as you like")
      .type_name("PROMPT...")
      .takes_many()
      .is_text();
  command.option("--text-file", prompt_file, "more texts, one a line; -: standard input").type_name("FILE");
  add_clip_to(command, options);
}

void TextArguments::add_clip_to(Command& command, const TextOptions& options) {
  command.option("--clip", clip, "weights of a CLIP or SigLIP: a folder of transformers, .safetensors or .pt")
      .type_name("CLIP_WEIGHTS");
  command_has_teacher_ = options.teacher != nullptr;
  if (command_has_teacher_) {
    command.option("--teacher", teacher, options.teacher).type_name("CLIP_WEIGHTS");
    command
        .option("--heads", teacher_heads,
                "attention heads of --teacher; default: the configuration's, else width / 64")
        .at_least(1);
  }
  command
      .option(command_has_teacher_ ? "--text-heads" : "--heads", heads,
              "attention heads of the text tower of --clip; default: the configuration's, else width / 64")
      .at_least(1);
  add_activation_to(command, activation);
  command
      .option(
          "--vocab", vocabulary,
          "of CLIP bpe_simple_vocab_16e6.txt.gz or merges.txt, of SigLIP spiece.model or tokenizer.model; "
          "default: what lies beside the weights")
      .type_name("FILE");
  command
      .option("--template", templates,
              "around each text, as in \"a photo of a {}\"; of several the embeddings are averaged")
      .type_name("TEMPLATE")
      .takes_one_each_time()
      .is_text();
  command.option("--templates", template_file, "more templates, one a line").type_name("FILE");
  if (options.stored)
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
  const auto encoder = models::TextEncoder::load(clip, vocabulary, parse_device(device), {heads, activation});
  report_guess(clip, encoder.guessed(), command_has_teacher_ ? "--text-heads" : "--heads");
  auto out = infer::embed_texts(encoder, texts, around);
  out.clip = clip;
  return out;
}

std::function<Tensor(const std::vector<std::string>&)> TextArguments::concept_embedder(
    const std::string& device) const {
  if (clip.empty()) return {};
  return [this, device](const std::vector<std::string>& names) { return embed(names, device).embeddings; };
}

void TextArguments::refuse_without_texts() const {
  for (const auto& file : inputs())
    throw_error<UsageError>("{}: belongs to --text, and no text is given", file);
  VITRAL_CHECK(!has_templates(), "--template: belongs to --text, and no text is given");
  VITRAL_CHECK(heads == 0, "--heads: belongs to --text, and no text is given");
}

void TextArguments::check_stored() const {
  VITRAL_CHECK(clip.empty() && vocabulary.empty() && !has_templates(),
               "--texts holds embeddings already; leave out --clip, --vocab and templates");
}

std::optional<models::ImageEncoder> TextArguments::load_teacher(const std::string& device,
                                                                const PrecisionArgument& precision) const {
  VITRAL_CHECK(teacher_heads == 0 || !teacher.empty(), "--heads: belongs to --teacher, which is not given");
  if (teacher.empty()) return std::nullopt;
  auto encoder = models::ImageEncoder::load(teacher, parse_device(device), {teacher_heads, activation},
                                            precision.use(device));
  report_guess(teacher, encoder.guessed(), "--heads");
  return encoder;
}

Option add_activation_to(Command& command, std::string& activation) {
  return command
      .option("--activation", activation,
              fmt::format(
                  "of pretrained towers: {}; default: the configuration's, else that of the family (CLIP: "
                  "quick_gelu)",
                  fmt::join(models::TowerChoices::activations(), ", ")))
      .one_of(models::TowerChoices::activations());
}

void report_guess(const std::string& weights, const std::string& guessed, const char* heads_option) {
  if (guessed.empty()) return;
  std::fprintf(stderr,
               "%s: neither it nor a configuration beside it says all; taken %s; %s and --activation say "
               "otherwise\n",
               weights.c_str(), guessed.c_str(), heads_option);
}

void check_width(const infer::TextEmbeddings& texts, std::int64_t width, const std::string& whose) {
  VITRAL_CHECK(texts.width() == width,
               "the texts' embeddings are {} wide, those of {} {}; they must share a teacher", texts.width(),
               whose, width);
}

}  // namespace vitral::cli
