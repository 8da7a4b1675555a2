// Pascal VOC's folder, and those that others lay out like it:
//   JPEGImages/NAME.jpg   Annotations/NAME.xml   SegmentationClass/NAME.png   ImageSets/.../val.txt
#pragma once
#include <string>

#include "data/annotations/annotations.h"

namespace vitral::data {

/// The images of `split`, a text file with one name a line (what stands behind it on the line does not
/// count), in its order; where that is "", all of JPEGImages by name. What they show: Annotations (boxes are
/// 1-based and include their last pixel there: xmin - 1, ymin - 1, xmax, ymax) and SegmentationClass (palette
/// index: 0 background, then the classes in their order, 255 not known). `classes`: a file of the names of
/// the classes, one a line; "": VOC's twenty. An image without XML has no objects, one without PNG no mask.
///
/// UsageError: no such folder, neither Annotations nor SegmentationClass, an image of the split that is not
/// there, or twice; Error: damaged XML, an object without name or box, of an unknown class.
Annotations read_voc(const std::string& folder, const std::string& split, const std::string& classes);

/// One XML file into `image`: its size and objects. `name` for messages.
void read_voc_xml(std::string_view xml, const std::string& name, const std::vector<std::string>& concepts,
                  AnnotatedImage& image);

}  // namespace vitral::data
