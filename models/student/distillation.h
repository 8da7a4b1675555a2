// The student's objective: its embedding y of an image becomes the teacher's t. With y^ and t^ unit vectors:
//
//   l1    loss_norm * mean over all elements of abs(y^ - t^)
//
// A new term is a function and a row in distillation.cpp. Validation reports the loss and the mean cosine
// y^ . t^.
#pragma once
#include "models/objective.h"
#include "models/student/student.h"

namespace vitral::models {

struct DistillationOptions {
  std::vector<std::pair<std::string, double>> terms{{"l1", 1}};  // and their weights
  double loss_norm = 20;
};

/// The loss of outputs, whoever computed them. UsageError: a term that there is not.
class DistillationLoss {
 public:
  explicit DistillationLoss(DistillationOptions options = {});

  /// Whether a term reads StudentOutput::patches; else the embedding is enough.
  bool reads_patches() const;
  std::vector<Term> terms(const StudentOutput& y, const data::Inputs& inputs) const;
  static std::vector<std::string> measures() { return {"loss", "cosine"}; }
  std::vector<double> measure(const StudentOutput& y, const data::Inputs& inputs) const;

 private:
  DistillationOptions options_;
};

class Distillation : public Objective {
 public:
  /// A student with fresh weights, on the CPU.
  explicit Distillation(const StudentConfig& config, std::uint64_t seed = 0,
                        const DistillationOptions& options = {});

  Student& model() override { return student_; }
  std::map<std::string, std::string> metadata() const override { return to_metadata(student_.config()); }
  std::map<std::string, std::string> metadata_in(const std::map<std::string, std::string>& file,
                                                 const std::string& where) const override;
  std::map<std::string, std::string> metadata_of(const std::vector<std::pair<std::string, Tensor>>& weights,
                                                 const std::string& where,
                                                 std::vector<std::string>& warnings) const override;
  int image_size() const override { return student_.config().image_size; }
  int target_width() const override { return student_.config().width; }
  std::vector<Term> terms(const data::Inputs& inputs, DType dtype,
                          const nn::ForwardContext& context) const override;
  std::vector<std::string> measures() const override { return DistillationLoss::measures(); }
  std::vector<double> measure(const data::Inputs& inputs, DType dtype) const override;

 private:
  StudentOutput forward(const data::Inputs& inputs, DType dtype, const nn::ForwardContext& context) const;

  Student student_;
  DistillationLoss loss_;
};

}  // namespace vitral::models
