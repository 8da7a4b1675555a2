#include "models/clip/config.h"

#include "base/field_kinds.h"

namespace vitral::models {
namespace {

using namespace fields;
using Fields = std::vector<Field<ClipConfig>>;

#define FIELD(...) VITRAL_FIELD(ClipConfig, __VA_ARGS__)

// In files and in weights.
Fields shapes() {
  const Integer width{1, 65536}, layers{1, 1024};
  return {
      FIELD(image_size, Integer{1, 8192}),
      FIELD(patch_size, Integer{1, 8192}),
      FIELD(width, width),
      FIELD(vision.width, width),
      FIELD(vision.layers, layers),
      FIELD(vision.heads, width),
      FIELD(text.width, width),
      FIELD(text.layers, layers),
      FIELD(text.heads, width),
      FIELD(text.context, Integer{3, 65536}),
  };
}

Fields with(std::vector<Field<ClipConfig>> last) {
  Fields out = shapes();
  out.insert(out.end(), last.begin(), last.end());
  return out;
}

struct Digest {
  std::string value() const { return "16 hexadecimal digits"; }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsScalar() || node.Scalar().size() != 16 ||
        node.Scalar().find_first_not_of("0123456789abcdef") != std::string::npos)
      return false;
    field = node.Scalar();
    return true;
  }
  std::string write(const std::string& field) const { return field; }
};

const Fields& metadata_fields() {
  static const Fields table = with(
      {FIELD(text.vocabulary_size, Integer{0, 1 << 30}), added(FIELD(text.vocabulary_digest, Digest{}))});
  return table;
}

#undef FIELD

}  // namespace

const Fields& clip_fields() {
  static const Fields table = with({VITRAL_FIELD(ClipConfig, text.vocabulary, PathOrNull{})});
  return table;
}

std::optional<Conflict> find_conflict(const ClipConfig& c) {
  if (auto conflict = not_dividing("patch_size", c.patch_size, "image_size", c.image_size)) return conflict;
  if (auto conflict = not_dividing("vision.heads", c.vision.heads, "vision.width", c.vision.width))
    return conflict;
  return not_dividing("text.heads", c.text.heads, "text.width", c.text.width);
}

void check(const ClipConfig& config) {
  try {
    check_values(clip_fields(), config);
  } catch (const BadValue& bad) {
    throw_error<UsageError>("CLIP: {}", bad.text);
  }
  if (const auto conflict = find_conflict(config))
    throw_error<UsageError>("CLIP: {} {}", conflict->key, conflict->text);
}

std::map<std::string, std::string> to_metadata(const ClipConfig& config) {
  return to_metadata(metadata_fields(), config, "clip.");
}

std::optional<ClipConfig> clip_config_from_metadata(const std::map<std::string, std::string>& metadata,
                                                    const std::string& where) {
  auto config = from_metadata(metadata_fields(), metadata, "clip.", where);
  if (const auto conflict = config ? find_conflict(*config) : std::nullopt)
    throw_error("{}: metadata: {} {}", where, conflict->key, conflict->text);
  return config;
}

}  // namespace vitral::models
