// How well models know where things are: the pointing game and segmentation on the labelled objects and masks
// of a dataset, of several models on the same images, beside rows that need no model. docs/evaluation.md
// defines each measure.
//
//   const Localisation measure(dataset, {dense_model(student)}, texts, {});
//   std::vector<ImageFindings> found;                     // the sufficient statistics of all numbers
//   for (each batch) append(found, measure.measure(indices, pixels, patches));
//   const LocalisationResult r = measure.result(found);
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "data/dataset.h"
#include "infer/measure/concept_texts.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/pointing.h"
#include "infer/measure/segmentation.h"
#include "infer/measure/statistics.h"
#include "models/pretrained/image_encoder.h"
#include "models/student/encoder.h"

namespace vitral::infer {

/// Something that gives patches embeddings in the space of the texts.
struct DenseModel {
  std::string name;                                     // "student"
  int size = 0;                                         // S, pixels a side that it reads
  std::int64_t grid = 0;                                // patches a side
  std::int64_t width = 0;                               // D
  std::function<Tensor(const Tensor& images)> patches;  // uint8 [K,S,S,3] -> float32 [K,grid*grid,D]
};
/// Computes in pieces of at most `batch` images; the encoder must outlive the model.
DenseModel dense_model(const models::Encoder& student, std::int64_t batch = 64);
/// "teacher, vanilla", "teacher, value path" and "teacher, NACLIP". UsageError: the family has no dense
/// tokens.
std::vector<DenseModel> dense_models(const models::ImageEncoder& teacher, std::int64_t batch = 64);

struct LocalisationOptions {
  Protocol protocol = Protocol::whole;
  std::optional<float> background = {};  // cosine below which segmentation sees no concept
  double tolerance = 15;                 // pixels of the stored image
  int resamples = 1000;                  // of the bootstrap
};

/// What was found on one image.
struct ImageFindings {
  struct Row {
    std::int64_t hits = 0;  // of objects
    double overlap = 0;     // PointingResult
    std::vector<std::uint8_t> trial_hits;
    ImageSegmentation segmentation;

    auto fields() { return std::tie(hits, overlap, trial_hits, segmentation); }
  };
  std::int64_t objects = 0;
  std::vector<std::int64_t> trials;     // the class of each
  std::vector<std::uint8_t> difficult;  // whether that is one of the difficult ones
  std::vector<Row> rows;

  auto fields() { return std::tie(objects, trials, difficult, rows); }
};

/// A number and its 95 % interval over images.
struct Measured {
  double value = 0;
  Interval interval;
};

struct LocalisationRow {
  enum class Kind : std::uint8_t { model, centre, ceiling };

  Kind kind = Kind::model;
  std::string name;
  std::int64_t grid = 0;                                // patches a side; 0: none
  PointingResult objects = {};                          // ours, on patches
  FieldPointing all = {}, difficult = {};               // the paper's
  std::optional<SegmentationResult> segmentation = {};  // nullopt of the centre
  Measured on_objects = {}, on_all = {}, on_difficult = {}, mean_iou = {};
};

struct LocalisationResult {
  std::vector<LocalisationRow> rows;  // the models in their order, the centre, the ceiling of each grid
  Protocol protocol = Protocol::whole;
  bool on_masks = false;  // segmentation; else on boxes
  std::int64_t images = 0;
  double tolerance = 0;
  int resamples = 0;
};

class Localisation {
 public:
  /// `models`: the student first. UsageError: texts of another width than a model's, and with Protocol::slide
  /// images that are stored as squares no larger than one window.
  Localisation(const data::Dataset& dataset, const data::Concepts& concepts, std::vector<DenseModel> models,
               const ConceptTexts& texts, const LocalisationOptions& options);

  /// Of these images: `pixels` uint8 [B,S,S,3] as the student reads them, `patches` float32 [B,N,D] what it
  /// makes of them. Stored images are read where that is not enough.
  std::vector<ImageFindings> measure(const std::vector<std::int64_t>& images, const Tensor& pixels,
                                     const Tensor& patches) const;
  LocalisationResult result(const std::vector<ImageFindings>& found) const;

 private:
  struct Picture;
  struct Sums;

  bool needs_stored(int size) const;
  std::vector<Picture> pictures(const std::vector<std::int64_t>& images, const Tensor& pixels,
                                std::int64_t begin, std::int64_t end) const;
  void score(std::vector<Picture>& pictures, const Tensor& pixels, const Tensor& patches) const;
  ImageFindings look_at(const Picture& picture) const;
  ImageFindings::Row row_of_model(const Picture& picture, const ScoreMaps& maps) const;
  ImageFindings::Row row_of_centre(const Picture& picture) const;
  ImageFindings::Row row_of_ceiling(const Picture& picture, std::size_t of_model) const;
  Sums sum(const std::vector<ImageFindings>& found, std::size_t row,
           std::span<const std::int32_t> times) const;

  data::Dataset dataset_;
  ObjectsByImage objects_;
  std::vector<DenseModel> models_;
  std::vector<std::size_t> of_grid_;  // a model of each grid
  TextScorer scorer_;
  std::vector<std::int64_t> concept_of_;
  std::int64_t concepts_;
  LocalisationOptions options_;
  Segmentation segmentation_;
  bool on_masks_;
};

}  // namespace vitral::infer
