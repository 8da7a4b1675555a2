// Images in Parquet files, as datasets of Hugging Face hold them; compiled where Apache Arrow is (-Dparquet).
//
// The image column: the first struct<bytes, path>, else a binary one (the one called `image` before others),
// whose first rows begin as images do. Captions: a column of strings called `caption`, else `text`.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/image_files.h"

namespace vitral::data {

#ifdef VITRAL_PARQUET
inline constexpr bool reads_parquet = true;
#else
inline constexpr bool reads_parquet = false;  // then nothing below is there
#endif

/// One for each row, at `position`. Called by the row's path where it has one that no other row has, else
/// FILE.parquet/ROW.png: rows count from 0, the suffix is that of the bytes. UsageError: no image column;
/// Error: damaged; ReadError.
std::vector<ImageFile> list_parquet(const std::string& path);

/// Gives the bytes of rows, asked for in ascending order; no more than a page of the file is in memory.
/// Error: damaged, or the row has none; ReadError.
std::function<std::vector<std::uint8_t>(std::int64_t row)> parquet_rows(const std::string& path);

}  // namespace vitral::data
