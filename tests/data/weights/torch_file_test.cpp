#include "data/weights/torch_file.h"

#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>
#include <zip.h>

#include "base/bytes.h"
#include "base/random.h"
#include "data/hdf5/file.h"
#include "data/weights/pickle.h"
#include "tests/mutated.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using namespace std::string_literals;
using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

const char* tiny = "tests/golden/tiny.pt";  // tests/reference/make_torch_file.py

// The ramp of make_torch_file.py: (start + i) / 8.
std::vector<double> ramp(int count, int start = 0, int step = 1) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back((start + i * step) / 8.0);
  return values;
}

TEST(TorchFile, ReadsEveryTensorOfOurGolden) {
  const WeightsFile file = read_torch_file(tiny);
  std::map<std::string, Tensor> t(file.tensors.begin(), file.tensors.end());
  ASSERT_EQ(t.size(), 13U);
  EXPECT_EQ(file.tensors[0].first, "conv1.weight");
  EXPECT_EQ(t["conv1.weight"].shape(), (Shape{6, 3, 2, 2}));
  EXPECT_EQ(t["conv1.weight"].to_vector(), ramp(72));
  EXPECT_EQ(t["positional_embedding"].to_vector(), ramp(24, 100));
  EXPECT_EQ(t["scale"].to_vector(), std::vector<double>{1.0});
  EXPECT_EQ(t["transposed"].shape(), (Shape{4, 3}));
  EXPECT_EQ(t["transposed"].to_vector(),
            (std::vector<double>{0, 0.5, 1, 0.125, 0.625, 1.125, 0.25, 0.75, 1.25, 0.375, 0.875, 1.375}));
  EXPECT_EQ(t["every_second"].to_vector(), ramp(5, 1, 2));
  EXPECT_EQ(t["expanded"].to_vector(), (std::vector<double>{0.625, 0.75, 0.875, 0.625, 0.75, 0.875}));
  EXPECT_EQ(t["shares_conv1"].to_vector(), ramp(12, 6));
  for (const auto& [name, dtype] :
       {std::pair{"half", DType::float16}, {"bfloat", DType::bfloat16}, {"double", DType::float64}}) {
    EXPECT_EQ(t[name].dtype(), dtype);
    EXPECT_EQ(t[name].to_vector(), ramp(5)) << name;
  }
  EXPECT_EQ(t["steps"].dtype(), DType::int64);
  EXPECT_EQ(t["steps"].to_vector(), (std::vector<double>{1, -2, 1099511627776.0}));
  EXPECT_EQ(t["bytes"].to_vector(), (std::vector<double>{0, 255}));
  EXPECT_EQ(t["empty"].shape(), (Shape{0, 4}));
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"epoch", "12"}, {"loss", "0.375"}}));
}

// What torch.jit.save writes, as OpenAI's files of CLIP are (tests/reference/make_torchscript.py).
TEST(TorchFile, ReadsTheParametersAndBuffersOfATorchScriptArchive) {
  const WeightsFile file = read_torch_file("tests/golden/tiny_torchscript.pt");
  std::map<std::string, Tensor> t(file.tensors.begin(), file.tensors.end());
  ASSERT_EQ(t.size(), 13U);
  // Parameter k of the sorted names is (i + k) % 64 / 8.
  int k = 0;
  for (const auto& [name, shape] : std::map<std::string, Shape>{{"logit_scale", {}},
                                                                {"token_embedding.weight", {10, 8}},
                                                                {"visual.class_embedding", {8}},
                                                                {"visual.conv1.weight", {8, 3, 4, 4}},
                                                                {"visual.positional_embedding", {5, 8}},
                                                                {"visual.proj", {8, 6}},
                                                                {"visual.resblocks.0.c_fc.bias", {32}},
                                                                {"visual.resblocks.0.c_fc.weight", {32, 8}},
                                                                {"visual.resblocks.0.ln_1.bias", {8}},
                                                                {"visual.resblocks.0.ln_1.weight", {8}}}) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(t.contains(name));
    EXPECT_EQ(t[name].dtype(), DType::float16);
    EXPECT_EQ(t[name].shape(), shape);
    const auto values = t[name].to_vector();
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], static_cast<double>((i + static_cast<std::size_t>(k)) % 64) / 8) << i;
    ++k;
  }
  EXPECT_EQ(t["input_resolution"].item(), 8);
  EXPECT_EQ(t["context_length"].item(), 5);
  EXPECT_EQ(t["vocab_size"].item(), 10);
}

