// What `vitral report` shows of a student: images, prompts and its run, as one page
// (infer/show/report_page.h).
//
//   ReportRequest request{.weights = "runs/shapes", .run = "runs/shapes"};
//   const Report report = make_report(student, ImageSource::open({"shapes/val.h5"}), request);
//   write_file("report.html", report_page(report));
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/image_source.h"
#include "infer/show/report_page.h"
#include "models/pretrained/image_encoder.h"
#include "models/student/encoder.h"

namespace vitral::infer {

struct ReportRequest {
  std::string weights;  // the title
  std::string run;      // folder of the curves; "": none
  /// What patches are compared with. None: the concepts of the dataset; of more than 64 those that
  /// label an object of the images.
  std::vector<std::string> prompts;
  Tensor prompt_embeddings;  // float32 [P,D]
  /// float32 [C,D] of the names of a dataset's concepts, instead of /concepts/embeddings.
  std::function<Tensor(const std::vector<std::string>& names)> embed_concepts;
  std::string prompts_from;                       // "CLIP of clip-vit-base-patch32", for the head of the page
  const models::ImageEncoder* teacher = nullptr;  // whose dense tokens (NACLIP) stand beside the patches
  std::vector<std::int64_t> images;               // by number; empty: the first `count` that decode
  std::int64_t count = 24;
  std::function<void(std::int64_t done, std::int64_t total)> progress;
  std::function<void(const std::string& line)> skipped;  // an image that did not decode
};

/// UsageError: prompts, concepts or a teacher of another width than the student's, a teacher without dense
/// tokens, a number that no image has, no such run. Error: no image that decodes.
Report make_report(const models::Encoder& student, const data::ImageSource& source,
                   const ReportRequest& request);

}  // namespace vitral::infer
