#include <filesystem>

#include "base/error.h"
#include "data/benchmarks/scenes.h"
#include "data/dataset_writer.h"

namespace vitral::data {

BenchmarkFile write_scenes(const std::string& path, const Scenes& scenes, std::int64_t count,
                           std::uint64_t seed, Split split) {
  VITRAL_CHECK(count > 0, "{}: {} scenes cannot be written, ask for at least 1", path, count);
  DatasetWriter writer(path, DatasetWriter::Size{scenes_image_size, scenes_image_size});
  ObjectList objects(scene_concepts(), {});
  make_samples(
      count, [&](std::int64_t i) { return scenes.make(seed, split, i); },
      [&](std::int64_t i, const Scene& scene) {
        writer.add_image(scene.image);
        writer.add_captions(scene.captions);
        for (const SceneObject& o : scene.objects) objects.add(i, o.concept_index, o.box());
      });
  writer.set_concepts(objects.concepts());
  writer.finish();
  return {count, objects.size(), std::filesystem::file_size(path)};
}

}  // namespace vitral::data
