// The student's objective: its embedding of an image becomes the teacher's
// (models/student/distillation_loss.h).
#pragma once
#include "models/student/distillation_loss.h"
#include "models/student/student.h"

namespace vitral::models {

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
  Places places() const override;
  std::vector<Term> terms(const data::Inputs& inputs, DType dtype,
                          const nn::ForwardContext& context) const override;
  bool records_terms() const override { return loss_.records_terms(); }
  std::vector<std::string> measures() const override { return loss_.measures(); }
  Measured measured(const data::Inputs& inputs, DType dtype) const override;

 private:
  StudentOutput forward(const data::Inputs& inputs, DType dtype, const nn::ForwardContext& context) const;

  Student student_;
  DistillationLoss loss_;
};

}  // namespace vitral::models