void check_against_h5(const std::string& pt, const std::string& h5) {
  const WeightsFile file = read_torch_file(pt);
  const H5File expected = H5File::open(h5);
  EXPECT_EQ(file.tensors.size(), expected.list("state").size());
  for (const auto& [name, tensor] : file.tensors)
    EXPECT_EQ(tensor.to_vector(), expected.read("state/" + name).to_vector()) << name;
}

TEST(TorchFile, ReadsTheMaskedCheckpoint) {
  VITRAL_NEEDS_SHARED(pt, "golden/checkpoint_masked.pt");
  check_against_h5(pt, test::shared_path("golden/checkpoint_masked.h5"));
}
TEST(TorchFile, ReadsTheCheckpointSavedFromAGpu) {
  VITRAL_NEEDS_SHARED(pt, "golden/checkpoint_masked_cuda.pt");
  check_against_h5(pt, test::shared_path("golden/checkpoint_masked.h5"));
}
TEST(TorchFile, ReadsTheUnmaskedCheckpoint) {
  VITRAL_NEEDS_SHARED(pt, "golden/checkpoint_no_scale_unmasked.pt");
  check_against_h5(pt, test::shared_path("golden/checkpoint_no_scale_unmasked.h5"));
}

using Entries = std::map<std::string, std::string>;

void put_zip(const std::string& path, const Entries& entries, zip_int32_t compression = ZIP_CM_STORE) {
  std::filesystem::remove(path);
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE | ZIP_EXCL, nullptr);
  for (const auto& [name, bytes] : entries) {
    zip_source_t* source = zip_source_buffer(zip, bytes.data(), bytes.size(), 0);
    const zip_int64_t index = zip_file_add(zip, name.c_str(), source, 0);
    zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), compression, 0);
  }
  ASSERT_EQ(zip_close(zip), 0);
}

std::string text_of(const std::string& text) { return "X" + le32(text.size()) + text; }
std::string integer(std::int64_t value) { return "\x8a\x08"s + le64(static_cast<std::uint64_t>(value)); }
std::string tuple_of(const std::vector<std::int64_t>& values) {
  std::string text = "(";
  for (auto v : values) text += integer(v);
  return text + "t";
}
std::string storage(const std::string& type, const std::string& key, std::int64_t count) {
  return "(" + text_of("storage") + "ctorch\n" + type + "\n" + text_of(key) + text_of("cpu") +
         integer(count) + "tQ";
}
std::string tensor(const std::string& storage, std::int64_t offset, const std::string& sizes,
                   const std::string& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + sizes + strides +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}
// A pickle of {"w": VALUE}.
std::string holding(const std::string& value) { return "\x80\x02}" + text_of("w") + value + "s."; }
std::string good_tensor() {
  return tensor(storage("FloatStorage", "0", 6), 0, tuple_of({2, 3}), tuple_of({3, 1}));
}

class HostileTorchFile : public ::testing::Test {
 protected:
  std::string message(const Entries& entries, zip_int32_t compression = ZIP_CM_STORE) {
    put_zip(path_, entries, compression);
    const std::string text = message_of([&] { read_torch_file(path_); });
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_TRUE(text == "no error" || text.starts_with(path_ + ": ")) << text;
    return text;
  }
  std::string message(const std::string& pickle) {
    return message(Entries{{"a/data.pkl", pickle}, {"a/data/0", std::string(24, 'x')}});
  }
  TempDir folder_;
  std::string path_ = folder_ / "x.pt";
};

#define EXPECT_SAYS(expression, what) EXPECT_PRED2(contains, expression, what)
bool contains(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

TEST_F(HostileTorchFile, TheHandMadeFileIsFine) { EXPECT_EQ(message(holding(good_tensor())), "no error"); }

TEST_F(HostileTorchFile, NothingIsRun) {
  // What Python would run on loading: os.system("touch PWNED"), as a value beside the weights and in their
  // place.
  const std::string evil = "cposix\nsystem\n(" + text_of("touch " + folder_ / "PWNED") + "tR";
  EXPECT_EQ(message("\x80\x02}(" + text_of("evil") + evil + text_of("w") + good_tensor() + "u."), "no error");
  EXPECT_SAYS(message(holding(evil)), "holds no weights");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "PWNED"));
}

