#include "data/weights/torch_write.h"

#include <cstring>

#include <gtest/gtest.h>
#include <zip.h>

#include "base/random.h"
#include "data/weights/torch_file.h"
#include "data/weights/weights.h"
#include "tests/python.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::TempDir;

// Every dtype, and shapes from a number to nothing.
NamedTensors all_kinds() {
  NamedTensors out;
  Random random(5);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 5}, Shape{0, 4}, Shape{2, 1, 3, 2}, Shape{300}})
    for (const DType dtype :
         {DType::float32, DType::float64, DType::float16, DType::bfloat16, DType::uint8, DType::int64}) {
      Tensor t(shape, DType::float64);
      for (std::int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = 100 * random.uniform();
      out.emplace_back(fmt::format("{}.{}", name(dtype), out.size()), t.cast(dtype));
    }
  return out;
}

void expect_equal(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_EQ(a[i].second.dtype(), b[i].second.dtype()) << a[i].first;
    ASSERT_EQ(a[i].second.shape(), b[i].second.shape()) << a[i].first;
    EXPECT_EQ(std::memcmp(a[i].second.raw(), b[i].second.raw(), a[i].second.bytes()), 0) << a[i].first;
  }
}

TEST(TorchWrite, IsReadBackBitForBit) {
  const TempDir dir;
  const NamedTensors tensors = all_kinds();
  const std::map<std::string, std::string> metadata{{"model.width", "512"}, {"name", "f\xc3\xbcnf \"5\""}};
  write_torch_file(dir / "a.pt", tensors, metadata);
  const WeightsFile read = read_torch_file(dir / "a.pt");
  expect_equal(read.tensors, tensors);
  EXPECT_EQ(read.metadata, metadata);
  write_torch_file(dir / "b.pt", read.tensors, read.metadata);
  EXPECT_EQ(bytes_of_file(dir / "a.pt"), bytes_of_file(dir / "b.pt"));
  write_torch_file(dir / "c.pt", tensors);
  EXPECT_TRUE(read_torch_file(dir / "c.pt").metadata.empty());
}

TEST(TorchWrite, Int8IsRefused) {
  const TempDir dir;
  EXPECT_EQ(message_of([&] {
              write_torch_file(dir / "a.pt", {{"w", Tensor::zeros({2}, DType::int8)}});
            }),
            dir / "a.pt" + ": tensor 'w' is int8; write it as .safetensors");
}

TEST(TorchWrite, TheArchiveIsConsistentAndItsEntriesAreAligned) {
  const TempDir dir;
  write_torch_file(dir / "a.pt", all_kinds());
  const std::string bytes = bytes_of_file(dir / "a.pt");
  int code = 0;
  zip_t* zip = zip_open((dir / "a.pt").c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code);
  ASSERT_NE(zip, nullptr) << code;
  EXPECT_EQ(zip_get_num_entries(zip, 0), 3 + 36);
  zip_discard(zip);
  int entries = 0;
  for (std::size_t at = 0; bytes.compare(at, 4, "PK\3\4") == 0; ++entries) {
    const auto number = [&](std::size_t offset, std::size_t size) {
      std::uint32_t value = 0;
      std::memcpy(&value, bytes.data() + at + offset, size);
      return value;
    };
    const std::size_t begin = at + 30 + number(26, 2) + number(28, 2);
    EXPECT_EQ(begin % 64, 0U);
    at = begin + number(18, 4);
  }
  EXPECT_EQ(entries, 39);
}

TEST(TorchWrite, WhatCannotBeWrittenLeavesNothing) {
  const TempDir dir;
  const std::string path = dir / "a.pt";
  const Tensor t = Tensor::zeros({2});
  EXPECT_EQ(message_of([&] {
              write_torch_file(path, {{"w", t}, {"w", t}});
            }),
            path + ": the name 'w' is there twice");
  EXPECT_EQ(message_of([&] {
              write_torch_file(path, {{"w", Tensor()}});
            }),
            path + ": tensor 'w' is undefined");
  EXPECT_EQ(message_of([&] {
              write_torch_file(path, {{"w\xff", t}});
            }),
            path + ": 'w\xff' is not valid UTF-8; names and metadata must be");
  EXPECT_EQ(message_of([&] {
              write_torch_file(path, {{"w", t}}, {{"k", "\xff"}});
            }),
            path + ": '\xff' is not valid UTF-8; names and metadata must be");
  EXPECT_TRUE(std::filesystem::is_empty(dir.str()));
  EXPECT_NE(message_of([&] { write_torch_file(dir / "none" + "/a.pt", {{"w", t}}); }), "no error");
}

TEST(TorchWrite, DamagedMetadataIsRefused) {
  const TempDir dir;
  write_torch_file(dir / "a.pt", {{"w", Tensor::zeros({2})}}, {{"key", "value"}});
  std::string bytes = bytes_of_file(dir / "a.pt");
  bytes[bytes.find("\"value\"")] = 'x';
  test::put_file(dir / "a.pt", bytes);
  EXPECT_NE(
      message_of([&] { read_torch_file(dir / "a.pt"); }).find("extra/metadata.json is truncated or damaged"),
      std::string::npos);
}

TEST(TorchWrite, TorchLoadsWeightsOnly) {
  VITRAL_NEEDS_PYTHON("torch");
  const TempDir dir;
  write_torch_file(dir / "a.pt", all_kinds(), {{"model.width", "512"}});
  write_safetensors(dir / "a.safetensors", all_kinds());
  const auto r = test::python({"tests/reference/check_torch_file.py", dir / "a.pt", dir / "a.safetensors"});
  EXPECT_EQ(r.status, 0) << r.out;
  EXPECT_TRUE(r.out.starts_with("36 tensors, equal")) << r.out;
}

}  // namespace
}  // namespace vitral::data
