// The student as an ONNX model, for ONNX Runtime and others:
//
//   in   images            float32 ["batch", 3, S, S]: (pixel / 255 - mean) / std with CLIP's numbers, RGB
//   out  embedding         float32 ["batch", W]
//        probs             float32 ["batch", 1, N]: the convex weights of the patches
//        patch_embeddings  float32 ["batch", N, W]
//
// Standard operators of opset 17 only; the neighbourhood of attention is a constant that is added to the
// scores. The model's metadata holds the configuration under the names of the weights files (model.width,
// ...).
#pragma once
#include <map>
#include <string>

#include "base/files/atomic.h"
#include "models/student/student.h"

namespace vitral::models {

/// Writes the file whole or not at all. `metadata` is added to the configuration's.
FileDigest export_onnx(const std::string& path, const Student& student,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace vitral::models
