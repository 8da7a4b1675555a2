// Embeddings of texts, from CLIP or from a file that holds them:
//
//   /texts utf-8 [T]   /embeddings float32 [T,D]   /lengths float32 [T]
//
// Without templates the embeddings are as CLIP gives them. With templates they have unit length: those of all
// templates, each of unit length, averaged and brought to unit length again; /lengths then says how long
// CLIP's were. Attributes: clip (the weights), clip_tower (heads and activation), templates
// (one a line).
//
//   TextEmbeddings texts = embed_texts(clip, {"cat", "dog"}, {"a photo of a {}", "a drawing of a {}"});
//   write_texts("texts.h5", texts);
#pragma once
#include <string>
#include <vector>

#include "models/pretrained/text_encoder.h"

namespace vitral::infer {

struct TextEmbeddings {
  std::vector<std::string> texts;      // as given, without the templates
  Tensor embeddings;                   // float32 [T,D]
  Tensor lengths;                      // float32 [T]: of CLIP's embeddings
  std::string clip = {};               // the weights, for the attribute
  std::string clip_tower = {};         // TextEncoder::description(), likewise
  std::vector<std::string> templates;  // that they were averaged over

  std::int64_t size() const { return static_cast<std::int64_t>(texts.size()); }
  std::int64_t width() const { return embeddings.dim(1); }
};

/// UsageError: no texts, a template without "{}", a text whose embedding has no direction.
TextEmbeddings embed_texts(const models::TextEncoder& clip, const std::vector<std::string>& texts,
                           const std::vector<std::string>& templates = {});

/// Whole or not at all. UsageError: a place where it cannot be written; Error: the disk is full.
void write_texts(const std::string& path, const TextEmbeddings& texts);

/// Any HDF5 file with /texts and /embeddings; /lengths and the attributes need not be there. UsageError: no
/// such file, other shapes; Error: damaged, a row that is zero or not finite.
TextEmbeddings read_texts(const std::string& path);

/// Those of `wanted`, in its order. UsageError naming `path` where one is not there.
TextEmbeddings select_texts(const TextEmbeddings& all, const std::vector<std::string>& wanted,
                            const std::string& path);

}  // namespace vitral::infer
