#include "models/pretrained/text_encoder.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/vectors.h"
#include "models/pretrained/families.h"

namespace vitral::models {
namespace {

std::string filled(const std::string& text_template, const std::string& prompt) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t at; (at = text_template.find("{}", from)) != std::string::npos; from = at + 2)
    out.append(text_template, from, at - from).append(prompt);
  VITRAL_CHECK(from > 0,
               "template '{}': has no {{}}, the place of the prompt; write one, as in \"a photo of a {{}}\"",
               shown(text_template));
  return out.append(text_template, from);
}

}  // namespace

void check_vocabulary(std::int64_t tokens, const std::string& place, const TextTowerConfig& tower,
                      const std::string& weights) {
  VITRAL_CHECK(
      tokens == tower.vocabulary,
      "{}: has {} tokens, the text tower of {} knows {}; give the vocabulary that belongs to it (--vocab)",
      place, tokens, weights, tower.vocabulary);
}

TextEncoder TextEncoder::load(const std::string& path, const std::string& vocabulary, Device device,
                              const TowerChoices& choices) {
  const Checkpoint checkpoint = read_checkpoint(path, data::TensorMemory::mapped);
  const Metadata config = with_choices(checkpoint.config, "text_config", choices);
  const Family& family = family_of(checkpoint);
  TextEncoder out;
  out.tower_ = text_tower_of(family, checkpoint, config);
  const std::string place = vocabulary.empty() ? checkpoint.vocabulary : vocabulary;
  out.tokenizer_ = family.tokenizer(place);
  check_vocabulary(out.tokenizer_->size(), place, out.config(), path);
  out.tower_->to(device);
  out.tower_->pack_weights();
  out.family_ = family.name;
  out.guessed_ = guessed_of(checkpoint.tensors, config, "text_config", family.usual, out.config().block);
  return out;
}

Tensor TextEncoder::embed(const std::vector<std::string>& texts, std::int64_t batch) const {
  const NoGrad no_grad;
  const Tensor tokens = tokenizer_->encode(texts, config().context);
  const std::int64_t count = tokens.dim(0);
  Tensor out({count, config().embedding});
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(count, begin + batch);
    out.rows(begin, end).copy_from(tower_->forward(tokens.rows(begin, end)).value());
  }
  return out;
}

PromptEmbeddings TextEncoder::embed_prompts(const std::vector<std::string>& prompts,
                                            const std::vector<std::string>& templates,
                                            std::int64_t batch) const {
  const std::vector<std::string> patterns = templates.empty() ? std::vector<std::string>{"{}"} : templates;
  std::vector<std::string> texts;
  for (const auto& prompt : prompts)
    for (const auto& pattern : patterns) texts.push_back(filled(pattern, prompt));
  const Tensor embeddings = embed(texts, batch);
  const std::int64_t count = static_cast<std::int64_t>(prompts.size()),
                     each = static_cast<std::int64_t>(patterns.size()), width = embeddings.dim(1);
  PromptEmbeddings out{Tensor::zeros({count, width}), Tensor({count})};
  for (std::int64_t p = 0; p < count; ++p) {
    std::vector<double> sum(static_cast<std::size_t>(width), 0);
    double lengths = 0;
    for (std::int64_t k = 0; k < each; ++k) {
      const float* row = embeddings.data<float>() + (p * each + k) * width;
      const double own = length(row, width);
      lengths += own;
      for (std::int64_t i = 0; i < width && own > 0; ++i)
        sum[static_cast<std::size_t>(i)] += double{row[i]} / own;
    }
    double square = 0;
    for (const double s : sum) square += s * s;
    float* to = out.units.data<float>() + p * width;
    for (std::int64_t i = 0; i < width && square > 0; ++i)
      to[i] = static_cast<float>(sum[static_cast<std::size_t>(i)] / std::sqrt(square));
    out.lengths.data<float>()[p] = static_cast<float>(lengths / static_cast<double>(each));
  }
  return out;
}

}  // namespace vitral::models
