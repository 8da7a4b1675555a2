// The writing half of H5Library.
#include <algorithm>
#include <iterator>
#include <utility>

#include "data/hdf5/library.h"

namespace vitral::data {
namespace {

std::vector<hsize_t> extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

// Datasets carry no time of writing, so that equal contents give equal files.
Handle dataset_creation() {
  Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation, false);
  return creation;
}

Handle create_dataset(hid_t file, const std::string& name, hid_t type, hid_t space, hid_t creation) {
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  return {H5Dcreate2(file, name.c_str(), type, space, links, creation, H5P_DEFAULT), H5Dclose};
}

// Chunks wait in the dataset's own cache. What the disk refuses when that is emptied must be told here: the
// library drops the chunk, and closing the file finds nothing wrong.
bool write_through(Handle& dataset, hid_t type, hid_t memory, hid_t space, const void* values) {
  return H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, values) >= 0 && H5Dflush(dataset) >= 0;
}

}  // namespace

std::string as_utf8(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t k) {
      return at + k < text.size() ? static_cast<unsigned char>(text[at + k]) : 0U;
    };
    const unsigned lead = byte(0), second = byte(1);
    // The Unicode Standard, table 3-7: well-formed byte sequences.
    const std::size_t length = lead < 0x80                    ? 1
                               : lead >= 0xc2 && lead <= 0xdf ? 2
                               : lead >= 0xe0 && lead <= 0xef ? 3
                               : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                              : 0;
    bool valid = length > 0;
    for (std::size_t k = 1; k < length; ++k) valid = valid && (byte(k) & 0xc0) == 0x80;
    if (lead == 0xe0) valid = valid && second >= 0xa0;  // else longer than needed
    if (lead == 0xed) valid = valid && second <= 0x9f;  // else half a pair of UTF-16
    if (lead == 0xf0) valid = valid && second >= 0x90;  // as at 0xe0
    if (lead == 0xf4) valid = valid && second <= 0x8f;  // else beyond U+10FFFF
    if (valid)
      out += text.substr(at, length);
    else
      out += fmt::format("\\x{:02x}", lead);
    at += valid ? length : 1;
  }
  return out;
}

void H5Library::write(const std::string& name, const Tensor& values, std::int64_t chunk_rows) {
  auto dims = extents(values.shape());
  const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  const Handle creation = dataset_creation();
  if (chunk_rows > 0 && values.numel() > 0) {
    dims[0] = std::min<hsize_t>(dims[0], static_cast<hsize_t>(chunk_rows));
    H5Pset_chunk(creation, static_cast<int>(dims.size()), dims.data());
  }
  Handle dataset = create_dataset(file_, name, memory_type(values.dtype()), space, creation);
  if (dataset < 0) fail(name + " cannot be created");
  const bool written = values.numel() == 0 ||
                       write_through(dataset, memory_type(values.dtype()), H5S_ALL, H5S_ALL, values.raw());
  if (!written || !dataset.close()) fail(name + " cannot be written");
}

void H5Library::write_uint64(const std::string& name, const std::vector<std::uint64_t>& values,
                             const Shape& shape) {
  VITRAL_CHECK(static_cast<std::int64_t>(values.size()) == shape.numel(), "hdf5: {} values do not fill {}",
               values.size(), shape);
  const auto dims = extents(shape);
  const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  Handle dataset = create_dataset(file_, name, H5T_STD_U64LE, space, dataset_creation());
  if (dataset < 0) fail(name + " cannot be created");
  const bool written =
      values.empty() || write_through(dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, values.data());
  if (!written || !dataset.close()) fail(name + " cannot be written");
}

void H5Library::write_strings(const std::string& name, const std::vector<std::string>& values,
                              const Shape& shape) {
  VITRAL_CHECK(static_cast<std::int64_t>(values.size()) == shape.numel(), "hdf5: {} strings do not fill {}",
               values.size(), shape);
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const auto dims = extents(shape);
  const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
  Handle dataset = create_dataset(file_, name, type, space, dataset_creation());
  if (dataset < 0) fail(name + " cannot be created");
  std::vector<std::string> texts;
  std::vector<const char*> pointers;
  std::transform(values.begin(), values.end(), std::back_inserter(texts), as_utf8);
  pointers.reserve(texts.size());
  for (const auto& text : texts) pointers.push_back(text.c_str());
  const bool written = values.empty() || write_through(dataset, type, H5S_ALL, H5S_ALL, pointers.data());
  if (!written || !dataset.close()) fail(name + " cannot be written");
}

