// The configuration of a student from its weights alone.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "models/student/config.h"
#include "tensor/tensor.h"

namespace vitral::models {

/// What a student without metadata is where its tensors leave it open: as the original's, of which `scale`
/// present means neighbourhood attention, absent full attention.
StudentConfig usual_student_config(const std::vector<std::pair<std::string, Tensor>>& state);
/// The configuration that the tensors of a student tell: width = length of ln_post, heads = internal width -
/// width, and so on (models/student/infer_config.cpp); what they leave open (the mask of attention, the
/// function of an MLP, heads without the convex head) is as `otherwise` has it. UsageError naming `where`
/// when they are no student's.
StudentConfig infer_student_config(const std::vector<std::pair<std::string, Tensor>>& state,
                                   const std::string& where, const StudentConfig& otherwise);
inline StudentConfig infer_student_config(const std::vector<std::pair<std::string, Tensor>>& state,
                                          const std::string& where) {
  return infer_student_config(state, where, usual_student_config(state));
}

}  // namespace vitral::models
