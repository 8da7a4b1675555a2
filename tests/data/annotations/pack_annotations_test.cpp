// Datasets from the golden folders of VOC, COCO and label maps, with numbers by hand and by pycocotools.
#include <algorithm>
#include <filesystem>
#include <functional>

#include <gtest/gtest.h>

#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/pack.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::put_file;
using test::TempDir;
using Numbers = std::vector<double>;

const std::string golden = "tests/golden/annotations/";
constexpr int ignore = LabelMap::ignore;

PackOptions options(const TempDir& dir) {
  PackOptions o;
  o.output = dir / "out.h5";
  o.encoded = true;
  o.workers = 3;
  return o;
}

Dataset packed(const PackOptions& o) {
  EXPECT_TRUE(pack(o).written);
  return Dataset::open(o.output);
}

Numbers labels_of(const Dataset& d, std::int64_t i) {
  const LabelMap map = d.labels(i);
  return {map.labels.begin(), map.labels.end()};
}

TEST(PackAnnotations, Voc) {
  const TempDir dir;
  PackOptions o = options(dir);
  o.annotations.voc = golden + "voc";
  const PackSummary s = pack(o);
  EXPECT_EQ(s.train, 4);
  EXPECT_EQ(s.concepts, 20);
  EXPECT_EQ(s.objects, 3);
  EXPECT_EQ(s.masks, 2);
  Dataset d = Dataset::open(o.output);
  EXPECT_EQ(d.name(3), "2007_000004.jpg");  // nothing is noted of it, it stays
  const Concepts c = d.concepts().value();
  EXPECT_EQ(c.names[14], "person");
  EXPECT_FALSE(c.embeddings.defined());
  EXPECT_EQ(c.image, (std::vector<std::int64_t>{0, 0, 2}));
  EXPECT_EQ(c.concept_index, (std::vector<std::int64_t>{11, 14, 7}));
  EXPECT_EQ(c.difficult, (std::vector<std::uint8_t>{0, 1, 0}));
  EXPECT_TRUE(c.crowd.empty());
  // The third is turned by a quarter: its right upper corner, x 9..12 of 12 and y 0..2 of 8, comes to lie at
  // the right lower one.
  EXPECT_EQ(c.boxes.to_vector(), (Numbers{0, 0, .5, .5, .5, .5, 1, 1, .75, .75, 1, 1}));
  const LabelMap first = d.labels(0);
  EXPECT_EQ(first.height, 8);
  EXPECT_EQ(first.width, 12);
  Numbers expected;
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 12; ++x)
      expected.push_back(x == 6 ? ignore : y < 4 && x < 6 ? 12 : y >= 4 && x > 6 ? 15 : 0);
  EXPECT_EQ(labels_of(d, 0), expected);
  EXPECT_TRUE(d.labels(1).empty());
  EXPECT_NE(d.description().find("masks: uint16 [192], chunks of 192 rows, read directly"),
            std::string::npos);
  const LabelMap turned = d.labels(2);
  EXPECT_EQ(turned.height, 12);
  EXPECT_EQ(turned.width, 8);
  d.set_exif(Exif::ignore);  // boxes and masks are of the picture upright
  EXPECT_EQ(d.image(2).dim(0), 12);
  EXPECT_EQ(d.exif_note(),
            o.output +
                ": its annotations are of images with their Exif orientation applied, so that is "
                "how they are decoded");
  expected.clear();
  for (int y = 0; y < 12; ++y)
    for (int x = 0; x < 8; ++x) expected.push_back(y >= 9 && x >= 6 ? 8 : y == 0 && x == 0 ? ignore : 0);
  EXPECT_EQ(labels_of(d, 2), expected);
}

