// Annotations as others write them: what is read, and one line for each that cannot be.
#include <functional>

#include <gtest/gtest.h>

#include "data/annotations/coco.h"
#include "data/annotations/label_maps.h"
#include "data/annotations/voc.h"
#include "data/images/png_samples.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::put_file;
using test::TempDir;
using Names = std::vector<std::string>;

const std::string golden = "tests/golden/annotations/";

TEST(Coco, TheGoldenFile) {
  const InputFile file(golden + "coco/instances.json");
  const Annotations all = read_coco(file);
  EXPECT_EQ(all.concepts, (Names{"dog", "person"}));
  EXPECT_TRUE(all.has_masks && all.has_boxes && all.marks_crowds);
  EXPECT_FALSE(all.marks_difficult);
  ASSERT_EQ(all.images.size(), 3U);
  const AnnotatedImage& one = all.images[0];
  EXPECT_EQ(one.name, "one.jpg");
  EXPECT_EQ(one.height, 8);
  EXPECT_EQ(one.width, 12);
  ASSERT_EQ(one.objects.size(), 3U);
  EXPECT_EQ(one.objects[0].concept_index, 1);
  EXPECT_EQ(read_coco_region(file, one.objects[0]).ends, (std::vector<std::uint32_t>{6, 14}));
  EXPECT_EQ(read_coco_region(file, one.objects[0]).corners[1], 14);  // 2.7 pixels
  EXPECT_EQ(one.objects[1].box, (std::array<double, 4>{2, 1, 10, 7}));
  EXPECT_TRUE(one.objects[2].crowd);
  EXPECT_EQ(read_coco_region(file, one.objects[2]).runs, (Runs{72, 24}));
  const AnnotatedImage& two = all.images[1];
  EXPECT_EQ(two.name, "more/two.png");
  EXPECT_EQ(two.objects[0].box, (std::array<double, 4>{5, 6, 10, 10}));  // half a pixel over is cut off
  EXPECT_EQ(area_of(read_coco_region(file, two.objects[0]).runs), 20U);
  EXPECT_TRUE(read_coco_region(file, two.objects[1]).empty());
  EXPECT_TRUE(all.images[2].objects.empty());
}

