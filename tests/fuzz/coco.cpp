// The bytes are an instances file of COCO; what it tells of small images is painted.
#include "data/annotations/coco.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  constexpr std::int64_t small = 1 << 6;  // pixels a side
  fuzz::check(
      size, 256,
      [&] {
        const InputFile file(path);
        const auto all = data::read_coco(file);
        for (const auto& image : all.images) {
          if (image.height > small || image.width > small) continue;
          std::vector<data::Region> regions;
          for (const auto& object : image.objects) regions.push_back(data::read_coco_region(file, object));
          for (const auto label : data::paint_objects(image, regions, image.height, image.width).labels)
            if (label != data::LabelMap::ignore && label > all.concepts.size()) __builtin_trap();
        }
      },
      std::size_t{16} << 20);  // pixels of the canvas
  return 0;
}
