// The loss that makes a student of a teacher: a weighted sum of terms. With y^ and t^ [B,D] the unit vectors
// of the student's embeddings y and the teacher's t of B images:
//
//   l1           loss_norm * mean over elements of abs(y^ - t^)
//   cosine       mean over images of 1 - y^ . t^
//   relational   mean over pairs i != j of (y^_i . y^_j - t^_i . t^_j)^2; of one image: 0
//                (similarities as in Tung and Mori 2019, arXiv 1907.09682)
//   contrastive  mean over images i of -log softmax_j(y^_i . t^_j / temperature) at j = i
//                (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748, of the rows alone)
//   texts        mean over images of KL(p from q), p = softmax(C t^ / temperature) and
//                q = softmax(C y^ / temperature), C [K,D] unit embeddings of texts
//                (Hinton et al. 2015, arXiv 1503.02531, with texts for classes)
//   regions      mean over images and regions of 1 - cos(mean of e_n over the patches whose middle lies in
//                the region's box, the teacher's embedding of that crop) (after CLIPSelf, arXiv 2310.01403)
//   patches      mean over images and patches of 1 - cos(e_n, the teacher's dense token there)
//
// where e_n are the patch embeddings of the student.
//
// A new term is a function and a row in distillation_loss.cpp, and a row in docs/config.md.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "models/objective.h"
#include "models/student/head.h"

namespace vitral::models {

/// What a term asks for.
struct DistillationTerm {
  const char* name;
  bool couples_images = false;  // those of one micro-batch; one alone teaches nothing
  bool reads_patches = false;   // StudentOutput::patches
  data::Target target = data::Target::image;
  bool reads_texts = false;  // DistillationOptions::texts
};
/// All terms that there are, in the order in which they are summed up.
std::span<const DistillationTerm> distillation_terms();

struct DistillationOptions {
  std::map<std::string, double> terms{{"l1", 1}};  // and their weights; 0: not a part of the loss
  double loss_norm = 20;
  double temperature = 0.07;
  Tensor texts = {};    // float32 [K,D], of any length
  Tensor regions = {};  // float32 [R,4], boxes of data/dataset.h
};

/// The loss of outputs, whoever computed them. UsageError: a term that there is not, a negative weight, none
/// at all; texts that are missing, or have no direction; regions that are missing.
class DistillationLoss {
 public:
  explicit DistillationLoss(DistillationOptions options = {});

  /// Whether a term reads StudentOutput::patches; else the embedding is enough.
  bool reads_patches() const;
  /// Whether a term reads these targets.
  bool reads(data::Target target) const;
  const DistillationOptions& options() const { return options_; }
  std::vector<Term> terms(const StudentOutput& y, const data::Inputs& inputs) const;
  /// Whether the loss is more than the default's one term, so that terms are worth a record of their own.
  bool records_terms() const;
  /// loss, cosine (the mean of y^ . t^), and with records_terms() loss.TERM of each.
  std::vector<std::string> measures() const;
  /// Sums over the images.
  Measured measured(const StudentOutput& y, const data::Inputs& inputs) const;
  std::vector<double> measure(const StudentOutput& y, const data::Inputs& inputs) const {
    return measured(y, inputs).wait();
  }

 private:
  DistillationOptions options_;
  // C, and region_means() [R,N] of models/student/regions.h, where and in what the last loss was computed.
  mutable Variable texts_, region_means_;
};

}  // namespace vitral::models
