#include "models/student/student.h"

#include <cmath>
#include <map>

#include "models/pixels.h"

namespace vitral::models {

Variable pixel_patches(const StudentConfig& c, const Tensor& pixels, const Tensor& crops, DType dtype) {
  const std::int64_t size = c.image_size;
  VITRAL_CHECK(pixels.rank() == 4 && pixels.dim(3) == 3 && pixels.dtype() == DType::uint8,
               "pixel_patches: images {} {} must be uint8 [B, H, W, 3]", pixels.dtype(), pixels.shape());
  VITRAL_CHECK(crops.defined() ? pixels.dim(1) >= size && pixels.dim(2) >= size
                               : pixels.dim(1) == size && pixels.dim(2) == size,
               "pixel_patches: images {} must be [B, {}, {}, 3], or larger with crops", pixels.shape(), size,
               size);
  VITRAL_CHECK(
      !crops.defined() || (crops.shape() == Shape{pixels.dim(0), 3} && crops.dtype() == DType::int64),
      "pixel_patches: crops {} {} must be int64 [{}, 3]", crops.dtype(), crops.shape(), pixels.dim(0));
  Tensor patches({pixels.dim(0), c.tokens(), 3LL * c.patch_size * c.patch_size}, dtype, pixels.device());
  kernel::image_patches(patches, pixels, crops, clip_statistics, c.patch_size);
  return Variable(patches);
}

Student::Student(const StudentConfig& config, std::uint64_t seed)
    : Student(config, make_head((check(config), config), Random(seed, 0x59U)), seed) {}

Student::Student(const StudentConfig& config, std::unique_ptr<Head> head, std::uint64_t seed)
    : config_((check(config), config)),
      trunk_(part<Trunk>(config, Random(seed, 0x57U))),
      head_(child<Head>("head", std::move(head))) {
  child<nn::LayerNorm>("ln_post", config.width);  // in the file format, never used
  if (config.same_norm) scale_ = &parameter("scale", Tensor::full({1}, 1));
}

StudentOutput Student::forward(const Variable& images, double temperature) const {
  VITRAL_CHECK(images.rank() == 4 && images.dim(1) == 3 && images.dim(2) == config_.image_size &&
                   images.dim(3) == config_.image_size,
               "student: images {} must be [B, 3, {}, {}]", images.shape(), config_.image_size,
               config_.image_size);
  return of_patches(patchify(images, config_.patch_size), temperature);
}

StudentOutput Student::of_patches(const Variable& patches, double temperature,
                                  const nn::ForwardContext& context) const {
  return head_(trunk_(patches, context), scale(), temperature);
}

Variable Student::embed(const Variable& patches, const nn::ForwardContext& context) const {
  return head_.embed(trunk_(patches, context), scale());
}

StudentConfig infer_student_config(const std::vector<std::pair<std::string, Tensor>>& state,
                                   const std::string& where, const StudentConfig* stored) {
  std::map<std::string, Shape> shapes;
  for (const auto& [name, tensor] : state) shapes[name] = tensor.shape();
  const bool may_lack_position = stored && stored->position != "learned";
  for (const char* name :
       {"conv1.weight", "positional_embedding", "ln_post.weight", "transformer.resblocks.0.ln_1.weight"})
    VITRAL_CHECK(
        shapes.contains(name) || (may_lack_position && name == std::string_view("positional_embedding")),
        "{}: has no weights '{}'; these are not a student's weights", where, name);
  StudentConfig c = stored ? *stored : StudentConfig{};
  const Shape conv = shapes["conv1.weight"], post = shapes["ln_post.weight"];
  VITRAL_CHECK(conv.rank() == 4 && conv[1] == 3 && conv[2] == conv[3] && post.rank() == 1,
               "{}: conv1.weight {} and ln_post.weight {} are not a student's", where, conv, post);
  VITRAL_CHECK(conv[0] > post[0] && conv[0] - post[0] <= post[0],
               "{}: conv1.weight {} and ln_post.weight {} do not fit each other", where, conv, post);
  c.patch_size = static_cast<int>(conv[2]);
  c.width = static_cast<int>(post[0]);
  c.heads = static_cast<int>(conv[0] - post[0]);
  if (const auto found = shapes.find("positional_embedding"); found != shapes.end()) {
    const Shape position = found->second;
    VITRAL_CHECK(position.rank() == 2, "{}: positional_embedding {} is not a student's", where, position);
    const auto grid = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(position[0]))));
    VITRAL_CHECK(grid * grid == position[0],
                 "{}: positional_embedding {} is not that of a square grid of patches", where, position);
    c.image_size = static_cast<int>(grid * conv[2]);
    c.position = "learned";
  }
  const auto registers = shapes.find("registers");
  c.registers =
      registers != shapes.end() && registers->second.rank() == 2 ? static_cast<int>(registers->second[0]) : 0;
  c.layers = 0;
  while (shapes.contains(fmt::format("transformer.resblocks.{}.ln_1.weight", c.layers))) ++c.layers;
  c.same_norm = shapes.contains("scale");
  if (!stored) c.attention = c.same_norm ? "neighbourhood" : "full";
  return c;
}

}  // namespace vitral::models
