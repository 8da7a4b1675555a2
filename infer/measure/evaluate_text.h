// How well images and texts find each other: zero-shot classification and retrieval between images and their
// captions, of several models at once on the same images. docs/evaluation.md defines each measure.
//
//   const ImageSource photos = ImageSource::open({"photos"});
//   TextTask task;
//   task.classes = classes_of_folders(photos.names(), "photos");
//   task.class_embeddings = text.embed_prompts(task.classes->names, {"a photo of a {}"}).units;
//   const auto measured = evaluate_text({model_of(student)}, photos, task);
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/image_source.h"
#include "data/images/transform.h"
#include "infer/measure/labels.h"
#include "models/measure/retrieval.h"
#include "models/measure/zero_shot.h"
#include "models/pretrained/image_encoder.h"
#include "models/student/encoder.h"
#include "processes/group.h"

namespace vitral::infer {

/// Something that embeds images into the space of the texts.
struct ImageModel {
  std::string name;                                    // "student"
  std::int64_t width = 0;                              // D
  std::function<Tensor(const Tensor& image)> prepare;  // uint8 [H,W,3] -> [S,S,3]
  std::function<Tensor(const Tensor& images)> embed;   // uint8 [B,S,S,3] -> float32 [B,D]
};
/// The student on images resized as in validation; it must outlive the model.
ImageModel model_of(const models::Encoder& student);
/// The teacher itself, as what a student can reach.
ImageModel model_of(const models::ImageEncoder& teacher,
                    data::PlainTransform transform = data::PlainTransform::clip);

struct TextTask {
  std::optional<ClassLabels> classes;  // zero-shot classification
  Tensor class_embeddings;             // float32 [C,D]
  std::optional<Captions> captions;    // retrieval
  Tensor caption_embeddings;           // float32 [T,D]
};

struct TextEvaluation {
  std::string model;
  std::optional<models::ZeroShotResult> zero_shot;
  std::optional<models::Retrieval> image_to_text, text_to_image;
};

struct EvaluateTextOptions {
  std::int64_t batch_size = 64;
  /// Images that retrieval is taken over, the first with a caption.
  std::int64_t candidates = 10'000;
  std::function<void(std::int64_t done, std::int64_t total)> progress;  // after each batch
  std::function<void(const std::string& line)> skipped;                 // an image that did not decode
  Group* group = &alone();  // that shares the images; all get the same result
  std::string identity;     // of models and texts: what processes must have the same
};

struct TextResult {
  std::int64_t images = 0;      // that decode and have a class or a caption
  std::int64_t skipped = 0;     // of those with a class or caption that do not decode
  std::int64_t unlabelled = 0;  // that have neither class nor caption, not looked at
  std::vector<TextEvaluation> models;
};

/// UsageError: nothing to measure, text embeddings of another width than a model's. Error: no image that
/// decodes and has a class or caption.
TextResult evaluate_text(const std::vector<ImageModel>& models, const data::ImageSource& source,
                         const TextTask& task, const EvaluateTextOptions& options = {});

}  // namespace vitral::infer