void H5Library::remove_attribute(const std::string& name, const std::string& object) {
  if (H5Aexists_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT) > 0 &&
      H5Adelete_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT) < 0)
    fail("attribute " + name + " cannot be replaced");
}

void H5Library::remove(const std::string& name) {
  if (H5Ldelete(file_, name.c_str(), H5P_DEFAULT) < 0) fail(name + " cannot be removed");
}

void H5Library::rename(const std::string& from, const std::string& to) {
  if (H5Lmove(file_, from.c_str(), file_, to.c_str(), H5P_DEFAULT, H5P_DEFAULT) < 0)
    fail(from + " cannot be renamed");
}

void H5Library::set_attribute(const std::string& name, const std::string& value, const std::string& object) {
  remove_attribute(name, object);
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  Handle attribute(H5Acreate_by_name(file_, object.c_str(), name.c_str(), type, space, H5P_DEFAULT,
                                     H5P_DEFAULT, H5P_DEFAULT),
                   H5Aclose);
  const std::string text = as_utf8(value);
  const char* pointer = text.c_str();
  if (attribute < 0 || H5Awrite(attribute, type, &pointer) < 0 || !attribute.close())
    fail("attribute " + name + " cannot be written");
}

void H5Library::create_growing(const std::string& name, const Shape& row, DType dtype,
                               std::int64_t chunk_rows) {
  create_growing_of(memory_type(dtype), name, row, chunk_rows);
}

void H5Library::create_growing_uint16(const std::string& name, const Shape& row, std::int64_t chunk_rows) {
  create_growing_of(H5T_NATIVE_UINT16, name, row, chunk_rows);
}

void H5Library::append(const std::string& name, const Tensor& rows) {
  append_of(memory_type(rows.dtype()), name, rows.dim(0), rows.raw());
}

void H5Library::append_uint16(const std::string& name, const std::vector<std::uint16_t>& rows) {
  const Shape shape = layout(name).shape;
  const std::int64_t row = shape.product(1, shape.rank());
  const auto count = static_cast<std::int64_t>(rows.size());
  VITRAL_CHECK(row > 0 && count % row == 0, "hdf5: {} values are no rows of {}", count, shape);
  append_of(H5T_NATIVE_UINT16, name, count / row, rows.data());
}

void H5Library::create_growing_of(hid_t type, const std::string& name, const Shape& row,
                                  std::int64_t chunk_rows) {
  std::vector<hsize_t> dims{0}, most{H5S_UNLIMITED}, chunk{static_cast<hsize_t>(chunk_rows)};
  for (auto d : row) {
    dims.push_back(static_cast<hsize_t>(d));
    most.push_back(static_cast<hsize_t>(d));
    chunk.push_back(static_cast<hsize_t>(d));
  }
  const Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), most.data()), H5Sclose);
  const Handle creation = dataset_creation();
  H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
  Handle dataset = create_dataset(file_, name, type, space, creation);
  if (dataset < 0 || !dataset.close()) fail(name + " cannot be created");
}

void H5Library::append_of(hid_t type, const std::string& name, std::int64_t rows, const void* values) {
  Handle dataset(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  auto size = extents(layout(name).shape);
  auto count = size;
  count[0] = static_cast<hsize_t>(rows);
  std::vector<hsize_t> start(count.size(), 0);
  start[0] = size[0];
  size[0] += count[0];
  if (H5Dset_extent(dataset, size.data()) < 0) fail(name + " cannot be extended");
  const Handle target(H5Dget_space(dataset), H5Sclose);
  H5Sselect_hyperslab(target, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
  const Handle source(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  if (!write_through(dataset, type, source, target, values) || !dataset.close())
    fail(name + " cannot be written");
}

void H5Library::close() {
  open_.clear();
  const herr_t flushed = H5Fflush(file_, H5F_SCOPE_GLOBAL);
  const herr_t closed = H5Fclose(std::exchange(file_, -1));
  if (flushed < 0 || closed < 0) fail("cannot be written");
}

}  // namespace vitral::data
