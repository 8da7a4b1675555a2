// One call into the system fails: whatever writes a dataset says so, or the file is right.
#include <cerrno>
#include <cstring>
#include <functional>

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "data/benchmarks/shapes.h"
#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "data/image_source.h"
#include "data/images/image.h"
#include "data/pack.h"
#include "infer/embed_files.h"
#include "infer/show/run_record.h"
#include "infer/teach.h"
#include "infer/texts.h"
#include "models/pretrained/image_encoder.h"
#include "tests/hdf5_contents.h"
#include "tests/models/tiny_clip.h"
#include "tests/support.h"
#include "tests/system_calls.h"

// libhdf5 (1.10.8) itself keeps memory of datasets that it could not write.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace vitral::infer {
namespace {

using test::Fault;
using test::hdf5_contents;
using test::message_of;
using test::TempDir;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, 4x4 patches, width 16

class Faults : public testing::Test {
 protected:
  static constexpr int count = 12;

  Faults() {
    std::filesystem::create_directory(folder_ / "in");
    for (int i = 0; i < count; ++i) {
      Tensor image({20 + i, 24, 3}, DType::uint8);
      for (std::int64_t p = 0; p < image.numel(); ++p)
        image.data<std::uint8_t>()[p] = static_cast<std::uint8_t>((p * (i + 3)) % 253 + 1);
      data::write_png(folder_ / fmt::format("in/{:02}.png", i), image);
    }
  }

  using Work = std::function<void(const std::string& output)>;

  Work pack(bool encoded) const {
    return [this, encoded](const std::string& output) {
      data::PackOptions o;
      o.inputs = {folder_ / "in"};
      o.output = output;
      o.size = 40;
      o.encoded = encoded;
      o.force = true;
      o.workers = 2;
      data::pack(o);
    };
  }

  Work embed() const {
    return [this](const std::string& output) {
      const auto encoder = models::Encoder::load(weights);
      EmbedOptions o;
      o.output = output;
      o.weights = weights;
      o.batch_size = 5;
      embed_files(encoder, data::list_images({folder_ / "in"}), o);
    };
  }

  // Every write of what `work` makes fails once, with the disk full, or is said to be done and is not: an
  // error and nothing under the name, or the right file; the next start makes it.
  void expect_no_lost_write(const Work& work, const std::string& suffix, const Work& prepare = {}) const {
    const auto start = [&] {
      std::filesystem::remove_all(folder_ / "out");
      std::filesystem::create_directory(folder_ / "out");
      if (prepare) prepare(folder_ / "out/a.h5");
    };
    const std::string output = folder_ / "out/a.h5";
    start();
    const Fault counted("pwrite", 0, -1, suffix);
    work(output);
    const int calls = counted.count();
    ASSERT_GT(calls, 3);
    const std::string expected = hdf5_contents(output);
    for (const int error : {ENOSPC, test::lost, test::garbled}) {
      int failed = 0;
      for (int k = 0; k < calls; ++k) {
        SCOPED_TRACE(fmt::format("write {} of {}, error {}", k, calls, error));
        start();
        std::string message;
        {
          const Fault fault("pwrite", error, k, suffix);
          message = message_of([&] { work(output); });
        }
        if (message == "no error") {
          EXPECT_EQ(hdf5_contents(output), expected);
          continue;
        }
        ++failed;
        EXPECT_TRUE(message.starts_with(output)) << message;
        EXPECT_TRUE(message.ends_with("the file is damaged or the disk is full") ||
                    message.ends_with(" is not what was written; check the disk") ||
                    message.ends_with(": No space left on device; check the disk") ||
                    message.ends_with(": No space left on device; check the disk, and run the command again"))
            << message;
        EXPECT_EQ(std::filesystem::exists(output), static_cast<bool>(prepare));
        work(output);
        EXPECT_EQ(hdf5_contents(output), expected);
      }
      EXPECT_GT(failed, 0);
    }
  }

