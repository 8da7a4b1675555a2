// What all cases begin with: small datasets, photographs, a teacher, and a training that nothing disturbed.
#pragma once
#include <string>

#include "tests/torture/program.h"

namespace vitral::torture {

///   train.h5, val.h5   90 and 12 images of the shapes benchmark, 64 x 64, embeddings of 64
///   config.yaml        trains on them: width 64, 1 layer, 30 steps, a checkpoint every 4, `keep` 2, into
///   run/ run/               what that training leaves photos/            8 small JPEG and PNG files plain.h5
///   the photographs as a dataset of 64 x 64 pixels, without embeddings teacher/           a CLIP with random
///   weights, 24 x 24 pixels, embeddings of 64 student.safetensors    the weights of run/
class Workshop {
 public:
  /// Makes all this in a folder, with the program itself. Throws Error where that fails.
  Workshop(Tools tools, std::string folder);

  const Tools tools;
  const std::string folder;
  std::string operator/(const std::string& name) const { return folder + "/" + name; }
  /// Runs the command in the workshop; Error where it does not end with 0.
  Result run(const Command& command) const;
};

/// A file or folder with the times of its files, which journals remember.
void copy_with_times(const std::string& from, const std::string& to);

}  // namespace vitral::torture
