// A trained student, ready for images.
//
//   const Encoder encoder = Encoder::load("runs/student");
//   Encoded e = encoder.encode(images);                      // uint8 [B,S,S,3], S = config().image_size
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "models/student/student.h"

namespace vitral::models {

/// What a weights file without a configuration cannot say, or what shall be other than it says.
struct EncoderOverrides {
  std::optional<std::string> attention;  // neighbourhood or full
  std::optional<int> window;
  std::optional<bool> same_norm;
  double temperature = 1;
};

struct Encoded {
  Tensor embeddings;  // float32 [B,W]
  Tensor probs;       // float32 [B,N]
  Tensor patches;     // float32 [B,N,W]
};

class Encoder {
 public:
  /// From a run folder, a checkpoint, a .safetensors or a .pt file. The configuration comes from the file's
  /// metadata, else from the sizes of its tensors; overrides come last. UsageError or Error, one line, where
  /// that does not give a student.
  static Encoder load(const std::string& path, Device device = cpu, const EncoderOverrides& overrides = {});

  const StudentConfig& config() const { return student_->config(); }
  const Student& student() const { return *student_; }
  Device device() const { return device_; }
  /// What decides the outputs beside the weights, as text: attention, window, same_norm, temperature.
  std::string settings() const;

  /// images uint8 [B,S,S,3] on the CPU; the results are there, too. Computes in pieces of at most `batch`
  /// images.
  Encoded encode(const Tensor& images, std::int64_t batch = 64) const;

 private:
  Encoder(std::unique_ptr<Student> student, Device device, double temperature)
      : student_(std::move(student)), device_(device), temperature_(temperature) {}

  std::unique_ptr<Student> student_;
  Device device_;
  double temperature_;
  std::optional<bool> same_norm_;
};

/// The configuration of weights that were read from `path`: from the metadata, else from the sizes of the
/// tensors.
StudentConfig config_of_weights(const std::vector<std::pair<std::string, Tensor>>& tensors,
                                const std::map<std::string, std::string>& metadata, const std::string& path);

}  // namespace vitral::models
