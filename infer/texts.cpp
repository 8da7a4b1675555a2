#include "infer/texts.h"

#include <algorithm>
#include <cmath>

#include "base/files/input_file.h"
#include "base/files/output_file.h"
#include "base/text.h"
#include "base/vectors.h"
#include "data/hdf5/file.h"
#include "data/hdf5/heap_rows.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t max_texts = 1 << 20;

Tensor lengths_of(const Tensor& embeddings) {
  const std::int64_t count = embeddings.dim(0), width = embeddings.dim(1);
  Tensor out({count});
  for (std::int64_t t = 0; t < count; ++t)
    out.data<float>()[t] = static_cast<float>(length(embeddings.data<float>() + t * width, width));
  return out;
}

// The number of the first row without a direction, or -1.
std::int64_t without_direction(const Tensor& lengths) {
  for (std::int64_t t = 0; t < lengths.numel(); ++t)
    if (!(lengths.data<float>()[t] > 0) || !std::isfinite(lengths.data<float>()[t])) return t;
  return -1;
}

bool is_float(const std::optional<DType>& dtype) {
  return dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) out.append(out.empty() ? "" : "\n").append(line);
  return out;
}

}  // namespace

TextEmbeddings embed_texts(const models::TextEncoder& clip, const std::vector<std::string>& texts,
                           const std::vector<std::string>& templates) {
  VITRAL_CHECK(!texts.empty(), "texts: none given");
  TextEmbeddings out{.texts = texts,
                     .embeddings = {},
                     .lengths = {},
                     .clip = {},
                     .clip_tower = clip.description(),
                     .templates = templates};
  if (templates.empty()) {
    out.embeddings = clip.embed(texts);
    out.lengths = lengths_of(out.embeddings);
  } else {
    auto [units, lengths] = clip.embed_prompts(texts, templates);
    out.embeddings = std::move(units);
    out.lengths = std::move(lengths);
  }
  if (const std::int64_t t = without_direction(out.lengths); t >= 0)
    throw_error<UsageError>("text '{}': its embedding is zero or not finite; check the weights of CLIP",
                            shown(texts[static_cast<std::size_t>(t)]));
  return out;
}

void write_texts(const std::string& path, const TextEmbeddings& texts) {
  OutputFile output(path);
  data::H5File file = data::H5File::create(output.partial());
  file.write_strings("/texts", texts.texts);
  file.write("/embeddings", texts.embeddings);
  file.write("/lengths", texts.lengths);
  if (!texts.clip.empty()) file.set_attribute("clip", texts.clip);
  if (!texts.clip_tower.empty()) file.set_attribute("clip_tower", texts.clip_tower);
  if (!texts.templates.empty()) file.set_attribute("templates", joined(texts.templates));
  file.close();
  output.commit();
}

TextEmbeddings read_texts(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  for (const char* needed : {"/texts", "/embeddings"})
    if (!file.has(needed) || file.is_group(needed))
      throw_error<UsageError>("{}: has no {}; give a file that `vitral embed --text` wrote", path, needed);
  const Shape shape = file.shape("/embeddings"), names = file.shape("/texts");
  if (!is_float(file.dtype("/embeddings")) || shape.rank() != 2 || names.rank() != 1 ||
      shape[0] != names[0] || shape[0] < 1 || shape[0] > max_texts || shape[1] < 1 || shape[1] > 1 << 20)
    throw_error<UsageError>("{}: /texts is {} and /embeddings {}; [T] and float [T,D] are needed", path,
                            names, shape);
  TextEmbeddings out;
  out.texts = data::read_text_rows(file, InputFile(path), "/texts");
  out.embeddings = file.read("/embeddings").cast(DType::float32);
  out.lengths = lengths_of(out.embeddings);
  if (const std::int64_t t = without_direction(out.lengths); t >= 0)
    throw_error("{}: /embeddings row {} is zero or not finite; embed the texts again", path, t);
  if (file.has("/lengths")) {
    if (!is_float(file.dtype("/lengths")) || file.shape("/lengths") != names)
      throw_error<UsageError>("{}: /lengths is {}; float {} is needed", path, file.shape("/lengths"), names);
    out.lengths = file.read("/lengths").cast(DType::float32);
    if (const std::int64_t t = without_direction(out.lengths); t >= 0)
      throw_error("{}: /lengths row {} is not a positive number; embed the texts again", path, t);
  }
  out.clip = file.attribute("clip").value_or("");
  out.clip_tower = file.attribute("clip_tower").value_or("");
  return out;
}

TextEmbeddings select_texts(const TextEmbeddings& all, const std::vector<std::string>& wanted,
                            const std::string& path) {
  TextEmbeddings out = all;
  const auto count = static_cast<std::int64_t>(wanted.size());
  out.texts = wanted;
  out.embeddings = Tensor({count, all.width()});
  out.lengths = Tensor({count});
  for (std::int64_t t = 0; t < count; ++t) {
    const std::string& text = wanted[static_cast<std::size_t>(t)];
    const auto found = std::find(all.texts.begin(), all.texts.end(), text);
    if (found == all.texts.end()) {
      const std::vector<std::string> some(all.texts.begin(),
                                          all.texts.begin() + std::min<std::int64_t>(4, all.size()));
      throw_error<UsageError>("{}: has no text '{}'; it has {} of them: {}{}", path, shown(text), all.size(),
                              fmt::join(some, ", "), all.size() > 4 ? ", ..." : "");
    }
    const std::int64_t from = found - all.texts.begin();
    out.embeddings.rows(t, t + 1).copy_from(all.embeddings.rows(from, from + 1));
    out.lengths.data<float>()[t] = all.lengths.data<float>()[from];
  }
  return out;
}

}  // namespace vitral::infer
