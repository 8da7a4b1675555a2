// runs/NAME/metrics.jsonl: one JSON object a line, appended as the run goes, for people and for plots.
//
//   {"kind":"train","step":10,"epoch":1,"loss":18.5,"grad_norm":3.2,"lr":0.001,"images_per_second":15.2,"data_wait":0.01}
//   {"kind":"val","step":100,"epoch":1,"loss":17.9,"cosine":0.41}
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/files/append_file.h"
#include "models/objective.h"

namespace vitral::train {

struct TrainRecord {
  std::int64_t step = 0;   // optimiser steps done, from 1
  std::int64_t epoch = 0;  // the one this step belongs to, from 1
  double loss = 0;
  std::vector<models::NamedValue> terms = {};  // of the loss (Objective::records_terms): loss.NAME
  double grad_norm = 0;                        // of all gradients together, before clipping
  double lr = 0;                               // of this step
  double images_per_second = 0;                // since the record before
  double data_wait = 0;                        // part (0 to 1) of that time spent waiting for data
  int processes = 1;                           // that share the batch; of one, it is not written
  double wait = 0;                             // part of that time that the fastest waited for the slowest
};

struct ValRecord {
  std::int64_t step = 0;                        // optimiser steps done
  std::int64_t epoch = 0;                       // epochs done
  std::vector<models::NamedValue> values = {};  // what the objective measures: loss, cosine
};

/// Where a run goes on.
struct ResumePoint {
  std::int64_t step = -1;           // of the checkpoint; 0 to start a run over, -1 for a new run
  bool validation_pending = false;  // the checkpoint was written before the validation at this step
};

/// Never a line lost or doubled by a resume: a run that resumes from the checkpoint of step S writes the
/// lines of later steps again, so those that are there are dropped (by a new file and a rename), and a last
/// line that a crash tore is repaired. For that, write a step's records, then sync(), then its checkpoint.
/// A value that is not finite is written as null, since JSON has no other word for it.
class MetricsWriter {
 public:
  /// A file with something in it is a UsageError for a new run. Lines in the middle that are no records
  /// (a page that a power cut lost) go to PATH.damaged, and `warnings` says so.
  explicit MetricsWriter(const std::string& path, ResumePoint resume = {},
                         std::vector<std::string>* warnings = nullptr);

  /// One line, handed to the operating system at once. Throws Error naming the file (full disk).
  void train(const TrainRecord& record);
  void val(const ValRecord& record);

  void sync() { file_.sync(); }

 private:
  AppendFile file_;
};

}  // namespace vitral::train
