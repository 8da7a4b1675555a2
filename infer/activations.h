// What each patch of an image says about a text, and the two ways to look at it:
//
//   cosine_n  = t . e_n / (|t| |e_n|)          comparable between images and texts: low everywhere where the
//                                              thing is absent
//   softmax_n = exp(2 t . e_n) / sum_m exp(2 t . e_m)      the original's picture: something always lights up
//
// t [D] is the text's embedding as CLIP gives it (not of unit length; averaged over templates it gets the
// mean length of CLIP's), e_n [D] the patch embeddings as the student gives them. The softmax and the
// pictures of weights are those of TinyVolt/multimodal-patch-embeddings, src/notebooks/mm_patch_embed.ipynb
// (calculate_patch_similarities, compare_attn_probs).
//
//   auto a = activations_of(encoder, image, "cat.jpg", targets_of(texts));
//   data::write_image("cat.png", draw_activations({{activation_row(a, ActivationStyle::both)}}));
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "infer/show/picture.h"
#include "infer/texts.h"
#include "models/pretrained/image_encoder.h"
#include "models/student/encoder.h"

namespace vitral::infer {

/// What patches are compared with.
struct PatchTarget {
  std::string label;
  Tensor embedding;  // float32 [D], as long as CLIP's
  std::optional<Box> box;
};

/// One a text; embeddings brought to the length of CLIP's.
std::vector<PatchTarget> targets_of(const TextEmbeddings& texts);

struct PatchActivation {
  std::string label;
  Tensor cosines;  // float32 [G,G], G = patches a side
  Tensor softmax;  // float32 [G,G], sums to 1
  Tensor
      teacher;  // float32 [g,g], cosines of the teacher's dense tokens (NACLIP); undefined where it has none
  std::optional<Box> box;
};

struct ImageActivations {
  std::string title;
  Tensor image;      // uint8 [H,W,3]
  Tensor probs;      // float32 [G,G]: the student's convex weights
  Tensor attention;  // float32 [g,g]: what the teacher's class token attends to; undefined without a teacher
  std::vector<PatchActivation> targets;
};

/// Student and teacher see the image stretched to their sizes. UsageError: a target of another width.
ImageActivations activations_of(const models::Encoder& encoder, const Tensor& image, const std::string& title,
                                std::span<const PatchTarget> targets,
                                const models::ImageEncoder* teacher = nullptr);

enum class ActivationStyle { cosine, softmax, both };

/// A row of the picture: with `weights` the student's convex weights, with a teacher its attention, then for
/// each target what `style` says, and the same cosines of the teacher's dense tokens.
ActivationRow activation_row(const ImageActivations& activations, ActivationStyle style,
                             bool weights = false);

struct ActivationRequest {
  std::vector<std::int64_t> images;  // of the dataset; empty: `count` of them, those with most objects first
  std::vector<std::string>
      concepts;  // for every image; empty: the concepts of its labelled objects, else the first three
  std::int64_t count = 4;
  /// float32 [C,D] of the names of all concepts, instead of /concepts/embeddings.
  std::function<Tensor(const std::vector<std::string>& names)> embed_concepts = {};
};

/// Of the images of a dataset and its concepts. UsageError: a dataset without /concepts, of
/// another width, an image or a concept that it does not have (naming a near one).
std::vector<ImageActivations> concept_activations(const models::Encoder& encoder,
                                                  const data::Dataset& dataset,
                                                  const ActivationRequest& request,
                                                  const models::ImageEncoder* teacher = nullptr);

/// Of the images of a dataset and the same targets for each.
std::vector<ImageActivations> dataset_activations(const models::Encoder& encoder,
                                                  const data::Dataset& dataset,
                                                  const ActivationRequest& request,
                                                  std::span<const PatchTarget> targets,
                                                  const models::ImageEncoder* teacher = nullptr);

}  // namespace vitral::infer
