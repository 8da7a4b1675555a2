#include "models/student/infer_config.h"

#include <algorithm>
#include <cmath>

#include "nn/mlp.h"

namespace vitral::models {
namespace {

using State = std::vector<std::pair<std::string, Tensor>>;

// The names and shapes of a student's tensors.
class Shapes {
 public:
  Shapes(const State& state, std::string where) : where_(std::move(where)) {
    for (const auto& [name, tensor] : state) shapes_[name] = tensor.shape();
  }

  bool has(const std::string& name) const { return shapes_.contains(name); }
  const Shape& of(const std::string& name) const {
    VITRAL_CHECK(has(name), "{}: has no weights '{}'; these are not a student's weights{}", where_, name,
                 hint());
    return shapes_.at(name);
  }
  static std::string in_block(int layer, const char* name) {
    return fmt::format("transformer.resblocks.{}.{}", layer, name);
  }

 private:
  // CLIPs that vitral trains lie in runs as students do.
  const char* hint() const {
    const bool clip = has("visual.conv1.weight") || has("vision_model.embeddings.patch_embedding.weight");
    return clip ? " but a CLIP's; name them with --clip or --teacher" : "";
  }

  std::map<std::string, Shape> shapes_;
  std::string where_;
};

// Several ratios give one hidden width: `otherwise` where it does, else the plainest.
double ratio_of(std::int64_t hidden, const StudentConfig& c, double otherwise) {
  const auto fits = [&](double ratio) {
    return nn::hidden_width(c.internal_width(), ratio, c.mlp) == hidden;
  };
  if (fits(otherwise)) return otherwise;
  const bool gated = c.mlp == "swiglu";
  const auto ratio = [&](std::int64_t width) {
    return static_cast<double>(width) * (gated ? 1.5 : 1) / c.internal_width();
  };
  return !gated || fits(ratio(hidden)) ? ratio(hidden) : ratio(hidden - 4);  // rounded up to a multiple of 8
}

// The grid of patches, from the positional embedding.
void infer_places(StudentConfig& c, const Shapes& shapes, const std::string& where) {
  if (c.position != "learned" && !shapes.has("positional_embedding")) {
    VITRAL_CHECK(c.image_size > 0,
                 "{}: its tensors do not tell the size of its images; say it by --image-size", where);
    return;
  }
  const Shape position = shapes.of("positional_embedding");
  VITRAL_CHECK(position.rank() == 2, "{}: positional_embedding {} is not a student's", where, position);
  const auto grid = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(position[0]))));
  VITRAL_CHECK(grid * grid == position[0],
               "{}: positional_embedding {} is not that of a square grid of patches", where, position);
  c.image_size = static_cast<int>(grid * c.patch_size);
  c.position = "learned";
}

void infer_sizes(StudentConfig& c, const Shapes& shapes, const std::string& where) {
  const Shape conv = shapes.of("conv1.weight"), post = shapes.of("ln_post.weight");
  VITRAL_CHECK(conv.rank() == 4 && conv[1] == 3 && conv[2] == conv[3] && post.rank() == 1,
               "{}: conv1.weight {} and ln_post.weight {} are not a student's", where, conv, post);
  const std::int64_t extra = conv[0] - post[0];
  VITRAL_CHECK(extra >= 0 && extra <= post[0],
               "{}: conv1.weight {} and ln_post.weight {} do not fit each other", where, conv, post);
  c.patch_size = static_cast<int>(conv[2]);
  c.width = static_cast<int>(post[0]);
  c.registers = 0;
  if (shapes.has("registers") && shapes.of("registers").rank() == 2)
    c.registers = static_cast<int>(shapes.of("registers")[0]);
  if (extra > 0) {
    c.head = "convex";
    c.heads = static_cast<int>(extra);
    return;
  }
  c.head = shapes.has("head.query") ? "query" : "mean";
  VITRAL_CHECK(c.heads > 0,
               "{}: its tensors do not tell how many attention heads it has; say it by --student-heads",
               where);
  VITRAL_CHECK(c.width % c.heads == 0, "{}: {} attention heads do not divide its width {}", where, c.heads,
               c.width);
}

void infer_blocks(StudentConfig& c, const Shapes& shapes) {
  shapes.of(Shapes::in_block(0, "ln_1.weight"));
  c.layers = 0;
  while (shapes.has(Shapes::in_block(c.layers, "ln_1.weight"))) ++c.layers;
  // Only what is there tells: of a damaged file the weights that are missing shall be named.
  const int last = c.layers - 1;
  const bool alone = shapes.has(Shapes::in_block(last, "attn.out_proj.weight")) &&
                     !shapes.has(Shapes::in_block(last, "ln_2.weight"));
  c.last_block = alone ? "attention" : "residual";
  c.norm = shapes.has("ln_pre.weight") && !shapes.has("ln_pre.bias") ? "rms_norm" : "layer_norm";
  const std::string gated = Shapes::in_block(0, "mlp.w1.weight"),
                    plain = Shapes::in_block(0, "mlp.c_fc.weight");
  if (shapes.has(gated)) {
    c.mlp = "swiglu";
    c.mlp_ratio = ratio_of(shapes.of(gated)[0], c, c.mlp_ratio);
  } else if (shapes.has(plain)) {
    if (c.mlp == "swiglu") c.mlp = StudentConfig().mlp;
    c.mlp_ratio = ratio_of(shapes.of(plain)[0], c, c.mlp_ratio);
  }
}

}  // namespace

StudentConfig usual_student_config(const State& state) {
  StudentConfig c;
  c.image_size = c.heads = 0;  // to be said, where the tensors do not tell
  const bool has_scale =
      std::any_of(state.begin(), state.end(), [](const auto& tensor) { return tensor.first == "scale"; });
  c.attention = has_scale ? "neighbourhood" : "full";
  return c;
}

StudentConfig infer_student_config(const State& state, const std::string& where,
                                   const StudentConfig& otherwise) {
  const Shapes shapes(state, where);
  StudentConfig c = otherwise;
  infer_sizes(c, shapes, where);
  infer_places(c, shapes, where);
  infer_blocks(c, shapes);
  c.same_norm = shapes.has("scale");
  return c;
}

}  // namespace vitral::models
