// A student whose weights are int8, and what that costs.
//
// Each weight that linear layers multiply with becomes int8 with a scale a row; activations are quantised a
// token at run time (tensor/ops/linear_int8.h). All else stays float32: biases, norms, positions, the head.
//
// Images to calibrate with make it better. Channels of activations with large values leave few of the 127
// levels to the others of their token. So, before rounding, they are divided by a factor that the weights
// which read them are multiplied with (SmoothQuant: Xiao et al. 2022, arXiv 2211.10438):
//
//   s_j = max |x_j|^a / max |w_j|^(1-a)        x_j channel j over all tokens, w_j its column of the weights
//
// The division goes into what makes the channels: the norm before in_proj and before the MLP's first layer,
// the rows of in_proj that give v before out_proj, those of w2 before w3 in swiglu. Of a few exponents a, and
// no smoothing, the one counts whose student drifts least; where several drift about as little, that which
// keeps the most best patches.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "data/weights/safetensors.h"
#include "models/student/student.h"

namespace vitral::models {

/// Calls its argument with all images, uint8 [B,S,S,3] a batch, at every call the same.
using ImageBatches = std::function<void(const std::function<void(const Tensor& images)>&)>;

/// How far the int8 student is from the float32 one, which computes in float32, over images.
struct Int8Drift {
  std::int64_t images = 0;
  double embedding = 0, least_embedding = 0;  // cosine of the two embeddings of an image: mean and least
  double patch = 0, least_patch = 0;          // of the two embeddings of a patch, over all patches
  /// Share of the images of which both have the same best patch: that with the largest weight p or, of the
  /// head `mean`, which gives all the same, that whose embedding has the largest cosine with the image's.
  double best_patch = 0;
};

struct Int8Student {
  std::unique_ptr<Student> student;
  double smoothing = 0;  // the exponent a; 0: no smoothing
  Int8Drift drift = {};  // images 0: nothing to calibrate with
};

/// The float32 student of these tensors as int8. Error, naming `where`: a weight is not finite.
Int8Student quantize_student(const StudentConfig& config, const data::NamedTensors& tensors,
                             const std::string& where, const ImageBatches& images = {});

}  // namespace vitral::models