TEST_F(HostileTorchFile, TensorsAreCheckedAgainstTheBytes) {
  const auto with = [&](std::int64_t count, std::int64_t offset, std::vector<std::int64_t> sizes,
                        std::vector<std::int64_t> strides) {
    return message(
        holding(tensor(storage("FloatStorage", "0", count), offset, tuple_of(sizes), tuple_of(strides))));
  };
  EXPECT_SAYS(with(7, 0, {6}, {1}), "storage data/0 has 24 bytes, expected 7 elements of float32");
  EXPECT_SAYS(with(-1, 0, {6}, {1}), "expected -1 elements");
  EXPECT_SAYS(with(6, 0, {7}, {1}),
              "sizes [7] with strides [1] from 0 reach outside of its storage of 6 elements");
  EXPECT_SAYS(with(6, 1, {6}, {1}), "reach outside");
  EXPECT_SAYS(with(6, 0, {2, 3}, {4, 1}), "reach outside");
  EXPECT_SAYS(with(6, std::numeric_limits<std::int64_t>::max(), {6}, {1}), "reach outside");
  EXPECT_SAYS(with(6, 0, {2}, {std::numeric_limits<std::int64_t>::max()}), "reach outside");
  EXPECT_SAYS(with(6, 0, {1LL << 32, 1LL << 32}, {0, 0}), "reach outside");
  EXPECT_SAYS(with(6, 0, {0, 1LL << 62, 4}, {1, 1, 1}), "reach outside");
  EXPECT_SAYS(with(6, 0, {1LL << 30}, {0}), "more than twice the memory of the file");
  EXPECT_SAYS(with(6, -1, {6}, {1}), "tensor 'w' is not described as torch.save does it");
  EXPECT_SAYS(with(6, 0, {-6}, {1}), "not described");
  EXPECT_SAYS(with(6, 0, {6}, {-1}), "not described");
  EXPECT_SAYS(with(6, 0, {6}, {1, 1}), "not described");
  EXPECT_SAYS(with(6, 0, {1, 1, 1, 1, 1, 1, 1, 1, 6}, {1, 1, 1, 1, 1, 1, 1, 1, 1}), "has 9 dimensions");
  EXPECT_EQ(with(6, 6, {0}, {1}), "no error");
  EXPECT_SAYS(message(holding(tensor(storage("IntStorage", "0", 6), 0, tuple_of({6}), tuple_of({1})))),
              "tensor 'w': torch.IntStorage is not supported; convert it to float32");
  EXPECT_SAYS(message(holding(tensor(storage("FloatStorage", "../0", 6), 0, tuple_of({6}), tuple_of({1})))),
              "storage data/../0 is missing");
  EXPECT_SAYS(message(holding(tensor("N", 0, tuple_of({6}), tuple_of({1})))), "not described");
  EXPECT_SAYS(message(holding(tensor("NQ", 0, tuple_of({6}), tuple_of({1})))),
              "its storage is not described");
}

