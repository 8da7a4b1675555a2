// The bytes are an archive of images: tar, compressed or not, or zip.
#include "data/archive.h"

#include "base/error.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string& path = fuzz::file_of({data, size});
  // A compressed member unfolds to more than its archive: deflate to 1,032 times as much.
  fuzz::check(
      size, 4096,
      [&] {
        data::LeftOut left_out;
        const auto images = data::list_archive(path, left_out);
        std::vector<std::int64_t> positions;
        for (const auto& image : images) positions.push_back(image.position);
        const auto count = static_cast<std::int64_t>(positions.size());
        data::ArchiveReader reader(path, std::move(positions));
        for (std::int64_t k = 0; k < count; ++k) {
          try {
            reader.read(k);
          } catch (const Error&) {  // the others are read all the same
          }
        }
      },
      std::size_t{256} << 20);
  return 0;
}
