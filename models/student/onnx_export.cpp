#include "models/student/onnx_export.h"

#include "models/onnx_graph.h"

namespace vitral::models {

FileDigest export_onnx(const std::string& path, const Student& student,
                       const std::map<std::string, std::string>& metadata) {
  const std::int64_t size = student.config().image_size;
  const auto compute = [&](std::int64_t batch) {
    const Tensor images = Tensor::zeros({batch, 3, size, size});
    const StudentOutput y = student.forward(Variable(images));
    return OnnxComputation{.inputs = {{"images", images}},
                           .outputs = {{"embedding", y.embedding.value()},
                                       {"probs", y.probs.value()},
                                       {"patch_embeddings", y.patches.value()}}};
  };
  auto all = to_metadata(student.config());
  all.insert(metadata.begin(), metadata.end());
  return onnx_graph("student", compute, student.state()).write(path, all);
}

}  // namespace vitral::models
