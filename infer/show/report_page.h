// One self-contained HTML page about a student: images with their patches, the cosine of each patch with
// every prompt and with every other patch, convex weights, and the curves of its training. docs/report.md
// describes it. The page asks nothing of a network and forbids itself to (Content-Security-Policy); it shows
// whatever names and prompts hold as text.
//
// Vectors lie in the page as int16 in base64, each scaled to use the whole range: cosines are right to 1e-3,
// with 512 numbers a vector to 1e-5. The same report gives the same bytes.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "infer/measure/objects.h"
#include "infer/show/run_record.h"
#include "tensor/tensor.h"

namespace vitral::infer {

struct ReportObject {
  std::int64_t prompt = 0;
  Box box{};
};

struct ReportImage {
  std::string name;
  Tensor image;      // uint8 [S,S,3], as the student sees it
  Tensor embedding;  // float32 [D]
  Tensor weights;    // float32 [N], the convex weights
  Tensor patches;    // float32 [N,D]
  Tensor teacher;    // float32 [N,D], the teacher's dense tokens, for all images or for none (undefined)
  std::vector<ReportObject> objects;
};

struct Report {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;  // what and value, for the head of the page
  std::int64_t rows = 0, columns = 0;                      // of patches, N = rows * columns
  std::int64_t width = 0;                                  // D
  std::vector<std::string> prompts;                        // [P], may be none
  Tensor prompt_embeddings;                                // float32 [P,D]
  std::vector<ReportImage> images;
  std::optional<RunRecord> run;
};

/// The page, UTF-8. UsageError: parts that do not fit each other, a page beyond 256 MB.
std::string report_page(const Report& report);

}  // namespace vitral::infer
