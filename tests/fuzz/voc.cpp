// The bytes are an annotation of VOC.
#include "data/annotations/voc.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string_view xml(reinterpret_cast<const char*>(data), size);
  fuzz::check(size, 256, [&] {
    data::AnnotatedImage image;
    image.name = "a.jpg";
    data::read_voc_xml(xml, "a.xml", {"cat", "dog", "person"}, image);
    data::clip_boxes(image, 100, 80);
  });
  return 0;
}
