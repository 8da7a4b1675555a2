// Inside infer/ only: the files of infer/show/report/, which the build puts into the program.
#pragma once
#include <string_view>

namespace vitral::infer::report_assets {

extern const std::string_view page, style, explorer, curves;

}  // namespace vitral::infer::report_assets