// The message of reading a file of these parts, without its path.
std::string coco_error(const std::string& annotation, const std::string& image = "",
                       const std::string& category = "") {
  const TempDir dir;
  const std::string path = dir / "i.json";
  const auto or_else = [](const std::string& text, const std::string& other) {
    return text.empty() ? other : text;
  };
  put_file(path,
           std::string_view(R"({"images": [)" +
                            or_else(image, R"({"id": 1, "file_name": "a.jpg", "width": 10, "height": 8})") +
                            R"(], "categories": [)" + or_else(category, R"({"id": 3, "name": "cat"})") +
                            R"(], "annotations": [)" + annotation + "]}"));
  const std::string message = message_of([&] {
    const InputFile file(path);
    for (const AnnotatedImage& noted : read_coco(file).images) {
      std::vector<Region> regions;
      for (const AnnotatedObject& object : noted.objects) regions.push_back(read_coco_region(file, object));
      paint_objects(noted, regions, noted.height, noted.width);
    }
  });
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

std::string annotation(const std::string& more, const std::string& box = "[1, 1, 4, 4]") {
  return R"({"id": 9, "image_id": 1, "category_id": 3, "bbox": )" + box + more + "}";
}

TEST(CocoErrors, Annotations) {
  EXPECT_EQ(coco_error(annotation("")), "no error");
  EXPECT_EQ(coco_error(annotation(R"(, "segmentation": [[0,0,1,1]])")), "no error");  // encloses nothing
  EXPECT_EQ(coco_error(annotation(R"(, "segmentation": null)")), "no error");
  EXPECT_EQ(coco_error(R"({"id": 9, "category_id": 3})"), "annotation 9: has no image_id");
  EXPECT_EQ(
      coco_error(R"({"image_id": 1, "caption": "a cat"})"),
      "annotation number 1: has no category_id; an instances file is needed, not one of captions or panoptic "
      "segments");
  EXPECT_EQ(coco_error(R"({"image_id": 1, "category_id": 3})"),
            R"(annotation number 1: has no bbox; write "bbox": [x, y, width, height])");
  EXPECT_EQ(coco_error(R"({"id": 9, "image_id": 2, "category_id": 3, "bbox": [0, 0, 1, 1]})"),
            "annotation 9: its image_id 2 is not among the images");
  EXPECT_EQ(coco_error(R"({"id": 9, "image_id": 1, "category_id": 4, "bbox": [0, 0, 1, 1]})"),
            "annotation 9: its category_id 4 is not among the categories");
  EXPECT_EQ(coco_error(R"({"id": 9, "image_id": 1.5})"),
            "annotation 9: image_id is 1.5; a whole number is needed");
  EXPECT_EQ(coco_error(R"({"id": 9, "image_id": "one"})"),
            "annotation 9: 'one' is a text where a whole number is needed");
  EXPECT_EQ(coco_error(annotation("", "[11, 0, 4, 4]")),
            "annotation 9 of a.jpg: its box (11, 0, 15, 4) lies outside 10 x 8 pixels; correct or remove it");
  EXPECT_EQ(coco_error(annotation("", "[10, 8, 4, 4]")), "no error");  // touches it
  EXPECT_EQ(coco_error(annotation("", "[0, 0, -4, 4]")),
            "annotation 9: its bbox is (0, 0, -4, 4); x, y, width and height are needed");
  EXPECT_EQ(coco_error(annotation("", "[0, 0, 1, 1, 1]")), "annotation 9: its bbox has more than 4 numbers");
  for (const char* other : {"[3]", "3", "null", "\"x\""})
    EXPECT_EQ(coco_error(annotation("") + ", " + other),
              "annotation number 2: is no object; an object is needed");
}

TEST(CocoErrors, Masks) {
  const auto of = [](const std::string& segmentation) {
    return coco_error(annotation(R"(, "segmentation": )" + segmentation));
  };
  const std::string neither =
      "annotation 9: its segmentation is neither a list of polygons nor a run-length encoding; write one of "
      "these";
  EXPECT_EQ(of("[0, 0, 1, 1, 2, 2]"), neither);
  EXPECT_EQ(of("[[[0, 0], [1, 1], [2, 2]]]"), neither);
  EXPECT_EQ(of(R"([{"counts": [80], "size": [8, 10]}])"), neither);
  EXPECT_EQ(of("[[0, 0, 1, 1, 2, 2, 3]]"),
            "annotation 9: a polygon has 7 coordinates; an even number is needed");
  EXPECT_EQ(of("[[0, 0, 1e300, 1, 2, 2]]"),
            "annotation 9: a corner of its polygon lies at 1e+300; no image is so large");
  EXPECT_EQ(
      of("[[0, 0, 31, 1, 2, 2]]"),
      "annotation 9 of a.jpg: a corner of its polygon lies at x 31, far outside 10 x 8 pixels; correct it");
  EXPECT_EQ(of(R"({"counts": [80]})"),
            R"(annotation 9: its mask has no size; write "size": [height, width])");
  EXPECT_EQ(of(R"({"size": [8, 10]})"), "annotation 9: its mask has no counts; write them");
  EXPECT_EQ(of(R"({"counts": [80], "size": [8, 10]})"), "no error");
  EXPECT_EQ(of(R"({"counts": [80], "size": [10, 8]})"),
            "annotation 9 of a.jpg: its mask is of 8 x 10 pixels but the image has 10 x 8; give the images "
            "that it was "
            "made of");
  EXPECT_EQ(
      of(R"({"counts": [4, 70], "size": [8, 10]})"),
      "annotation 9 of a.jpg: the runs of its mask cover 74 of 80 pixels, it is damaged; write it again");
  EXPECT_EQ(of(R"({"counts": [5000000000], "size": [8, 10]})"),
            "annotation 9: a run of its mask is 5000000000 pixels long");
  EXPECT_EQ(of(R"({"counts": "ooo", "size": [8, 10]})"),
            "annotation 9: the counts of its mask are no run-length encoding; write them again");
}

TEST(CocoErrors, ImagesAndCategories) {
  const auto image = [](const std::string& text) { return coco_error("", text); };
  EXPECT_EQ(image(R"({"file_name": "a.jpg"})"), "image number 1: has no id");
  EXPECT_EQ(image(R"({"id": 1})"), "image 1: has no file_name");
  EXPECT_EQ(image(R"({"id": 1, "coco_url": "http://x/train2017/a.jpg", "width": 1, "height": 1})"),
            "no error");
  EXPECT_EQ(image(R"({"id": 1, "file_name": "a.jpg"})"),
            "image 1: its width and height are 0 and 0; write those of the image");
  for (const char* name : {"../a.jpg", "/a.jpg", "b/../../a.jpg"})
    EXPECT_EQ(image(std::string(R"({"id": 1, "width": 1, "height": 1, "file_name": ")") + name + "\"}"),
              std::string("image 1: its file_name '") + name +
                  "' leads out of the folder of images; name it from there");
  const std::string one = R"({"id": 1, "file_name": "a.jpg", "width": 1, "height": 1})";
  EXPECT_EQ(image(one + ", " + one), "image 1: another image has this id");
  EXPECT_EQ(image(one + R"(, {"id": 2, "file_name": "a.jpg", "width": 1, "height": 1})"),
            "image 2: another image is called 'a.jpg', too");
  const auto category = [](const std::string& text) { return coco_error("", "", text); };
  EXPECT_EQ(category(R"({"id": 3})"), "category 3: has no name; write one");
  EXPECT_EQ(category(R"({"name": "cat"})"), "category number 1: has no id");
  EXPECT_EQ(category(R"({"id": 3, "name": "cat"}, {"id": 3, "name": "dog"})"),
            "category 3: another category has this id");
  EXPECT_EQ(category(R"({"id": 3, "name": "cat"}, {"id": 4, "name": "cat"})"),
            "category 4: another category is called 'cat', too");
}

TEST(CocoErrors, WholeFiles) {
  const TempDir dir;
  const auto of = [&](const std::string& text) {
    put_file(dir / "i.json", std::string_view(text));
    const std::string message = message_of([&] { read_coco(InputFile(dir / "i.json")); });
    return message.substr(std::min((dir / "i.json: ").size(), message.size()));
  };
  EXPECT_EQ(of("[1, 2]"), "is a list, not an instances file of COCO with images, categories and annotations");
  EXPECT_EQ(of("{}"), "has no images; an instances file of COCO has images, categories and annotations");
  EXPECT_EQ(of(R"({"images": {"a": 1}})"), "images is no list");
  EXPECT_EQ(of(R"({"images": [], "images": []})"), "images is there twice; keep one");
  EXPECT_EQ(of(R"({"images": [], "categories": [], "annotations": []})"), "lists no images");
  EXPECT_EQ(of(R"({"images": x})"), "is no valid JSON at byte 12; write it again");
  EXPECT_EQ(of(""), "ends early, after 0 bytes: it is cut off; copy it again");
  const std::string whole = test::bytes_of_file(golden + "coco/instances.json");
  for (const std::size_t bytes : {std::size_t{1}, whole.size() / 2, whole.size() - 1})
    EXPECT_EQ(of(whole.substr(0, bytes)),
              fmt::format("ends early, after {} bytes: it is cut off; copy it again", bytes));
  // Depth costs a bit each.
  EXPECT_EQ(of(R"({"info": )" + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}"),
            "has no images; an instances file of COCO has images, categories and annotations");
}

TEST(Voc, TheGoldenFolder) {
  const Annotations all = read_voc(golden + "voc", "", "");
  ASSERT_EQ(all.concepts.size(), 20U);
  EXPECT_EQ(all.concepts[11], "dog");
  ASSERT_EQ(all.images.size(), 4U);
  EXPECT_EQ(all.images[0].name, "2007_000001.jpg");
  ASSERT_EQ(all.images[0].objects.size(), 2U);
  EXPECT_EQ(all.images[0].objects[0].concept_index, 11);
  EXPECT_EQ(all.images[0].objects[0].box, (std::array<double, 4>{0, 0, 6, 4}));
  EXPECT_FALSE(all.images[0].objects[0].difficult);
  EXPECT_EQ(all.images[0].objects[1].box, (std::array<double, 4>{6, 4, 12, 8}));
  EXPECT_TRUE(all.images[0].objects[1].difficult);
  EXPECT_EQ(all.images[0].label_map, golden + "voc/SegmentationClass/2007_000001.png");
  EXPECT_TRUE(all.images[1].objects.empty() && all.images[1].label_map.empty());
  EXPECT_TRUE(all.images[3].objects.empty());
  const Annotations split = read_voc(golden + "voc", golden + "voc/ImageSets/Main/dog_val.txt", "");
  ASSERT_EQ(split.images.size(), 2U);
  EXPECT_EQ(split.images[0].name, "2007_000003.jpg");  // in its order
}

TEST(VocErrors, Folders) {
  const TempDir dir;
  const std::string root = dir / "voc";
  EXPECT_EQ(message_of([&] { read_voc(root, "", ""); }),
            root + ": has no folder JPEGImages; name the one that holds it, as VOCdevkit/VOC2012");
  std::filesystem::create_directories(root + "/JPEGImages");
  EXPECT_EQ(
      message_of([&] { read_voc(root, "", ""); }),
      root + ": has neither Annotations nor SegmentationClass; without them, pack " + root + "/JPEGImages");
  std::filesystem::create_directories(root + "/Annotations");
  put_file(root + "/JPEGImages/a.jpg", std::string_view("x"));
  EXPECT_EQ(message_of([&] { read_voc(root, "", ""); }), "no error");
  const std::string split = dir / "val.txt";
  put_file(split, std::string_view("a\nb 1\n"));
  EXPECT_EQ(message_of([&] { read_voc(root, split, ""); }),
            split + ":2: b is not in " + root + "/JPEGImages");
  put_file(split, std::string_view("a\n\na\n"));
  EXPECT_EQ(message_of([&] { read_voc(root, split, ""); }), split + ":3: a is there twice; remove one");
  put_file(root + "/JPEGImages/a.png", std::string_view("x"));
  EXPECT_EQ(message_of([&] { read_voc(root, "", ""); }),
            root + "/JPEGImages/a.jpg and " + root + "/JPEGImages/a.png are called alike; keep one of them");
}

TEST(VocErrors, Xml) {
  const auto of = [](const std::string& xml) {
    AnnotatedImage image;
    return message_of([&] { read_voc_xml(xml, "a.xml", {"cat", "dog, hound"}, image); });
  };
  const auto object = [&](const std::string& inside) {
    return of("<annotation><object>" + inside + "</object></annotation>");
  };
  const std::string box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax> 2.5 </xmax><ymax>3</ymax></bndbox>";
  EXPECT_EQ(object("<name>cat</name>" + box), "no error");
  EXPECT_EQ(object("<name>hound</name>" + box), "no error");
  EXPECT_EQ(of("<annotation><object>"),
            "a.xml: is no XML: Start-end tags mismatch at byte 19; write it again");
  EXPECT_EQ(of("<note/>"), "a.xml: has no <annotation>, it is no annotation of VOC");
  EXPECT_EQ(object(box), "a.xml: object 1: has no name; write <name>");
  EXPECT_EQ(object("<name>owl</name>" + box),
            "a.xml: object 1: is a 'owl', which is none of the 2 classes; name those of this dataset with "
            "--classes");
  EXPECT_EQ(object("<name>cat</name>"), "a.xml: object 1: has no box; write <bndbox>");
  EXPECT_EQ(object("<name>cat</name><bndbox><xmin>one</xmin></bndbox>"),
            "a.xml: object 1: xmin is 'one'; a number is needed");
  EXPECT_EQ(object("<name>cat</name><difficult>x</difficult>" + box),
            "a.xml: object 1: difficult is 'x'; a number is needed");
  EXPECT_EQ(
      object("<name>cat</name><bndbox><xmin>5</xmin><ymin>1</ymin><xmax>2</xmax><ymax>3</ymax></bndbox>"),
      "a.xml: object 1: its box begins at (5, 1) but ends at (2, 3); correct it");
  // Entities are not expanded, so a billion laughs are none.
  EXPECT_EQ(of("<!DOCTYPE x [<!ENTITY a 'cat'><!ENTITY b SYSTEM "
               "'/etc/passwd'>]><annotation><object><name>&b;</name>" +
               box + "</object></annotation>"),
            "a.xml: object 1: is a '&b;', which is none of the 2 classes; name those of this dataset with "
            "--classes");
}

TEST(LabelMaps, NamesOfClasses) {
  const TempDir dir;
  const auto read = [&](const std::string& text) {
    put_file(dir / "c.txt", std::string_view(text));
    return read_class_names(dir / "c.txt");
  };
  EXPECT_EQ(read("wall\n building, edifice \r\n\nsky"), (Names{"wall", "building, edifice", "sky"}));
  EXPECT_EQ(message_of([&] { read("a\nb\na\n"); }),
            dir / "c.txt" + ":3: 'a' stands in line 1 already; give each class a name of its own");
  EXPECT_TRUE(is_synonym("edifice", "building, edifice"));
  EXPECT_FALSE(is_synonym("edif", "building, edifice"));
}

TEST(LabelMaps, Values) {
  const std::string map = golden + "ade/annotations/val/1.png";
  constexpr std::uint16_t i = LabelMap::ignore;
  const auto first_row = [&](const ClassNumbers& numbers) {
    const LabelMap labels = read_label_map(map, numbers);
    EXPECT_EQ(labels.height, 4);
    EXPECT_EQ(labels.width, 6);
    return std::vector(labels.labels.begin(), labels.labels.begin() + 6);
  };
  EXPECT_EQ(first_row({3, false, {255}}), (std::vector<std::uint16_t>{0, 1, 1, 2, 3, i}));
  EXPECT_EQ(first_row({4, true, {255}}), (std::vector<std::uint16_t>{1, 2, 2, 3, 4, i}));
  EXPECT_EQ(first_row({3, false, {255, 0}}), (std::vector<std::uint16_t>{i, 1, 1, 2, 3, i}));
  EXPECT_EQ(message_of([&] {
              first_row({2, false, {255}});
            }),
            map +
                ": the pixel at x 4, y 0 is of class 3, but there are 2 classes, from 1 on; name all of "
                "them, or leave "
                "it out with --ignore 3");
  EXPECT_EQ(message_of([&] {
              first_row({3, true, {255}});
            }),
            map +
                ": the pixel at x 4, y 0 is of class 3, but there are 3 classes, from 0 on; name all of "
                "them, or leave "
                "it out with --ignore 3");
  EXPECT_EQ(read_label_map(golden + "ade/annotations/val/2.png", {300, false, {}}).labels[1],
            300);  // 16 bits
  const std::string color = golden + "cityscapes/gtFine/frankfurt/frankfurt_000000_000294_gtFine_color.png";
  EXPECT_EQ(message_of([&] {
              read_label_map(color, {3, false, {}});
            }),
            color + ": holds colours; class numbers are one channel, grey or of a palette");
}

TEST(LabelMaps, AreFoundByTheNameOfTheImage) {
  EXPECT_EQ(LabelMapFolder(golden + "ade/annotations").find("val/1.jpg"),
            golden + "ade/annotations/val/1.png");
  EXPECT_EQ(LabelMapFolder(golden + "ade/annotations").find("1.jpg"), golden + "ade/annotations/val/1.png");
  EXPECT_EQ(LabelMapFolder(golden + "ade/annotations").find("val/3.jpg"), "");
  EXPECT_EQ(LabelMapFolder(golden + "cityscapes/gtFine").find("val/frankfurt_000000_000294_leftImg8bit.png"),
            golden + "cityscapes/gtFine/frankfurt/frankfurt_000000_000294_gtFine_labelTrainIds.png");
  const TempDir dir;
  EXPECT_EQ(message_of([&] { LabelMapFolder(dir / "none"); }),
            dir / "none: is no folder; --label-maps names one");
  EXPECT_EQ(message_of([&] { LabelMapFolder{dir.str()}; }),
            dir.str() + ": holds no PNG; --label-maps names a folder of class numbers");
  for (const char* place : {"a", "b"}) {
    std::filesystem::create_directories(dir / place);
    put_file(dir / place + "/1.png", std::string_view("x"));
  }
  const LabelMapFolder maps(dir.str());
  EXPECT_EQ(maps.find("b/1.jpg"), dir / "b/1.png");  // laid out like the images
  EXPECT_EQ(message_of([&] { maps.find("c/1.jpg"); }),
            "c/1.jpg: both " + dir / "a/1.png" + " and " + dir / "b/1.png" +
                " could be its label map; keep one, or lay them out like the images");
}

TEST(PngSamples, OfEveryDepth) {
  const auto of = [](const std::string& path) {
    const std::string bytes = test::bytes_of_file(path);
    return decode_png_samples({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path);
  };
  const PngSamples palette = of(golden + "voc/SegmentationClass/2007_000001.png");
  EXPECT_EQ(palette.height, 8);
  EXPECT_EQ(palette.width, 12);
  EXPECT_EQ(palette.values[0], 12);
  EXPECT_EQ(palette.values[6], 255);
  EXPECT_EQ(of(golden + "ade/annotations/val/2.png").values[1], 300);
  EXPECT_EQ(message_of([&] { of(golden + "voc/JPEGImages/2007_000001.jpg"); }),
            golden + "voc/JPEGImages/2007_000001.jpg: is no PNG; class numbers are read from PNG");
}

}  // namespace
}  // namespace vitral::data
