// How a pretrained image tower wants its images, as the files beside its weights say it: transformers'
// preprocessor_config.json, open_clip's preprocess_cfg. The pixels are those of transformers' processors on
// Pillow (CLIPImageProcessorPil, SiglipImageProcessorPil, BitImageProcessorPil, ...) and of open_clip's
// evaluation transform on Pillow, bit for bit.
#pragma once
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "data/images/transform.h"
#include "models/pixels.h"

namespace vitral::models {

struct Preprocessing {
  ChannelStatistics statistics = clip_statistics;
  bool statistics_given = false;  // by a file

  data::ResizeCrop resize_crop;
  bool resize_crop_given = false;  // by a file
  int size = 0;                    // side in pixels of what comes out; 0: as the tower wants
  std::string file;                // that says so
  std::string problem;             // what in it no ResizeCrop does, one line; "": nothing
};

/// A preprocessor of transformers; what it leaves out is the default of its image_processor_type there. Error
/// naming `file`: mean, std or sizes that are none. Statistics hold whatever `problem` says of the rest.
Preprocessing parse_image_processor(const nlohmann::json& config, const std::string& file);

/// Back: a preprocessor_config.json of CLIPImageProcessor for a tower that reads image_size x image_size
/// pixels. UsageError as resize_crop_for().
std::string format_image_processor(const Preprocessing& preprocessing, int image_size);

/// open_clip's preprocess_cfg. Its size is left out: there, too, that of the model goes first.
Preprocessing parse_preprocess_cfg(const nlohmann::json& config, const std::string& file);

/// "shorter edge to 256, bicubic, margins to even": distinguishes any two.
std::string describe(const data::ResizeCrop& how);

/// How images come to a tower that reads image_size x image_size pixels. UsageError: the file wants what
/// ResizeCrop cannot do, or makes images of another size.
const data::ResizeCrop& resize_crop_for(const Preprocessing& preprocessing, int image_size);

}  // namespace vitral::models