  TempDir folder_;
};

TEST_F(Faults, PackLosesNoWrite) { expect_no_lost_write(pack(false), ".partial"); }
TEST_F(Faults, PackOfEncodedImagesLosesNoWrite) { expect_no_lost_write(pack(true), ".partial"); }
TEST_F(Faults, EmbedLosesNoWrite) { expect_no_lost_write(embed(), ".partial"); }
TEST_F(Faults, ShapesLosesNoWrite) {
  expect_no_lost_write(
      [](const std::string& output) { data::write_shapes(output, 5, 1, data::Split::train); }, ".partial");
}
TEST_F(Faults, TextsLoseNoWrite) {
  test::write_tiny_clip(folder_ / "clip");
  const TextEmbeddings texts = embed_texts(models::TextEncoder::load(folder_ / "clip"), {"cat", "dog"});
  expect_no_lost_write([&](const std::string& output) { write_texts(output, texts); }, ".partial");
}

class TeachFaults : public Faults {
 protected:
  TeachFaults() {
    test::write_tiny_clip(folder_ / "clip");
    pack(false)(folder_ / "images.h5");
  }
  Work teach_with(const models::ImageEncoder& teacher, bool in_place) const {
    return [this, &teacher, in_place](const std::string& output) {
      TeachOptions o;
      o.file = output;
      o.teacher = folder_ / "clip";
      o.batch_size = 5;
      o.in_place = in_place;
      teach(teacher, o);
    };
  }
  Work copy() const {
    return [this](const std::string& output) { std::filesystem::copy_file(folder_ / "images.h5", output); };
  }
};

TEST_F(TeachFaults, LosesNoWrite) {
  const auto teacher = models::ImageEncoder::load(folder_ / "clip");
  expect_no_lost_write(teach_with(teacher, false), ".partial", copy());
}

TEST_F(TeachFaults, LosesNoWriteInPlace) {
  const auto teacher = models::ImageEncoder::load(folder_ / "clip");
  expect_no_lost_write(teach_with(teacher, true), "a.h5", copy());
}

// A file that is half changed is not read until the change is completed.
TEST_F(TeachFaults, CompletesWhatWasInterruptedInPlace) {
  const auto teacher = models::ImageEncoder::load(folder_ / "clip");
  const std::string file = folder_ / "a.h5";
  const Work work = teach_with(teacher, true);
  copy()(file);
  const Fault counted("pwrite", 0, -1, "a.h5");
  work(file);
  const int calls = counted.count();
  const std::string expected = hdf5_contents(file);
  int half = 0;
  for (int k = 0; k < calls; ++k) {
    SCOPED_TRACE(k);
    std::filesystem::remove(file);
    copy()(file);
    {
      const Fault fault("pwrite", EIO, k, "a.h5", true);
      EXPECT_NE(message_of([&] { work(file); }), "no error");
    }
    if (std::filesystem::exists(file + ".change")) {
      ++half;
      EXPECT_EQ(message_of([&] { data::H5File::open(file); }),
                file +
                    ": is being changed, or a change of it was interrupted; run that `vitral teach "
                    "--in-place` again, it completes the change");
    } else {
      EXPECT_EQ(hdf5_contents(file), hdf5_contents(folder_ / "images.h5"));
    }
    work(file);
    EXPECT_EQ(hdf5_contents(file), expected);
    EXPECT_FALSE(std::filesystem::exists(file + ".change"));
  }
  EXPECT_GT(half, 0);
}

// The end of a run fails when the embeddings are there: the next one needs no --force, nor the teacher.
TEST_F(TeachFaults, ACompleteJournalIsEnough) {
  const auto teacher = models::ImageEncoder::load(folder_ / "clip");
  const std::string file = folder_ / "a.h5";
  const auto options = [&] {
    TeachOptions o;
    o.file = file;
    o.teacher = folder_ / "clip";
    o.in_place = true;
    return o;
  };
  copy()(file);
  std::string journal;
  TeachOptions first = options();
  first.progress = [&](std::int64_t, std::int64_t) { journal = test::bytes_of_file(file + ".teach"); };
  teach(teacher, first);
  const std::string expected = hdf5_contents(file);
  EXPECT_EQ(message_of([&] { teach(teacher, options()); }),
            file + ": has /embeddings already; replace them with --force");
  test::put_file(file + ".teach", journal);  // as where the check of the file failed
  EXPECT_EQ(teach(teacher, options()).resumed, count);
  EXPECT_EQ(hdf5_contents(file), expected);
  EXPECT_FALSE(std::filesystem::exists(file + ".teach"));
  test::put_file(file + ".teach", journal.substr(0, journal.size() - 1));
  EXPECT_EQ(message_of([&] { teach(teacher, options()); }),
            file + ": has /embeddings already; replace them with --force");
}

// A report without its curves, or its date, would look as if there were none.
TEST_F(Faults, ARunThatCannotBeReadIsAnError) {
  const std::string run = folder_ / "run", metrics = run + "/metrics.jsonl";
  std::filesystem::create_directory(run);
  test::put_file(metrics, R"({"kind":"train","step":1,"loss":2,"lr":1})"
                          "\n");
  EXPECT_EQ(read_run(run).train.step.size(), 1U);
  for (const int error : {EIO, EMFILE}) {
    const Fault fault("open", error, 0, metrics);
    EXPECT_EQ(message_of([&] { read_run(run); }),
              fmt::format("{}: cannot be read: {}; nothing is wrong with the path, see to the machine",
                          metrics, std::strerror(error)));
  }
  {
    const Fault fault("pread", EIO, 0, metrics);
    EXPECT_EQ(message_of([&] { read_run(run); }),
              metrics + ": cannot be read at byte 0: Input/output error; check the disk");
  }
  if (::geteuid() == 0) return;
  std::filesystem::permissions(run, std::filesystem::perms::owner_exec);
  EXPECT_EQ(message_of([&] { read_run(run); }), run + ": cannot be read: Permission denied; check the disk");
  std::filesystem::permissions(run, std::filesystem::perms::owner_all);
}

// What cannot be read is not what does not decode.
TEST_F(Faults, OnlyWhatDoesNotDecodeIsLeftOut) {
  const std::string output = folder_ / "a.h5", image = folder_ / "in/07.png";
  const auto expect = [&](const Work& work, const char* call, int error, const std::string& message) {
    const Fault fault(call, error, 0, "in/07.png", true);
    EXPECT_EQ(message_of([&] { work(output); }), message);
    EXPECT_FALSE(std::filesystem::exists(output));
  };
  for (const Work& work : {pack(false), pack(true), embed()}) {
    for (const int error : {EIO, EMFILE, ENFILE, ENOMEM})
      expect(work, "open", error,
             fmt::format("{}: cannot be read: {}; nothing is wrong with the path, see to the machine", image,
                         std::strerror(error)));
    expect(work, "pread", EIO,
           fmt::format("{}: cannot be read at byte 0: {}; check the disk", image, std::strerror(EIO)));
    for (const auto& [call, error] : {std::pair{"open", EINTR}, std::pair{"pread", EINTR}}) {
      const Fault once(call, error, 0, "in/07.png");
      work(output);
      std::filesystem::remove(output);
    }
    const Fault fault("open", EACCES, 0, "in/07.png", true);  // of this file
    work(output);
    EXPECT_EQ(data::H5File::open(output).read_strings("/names").size(), count - 1U);
    std::filesystem::remove(output);
  }
}

TEST_F(Faults, AnArchiveThatCannotBeReadIsNotOneThatIsDamaged) {
  const std::string path = folder_ / "in.tar", output = folder_ / "a.h5";
  archive* tar = archive_write_new();
  archive_write_set_format_pax_restricted(tar);
  ASSERT_EQ(archive_write_open_filename(tar, path.c_str()), ARCHIVE_OK);
  for (int i = 0; i < count; ++i) {
    const std::string bytes = test::bytes_of_file(folder_ / fmt::format("in/{:02}.png", i));
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, fmt::format("{:02}.png", i).c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    ASSERT_EQ(archive_write_header(tar, entry), ARCHIVE_OK);
    archive_write_data(tar, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_free(tar);
  data::PackOptions o;
  o.inputs = {path};
  o.output = output;
  o.size = 20;
  const Fault counted("read", 0, -1, "in.tar");
  EXPECT_EQ(data::pack(o).train, count);
  std::filesystem::remove(output);
  const int calls = counted.count();
  ASSERT_GT(calls, 1);
  for (int k = 0; k < calls; ++k) {
    const Fault fault("read", EIO, k, "in.tar");
    const std::string message = message_of([&] { data::pack(o); });
    EXPECT_TRUE(message.ends_with(": cannot be read: Input/output error; check the disk"))
        << k << ": " << message;
    EXPECT_FALSE(std::filesystem::exists(output)) << k;
  }
}

}  // namespace
}  // namespace vitral::infer
