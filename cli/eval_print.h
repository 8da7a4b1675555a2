// What vitral eval prints: one JSON object, or a table.
#pragma once
#include "data/image_files.h"
#include "infer/measure/evaluate.h"
#include "infer/measure/evaluate_text.h"

namespace vitral::cli {

struct EvalStyle {
  bool json = false;
  bool per_class = false;  // in the table, too
};

/// Measured against the embeddings of a dataset.
void print(const infer::Evaluation& e, double seconds, const EvalStyle& style);
/// Measured against texts; task as it was given to evaluate_text().
void print(const infer::TextResult& r, const infer::TextTask& task, const data::LeftOut& left_out,
           double seconds, const EvalStyle& style);

}  // namespace vitral::cli
