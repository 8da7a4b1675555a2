// A trained student, ready for images.
//
//   const Encoder encoder = Encoder::load("runs/student");
//   ImageEmbeddings e = encoder.embed(images);               // uint8 [B,S,S,3], S = config().image_size
#pragma once
#include <map>
#include <memory>
#include <string>

#include "data/weights/weights.h"
#include "models/inference.h"
#include "models/student/student.h"

namespace vitral::models {

/// Fields of the configuration that shall be other than the file says, by name, as text: {"window", "5"}.
/// Those whose row in student_fields() has a flag.
using StudentOverrides = std::map<std::string, std::string>;

/// A student's weights and their configuration, which is as the metadata or else the sizes of the tensors
/// say, and then as `overrides` say: a student without same_norm has no tensor `scale`. UsageError or Error,
/// one line, where that does not give a student, or metadata and tensors disagree.
StudentConfig configure_student(data::WeightsFile& weights, const std::string& path,
                                const StudentOverrides& overrides = {});

/// The student of these tensors, float32 or int8, which are only read: it shares their memory. UsageError,
/// naming `where`: they are another's.
std::unique_ptr<Student> student_of(const StudentConfig& config, const data::NamedTensors& tensors,
                                    const std::string& where);

struct ImageEmbeddings {
  Tensor embeddings;  // float32 [B,W]
  Tensor probs;       // float32 [B,N]
  Tensor patches;     // float32 [B,N,W]
};

class Encoder {
 public:
  /// From a run folder, a checkpoint, a .safetensors or a .pt file; configured by configure_student(). dtype:
  /// what it computes in, float32 or bfloat16 (models/precision.h).
  static Encoder load(const std::string& path, Device device = cpu, const StudentOverrides& overrides = {},
                      double temperature = 1, DType dtype = DType::float32);

  const StudentConfig& config() const { return student_->config(); }
  const Student& student() const { return *student_; }
  Device device() const { return inference_->device(); }
  /// What decides the outputs beside the weights, as text: the fields that have a flag (as in metadata,
  /// without what was added later and has its default), the temperature, and bf16 where that is computed in.
  std::string settings() const;
  /// Tells other weights and settings.
  std::uint64_t digest() const;

  /// images uint8 [B,S,S,3] on the CPU; the results are there, too (in pinned memory where the student is on
  /// a GPU). Computes in pieces of at most `batch` images. Error, naming the weights: a value is not finite.
  ImageEmbeddings embed(const Tensor& images, std::int64_t batch = 64) const {
    return begin_embed(images, batch).get();
  }
  /// Begins it; a GPU works while the host goes on. Pinned images must not change meanwhile.
  Pending<ImageEmbeddings> begin_embed(const Tensor& images, std::int64_t batch = 64) const;

 private:
  Encoder(std::string path, std::unique_ptr<Student> student, Device device, double temperature, DType dtype)
      : path_(std::move(path)),
        student_(std::move(student)),
        temperature_(temperature),
        dtype_(dtype),
        inference_(std::make_unique<Inference>(device)) {}

  std::string path_;  // of the weights
  std::unique_ptr<Student> student_;
  double temperature_;
  DType dtype_;
  std::unique_ptr<Inference> inference_;
};

}  // namespace vitral::models