TEST_F(HostileTorchFile, BrokenPickles) {
  EXPECT_SAYS(message(""), "unexpected end at byte 0 of the pickle");
  EXPECT_SAYS(message("\x80\x02"), "unexpected end");
  EXPECT_SAYS(message("\x80\x02."), "nothing on the stack");
  EXPECT_SAYS(message("\x80\x09."), "pickle protocol 9 is not supported");
  EXPECT_SAYS(message("\x80\x02(."), "nothing on the stack");
  EXPECT_SAYS(message("\x80\x02}(."), "nothing on the stack");
  EXPECT_SAYS(message("\x80\x02u."), "no mark on the stack");
  EXPECT_SAYS(message("\x80\x02}(Nu."), "a key without a value");
  EXPECT_SAYS(message("\x80\x02NNNs."), "an item for something that holds none");
  EXPECT_SAYS(message("\x80\x02h\x05."), "a reference to nothing");
  EXPECT_SAYS(message("\x80\x02X\xff\xff\xff\xff"
                      "a."),
              "unexpected end");
  EXPECT_SAYS(message("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                      "a."),
              "unexpected end");
  EXPECT_SAYS(message("\x80\x02"
                      "cnewline"),
              "unexpected end");
  EXPECT_SAYS(message("\x80\x02NNR."), "a call without a tuple of arguments");
  EXPECT_SAYS(message("\x80\x02NN\x93."), "a global without a name");
  EXPECT_SAYS(message("\x80\x02I1\n."), "pickle opcode 0x49 at byte 2 is not supported; save the file again");
  EXPECT_SAYS(message("\x80\x02N."),
              "holds no weights: no dict of tensors at the top or under model_state_dict");
  EXPECT_SAYS(message("\x80\x02" + std::string(100'000, ')') + "."),
              "more than 85000 values in a pickle of 100003 bytes; it is damaged");
  EXPECT_SAYS(message("\x80\x04]" + std::string(100, '\x94') + "."), "more references than values");
  EXPECT_SAYS(message("\x80\x02" + std::string(4'100'000, ']') + "."), "more than 2000000 values");
  EXPECT_SAYS(message("\x80\x02" + std::string(2'100'000, 'N') + "."), "holds no weights");
}

TEST_F(HostileTorchFile, ModulesOfTorchScriptGiveTheirTensors) {
  // {visual: Block(w: tensor), scale: tensor}, as torch.jit.save writes it; and a module that contains
  // itself.
  const std::string module = "c__torch__\nBlock\n)\x81";
  const std::string block = module + "}" + text_of("w") + good_tensor() + "sb";
  put_zip(path_, {{"a/data.pkl", "\x80\x02" + module + "}(" + text_of("visual") + block + text_of("scale") +
                                     good_tensor() + text_of("training") + "\x88ub."},
                  {"a/data/0", std::string(24, '\0')}});
  const WeightsFile file = read_torch_file(path_);
  ASSERT_EQ(file.tensors.size(), 2U);
  EXPECT_EQ(file.tensors[0].first, "visual.w");
  EXPECT_EQ(file.tensors[1].first, "scale");
  EXPECT_SAYS(message("\x80\x02" + module + "q\x01}" + text_of("self") + "h\x01sb."), "holds no weights");
}

TEST_F(HostileTorchFile, DeepAndCircularStructuresAreFlat) {
  EXPECT_SAYS(message("\x80\x02)" + std::string(9'000, '\x85') + "."), "holds no weights");
  EXPECT_SAYS(message("\x80\x02}q\x01" + text_of("model") + "h\x01s."), "holds no weights");
  EXPECT_SAYS(message("\x80\x02]q\x01h\x01"
                      "a."),
              "holds no weights");
}

TEST_F(HostileTorchFile, BrokenArchives) {
  EXPECT_SAYS(message(Entries{{"a.txt", "x"}}),
              "a zip archive without data.pkl, so not a file of torch.save");
  EXPECT_SAYS(message(Entries{{"a/data.pkl", holding(good_tensor())}}),
              "tensor 'w': storage data/0 is missing");
  EXPECT_SAYS(message(Entries{{"a/data.pkl", std::string(100, 'N')}}, ZIP_CM_DEFLATE), "is compressed");
  EXPECT_SAYS(message(Entries{{"a/data.pkl", "N."}, {"a/byteorder", "big"}}),
              "saved on a big-endian machine");
  put_file(path_, "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.");
  EXPECT_SAYS(message_of([&] { read_torch_file(path_); }), "not a zip archive as torch.save writes it");
  EXPECT_SAYS(message_of([&] { read_torch_file(folder_ / "none.pt"); }), "no such file");
}

TEST_F(HostileTorchFile, DamagedBytesOfAStorageAreNoticed) {
  std::string bytes = bytes_of_file(tiny);
  const std::size_t at = bytes.find(std::string("\x00\x00\x00\x3e\x00\x00\x80\x3e", 8));  // 0.125, 0.25
  ASSERT_NE(at, std::string::npos);
  bytes[at + 1] ^= 1;
  put_file(path_, bytes);
  EXPECT_SAYS(message_of([&] { read_torch_file(path_); }), "is truncated or damaged (CRC error)");
}

TEST_F(HostileTorchFile, EveryTruncationIsAnError) {
  const std::string bytes = bytes_of_file(tiny);
  for (std::size_t size = 0; size < bytes.size(); size += 7) {
    put_file(path_, bytes.substr(0, size));
    EXPECT_THROW(read_torch_file(path_), Error) << size;
  }
}

TEST_F(HostileTorchFile, RandomMutantsNeverCrash) {
  const std::string original = bytes_of_file(tiny);
  Entries entries;
  {
    zip_t* zip = zip_open(tiny, ZIP_RDONLY, nullptr);
    for (zip_int64_t i = 0; i < zip_get_num_entries(zip, 0); ++i) {
      const auto index = static_cast<zip_uint64_t>(i);
      zip_stat_t status;
      zip_stat_index(zip, index, 0, &status);
      std::string bytes(status.size, '\0');
      zip_file_t* entry = zip_fopen_index(zip, index, 0);
      zip_fread(entry, bytes.data(), bytes.size());
      zip_fclose(entry);
      entries[status.name] = bytes;
    }
    zip_discard(zip);
  }
  const std::string pickle = entries.at("tiny/data.pkl");
  constexpr std::string_view opcodes = "().0NRQbceustqhrj]}KX\x85\x86\x87\x88\x89\x8a";
  Random random(11);
  int read = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    if (i % 2) {
      put_file(path_, test::mutated(original, opcodes, random));
    } else {  // a whole archive, so that the pickle is reached
      entries["tiny/data.pkl"] = test::mutated(pickle, opcodes, random);
      put_zip(path_, entries);
    }
    try {
      for (const auto& [name, tensor] : read_torch_file(path_).tensors) static_cast<void>(tensor.to_vector());
      ++read;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace vitral::data