TEST(PackAnnotations, VocStretchedAndAsItIsStored) {
  const TempDir dir;
  PackOptions o = options(dir);
  o.annotations = {.voc = golden + "voc", .split = golden + "voc/ImageSets/Main/dog_val.txt"};
  o.encoded = false;
  o.size = 4;
  o.exif = Exif::ignore;
  const Dataset d = packed(o);
  ASSERT_EQ(d.size(), 2);
  EXPECT_EQ(d.name(0), "2007_000003.jpg");
  EXPECT_EQ(d.concepts()->boxes.to_vector(), (Numbers{.75, 0, 1, .25, 0, 0, .5, .5, .5, .5, 1, 1}));
  EXPECT_EQ(d.original_size(0), (Dataset::Size{8, 12}));
  // Of 12 columns those at 1, 4, 7, 10, of 8 rows 1, 3, 5, 7.
  EXPECT_EQ(labels_of(d, 0), (Numbers{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(labels_of(d, 1), (Numbers{12, 12, 0, 0, 12, 12, 0, 0, 0, 0, 15, 15, 0, 0, 15, 15}));
  o.exif = Exif::apply;
  o.force = true;
  const Dataset turned = packed(o);
  EXPECT_EQ(turned.original_size(0), (Dataset::Size{12, 8}));
  EXPECT_EQ(labels_of(turned, 0), (Numbers{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8}));
}

TEST(PackAnnotations, CocoAsPycocotools) {
  const TempDir dir;
  PackOptions o = options(dir);
  o.annotations = {.coco = golden + "coco/instances.json", .images = golden + "coco/images"};
  const PackSummary s = pack(o);
  EXPECT_EQ(s.objects, 5);
  EXPECT_EQ(s.masks, 3);
  const Dataset d = Dataset::open(o.output);
  EXPECT_EQ(d.name(1), "more/two.png");
  const Concepts c = d.concepts().value();
  EXPECT_EQ(c.names, (std::vector<std::string>{"dog", "person"}));
  EXPECT_EQ(c.image, (std::vector<std::int64_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(c.concept_index, (std::vector<std::int64_t>{1, 0, 1, 0, 1}));
  EXPECT_EQ(c.crowd, (std::vector<std::uint8_t>{0, 0, 1, 0, 0}));
  EXPECT_EQ(c.boxes.to_vector()[12], .5F);
  EXPECT_EQ(c.boxes.to_vector()[14], 1);
  const H5File f = H5File::open(golden + "annotations.h5");
  const std::vector<std::string> names{"one", "two", "three"};
  for (std::size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(labels_of(d, static_cast<std::int64_t>(i)), f.read("/coco/" + names[i]).to_vector())
        << names[i];
}

// Objects and masks go where their image goes; what is left out by --limit need not be there.
TEST(PackAnnotations, LimitsAndValidation) {
  const TempDir dir;
  fs::copy(golden + "coco", dir / "coco", fs::copy_options::recursive);
  PackOptions o = options(dir);
  o.annotations = {.coco = dir / "coco/instances.json", .images = dir / "coco/images"};
  o.limits = {{"three*", 0}};
  o.val_fraction = 0.5;
  o.val_output = dir / "val.h5";
  fs::remove(dir / "coco/images/three.jpg");
  const PackSummary s = pack(o);
  ASSERT_EQ(s.train, 1);
  ASSERT_EQ(s.val, 1);
  const bool one_first = Dataset::open(o.output).name(0) == "one.jpg";
  const Dataset one = Dataset::open(one_first ? o.output : o.val_output),
                two = Dataset::open(one_first ? o.val_output : o.output);
  EXPECT_EQ(one.concepts()->image, (std::vector<std::int64_t>{0, 0, 0}));
  EXPECT_EQ(two.concepts()->image, (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(two.concepts()->concept_index, (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(one.labels(0).width, 12);
  EXPECT_EQ(two.labels(0).width, 10);
  o.limits.clear();
  o.force = true;
  EXPECT_EQ(message_of([&] { pack(o); }), o.annotations.coco + ": names three.jpg, which is not in " +
                                              o.annotations.images +
                                              "; give the folder of its images, or take some by --limit");
  EXPECT_EQ(Dataset::open(o.output).size(), 1);  // what was there stays
}

TEST(PackAnnotations, ADamagedImageTakesItsObjectsAlong) {
  const TempDir dir;
  fs::copy(golden + "coco", dir / "coco", fs::copy_options::recursive);
  put_file(dir / "coco/images/one.jpg", std::string_view("no image"));
  PackOptions o = options(dir);
  o.annotations = {.coco = dir / "coco/instances.json", .images = dir / "coco/images"};
  const PackSummary s = pack(o);
  EXPECT_EQ(s.train, 2);
  ASSERT_EQ(s.skipped.size(), 1U);
  EXPECT_EQ(s.objects, 2);
  EXPECT_EQ(Dataset::open(o.output).concepts()->image, (std::vector<std::int64_t>{0, 0}));
}

TEST(PackAnnotations, LabelMaps) {
  const TempDir dir;
  PackOptions o = options(dir);
  o.inputs = {golden + "ade/images"};
  o.annotations = {
      .label_maps = golden + "ade/annotations", .classes = golden + "ade/classes.txt", .ignore = {255, 300}};
  const PackSummary s = pack(o);
  EXPECT_EQ(s.train, 3);
  EXPECT_EQ(s.masks, 2);
  EXPECT_EQ(s.objects, 0);
  const Dataset d = Dataset::open(o.output);
  EXPECT_EQ(d.concepts()->names, (std::vector<std::string>{"wall", "building, edifice", "sky"}));
  Numbers expected{0, 1, 1, 2, 3, ignore};
  for (const int row : {0, 3, 2}) expected.insert(expected.end(), 6, row);
  EXPECT_EQ(labels_of(d, 0), expected);
  EXPECT_EQ(labels_of(d, 1)[1], ignore);
  EXPECT_TRUE(d.labels(2).empty());  // there is no map of it
  o.encoded = false;
  o.size = 2;
  o.force = true;
  const Dataset plain = packed(o);
  EXPECT_EQ(labels_of(plain, 2), Numbers(4, ignore));
  EXPECT_EQ(plain.original_size(0), (Dataset::Size{4, 6}));
}

TEST(PackAnnotations, CityscapesNamesAndTrainIds) {
  const TempDir dir;
  PackOptions o = options(dir);
  o.inputs = {golden + "cityscapes/leftImg8bit"};
  o.annotations = {.label_maps = golden + "cityscapes/gtFine",
                   .classes = golden + "cityscapes/classes.txt",
                   .zero_is_class = true};
  const Dataset d = packed(o);
  EXPECT_EQ(labels_of(d, 0), (Numbers{1, 2, 2, ignore, 3, 1, 1, 1}));
}

TEST(PackAnnotationsErrors, OptionsThatDoNotBelongTogether) {
  const TempDir dir;
  const auto of = [&](const AnnotationOptions& annotations,
                      const std::function<void(PackOptions&)>& change = {}) {
    PackOptions o = options(dir);
    o.annotations = annotations;
    if (change) change(o);
    return message_of([&] { pack(o); });
  };
  EXPECT_EQ(of({.voc = "a", .coco = "b"}),
            "--voc, --coco and --label-maps: give one of them; pack each into a file of its own");
  EXPECT_EQ(of({.split = "val.txt"}), "--split val.txt: names images of --voc DIR");
  EXPECT_EQ(of({.coco = "b"}),
            "--coco and --images belong together: an instances file and the folder of its images");
  EXPECT_EQ(of({.label_maps = "m"}),
            "--label-maps m: needs --classes FILE, the names of the classes, one a line");
  EXPECT_EQ(of({.classes = "c"}), "--classes c: belongs to --label-maps or --voc");
  EXPECT_EQ(of({.zero_is_class = true}), "--zero-is-class and --ignore belong to --label-maps");
  EXPECT_EQ(of({.label_maps = "m", .classes = "c", .ignore = {65536}}),
            "--ignore 65536: must be in 0..65535");
  EXPECT_EQ(of({.voc = "v"}, [](PackOptions& o) { o.inputs = {"photos"}; }),
            "pack: --voc names its images itself; leave photos out, or take some with --limit");
  EXPECT_EQ(of({.voc = "v"},
               [](PackOptions& o) {
                 o.encoded = false;
                 o.scaled_decode = true;
               }),
            "--scaled-decode: annotations count the pixels of whole images; leave it out");
  EXPECT_EQ(of({.coco = golden + "coco/instances.json", .images = dir / "none"}),
            "--images " + (dir / "none") + ": is no folder");
}

TEST(PackAnnotationsErrors, SizesThatDoNotFit) {
  const TempDir dir;
  fs::copy(golden + "voc", dir / "voc", fs::copy_options::recursive);
  PackOptions o = options(dir);
  o.annotations.voc = dir / "voc";
  // Noted as the picture is seen, upright.
  const std::string third = dir / "voc/Annotations/2007_000003.xml";
  std::string xml = test::bytes_of_file(third);
  xml.replace(xml.find("<width>12</width><height>8<"), 27, "<width>8</width><height>12<");
  xml.replace(xml.find("<xmin>10</xmin><ymin>1</ymin><xmax>13</xmax>"), 44,
              "<xmin>1</xmin><ymin>1</ymin><xmax>4</xmax>");
  put_file(third, std::string_view(xml));
  EXPECT_EQ(packed(o).concepts()->boxes.to_vector()[10], .5);  // x1: 4 of 8
  o.force = true;
  o.encoded = false;
  o.exif = Exif::ignore;
  EXPECT_EQ(message_of([&] { pack(o); }),
            third + ": is of 2007_000003.jpg turned upright; leave --exif ignore out");
  fs::copy_file(dir / "voc/SegmentationClass/2007_000001.png", dir / "voc/SegmentationClass/2007_000002.png");
  EXPECT_EQ(message_of([&] { pack(o); }),
            dir / "voc/SegmentationClass/2007_000002.png" +
                ": is of 12 x 8 pixels but 2007_000002.jpg has 10 x 10; give the images that it was made of");
  fs::copy_file(dir / "voc/Annotations/2007_000001.xml", dir / "voc/Annotations/2007_000002.xml",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(message_of([&] { pack(o); }),
            dir / "voc/Annotations/2007_000002.xml" +
                ": is of 12 x 8 pixels but 2007_000002.jpg has 10 x 10; give the images that it was made of");
  EXPECT_EQ(Dataset::open(o.output).size(), 4);  // of before
}

// Memory is asked for by what the image has, not by what is said of it.
TEST(PackAnnotationsErrors, AnImageThatIsSaidToBeHuge) {
  const TempDir dir;
  fs::copy(golden + "coco", dir / "coco", fs::copy_options::recursive);
  const std::string path = dir / "coco/instances.json";
  std::string json = test::bytes_of_file(path);
  const std::string was = R"("file_name": "three.jpg", "width": 6, "height": 6)";
  json.replace(json.find(was), was.size(),
               R"("file_name": "three.jpg", "width": 2000000000, "height": 2000000000)");
  put_file(path, std::string_view(json));
  PackOptions o = options(dir);
  o.annotations = {.coco = path, .images = dir / "coco/images"};
  EXPECT_EQ(message_of([&] { pack(o); }), path +
                                              ": is of 2000000000 x 2000000000 pixels but three.jpg has 6 x "
                                              "6; give the images that it was made of");
  EXPECT_FALSE(fs::exists(o.output));
}

TEST(PackAnnotationsErrors, LabelMapsOfOtherImages) {
  const TempDir dir;
  PackOptions o = options(dir);
  o.inputs = {golden + "voc/JPEGImages"};
  o.annotations = {.label_maps = golden + "ade/annotations", .classes = golden + "ade/classes.txt"};
  EXPECT_EQ(
      message_of([&] { pack(o); }),
      golden +
          "ade/annotations: holds no map with the name of an image; the first image is 2007_000001.jpg, the "
          "first map " +
          golden + "ade/annotations/val/1.png");
}

}  // namespace
}  // namespace vitral::data
