// What `vitral convert --dtype int8` calibrates with, and what it says of the result.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "models/student/int8.h"

namespace vitral::cli {

/// The images of datasets, or of files and folders, in the size that a student sees; none of them is kept.
/// What does not decode is reported once and left out. UsageError: no such file; Error: none decodes.
models::ImageBatches calibration_images(const std::vector<std::string>& inputs, int size);

nlohmann::ordered_json json_of(const models::Int8Student& student);
void print(const models::Int8Student& student);

}  // namespace vitral::cli
