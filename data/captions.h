// What people say of images: files of captions, and captions beside the images.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/image_files.h"

namespace vitral::data {

inline constexpr std::size_t longest_caption = 1 << 16;    // bytes
inline constexpr std::size_t most_captions = 64;           // of one image
inline constexpr std::string_view blanks = " \t\r\n\v\f";  // a caption of these alone is none

struct NamedCaption {
  std::string image;      // as the file names it
  std::string text;       // as it stands there, maybe blank
  std::int64_t line = 0;  // where it stands; 0: lines say nothing (COCO)

  /// "captions.tsv:3", for messages.
  std::string place(const std::string& path) const;
};

/// All captions of a file (or pipe; "-" is standard input), in its order; any number of an image. Blank lines
/// are skipped. One of:
///   photos/3.jpg<TAB>an owl on a barn                         a table, or
///   filepath<TAB>title, then rows                             one with a header, as open_clip's: also
///                                                             image and caption, other columns, and commas
///                                                             (with quotes, as CSV has them)
///   {"name": "photos/3.jpg", "caption": "an owl on a barn"}   JSON, one object a line, "captions" being a
///                                                             list of them
///   {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}   COCO's captions file, of
///                                                             any size: read as a stream
/// UsageError, with file and line: another form, no valid UTF-8, a caption of more than 2^16 bytes, none at
/// all; Error: a COCO file that is damaged.
void read_caption_file(const std::string& path, const std::function<void(const NamedCaption&)>& take);

/// Gives each image the captions that such a file has of it, and no others. An image is named by its name, by
/// its path (as given, absolute or from the current folder; of a member ARCHIVE/MEMBER), or by the last part
/// of its name where no other image shares that. UsageError: names of no image (how many, and the first), or
/// of several; an image with more than most_captions.
void give_captions(const std::string& path, std::vector<ImageFile>& images);

/// The lines of a text that are not blank, without blanks around them: what photo.txt says of photo.jpg.
std::vector<std::string> captions_in(std::string_view text);

/// What keeps captions from being stored: "" where nothing does.
std::string caption_problem(const std::vector<std::string>& captions);

}  // namespace vitral::data
