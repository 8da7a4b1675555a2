// Images with what others have noted of them (data/annotations/), as a dataset holds it: boxes in 0..1,
// labels at the size of the stored image, both turned as the image is.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/files/input_file.h"
#include "data/annotations/annotations.h"
#include "data/dataset.h"
#include "data/image_files.h"

namespace vitral::data {

/// Where annotations lie: one of the three, or none.
struct AnnotationOptions {
  std::string voc = {}, split = {};       // a folder as VOC's, a list of some of its images
  std::string coco = {}, images = {};     // an instances file of COCO, the folder of its images
  std::string label_maps = {};            // a folder of PNGs of class numbers for the images that are packed
  std::string classes = {};               // names of classes, one a line: of label maps, and of another VOC
  std::vector<std::int64_t> ignore = {};  // values of label maps that are not known
  bool zero_is_class = false;             // of label maps

  bool given() const { return !(voc.empty() && coco.empty() && label_maps.empty()); }
  /// Whether they name the images, too.
  bool name_images() const { return !(voc.empty() && coco.empty()); }
};

/// UsageError: options that do not belong together.
void check_annotation_options(const AnnotationOptions& options);

class AnnotatedImages {
 public:
  /// Reads VOC's or COCO's annotations. Throws as read_voc() and read_coco().
  explicit AnnotatedImages(const AnnotationOptions& options);

  /// The images that they name; none with label maps.
  std::vector<ImageFile> files() const;
  /// Those that are packed, after all limits. UsageError: one is not there; of label maps: none has the name
  /// of an image, or as LabelMapFolder.
  void choose(const std::vector<ImageFile>& files);

  bool has_masks() const { return annotations_.has_masks; }
  const std::vector<std::string>& concepts() const { return annotations_.concepts; }

  struct Notes {
    Dataset::Size size;                       // of the image, turned
    std::vector<std::array<float, 4>> boxes;  // of the objects: x0, y0, x1, y1 in 0..1
    LabelMap labels;                          // 0 x 0: nothing is known
    const AnnotatedImage* image = nullptr;    // whose objects they are
  };
  /// Of an image whose file has so many pixels and notes this orientation, which is applied or not; stretched
  /// to `stored`, where that is given. Error: an image, a map or a mask of another size, and those of
  /// clip_boxes() and paint_objects().
  Notes notes_of(const std::string& name, Dataset::Size pixels, int orientation, Exif exif,
                 const std::optional<Dataset::Size>& stored) const;

  /// Collects the objects of one dataset file.
  class Objects {
   public:
    explicit Objects(const AnnotatedImages& from) : from_(&from) {}
    void add(std::int64_t image, const Notes& notes);
    Concepts concepts() const;
    std::int64_t count() const { return static_cast<std::int64_t>(all_.image.size()); }

   private:
    const AnnotatedImages* from_;
    Concepts all_;
    std::vector<float> boxes_;
  };

 private:
  AnnotationOptions options_;
  Annotations annotations_;
  std::optional<InputFile> coco_;
  std::unordered_map<std::string, std::size_t> place_;  // of an image by its name
};

}  // namespace vitral::data
