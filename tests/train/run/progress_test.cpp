#include "train/run/progress.h"

#include <cstdlib>
#include <limits>

#include <gtest/gtest.h>

namespace vitral::train {
namespace {

const ProgressState state{.epoch = 3,
                          .epochs = 100,
                          .step = 12,
                          .total_steps = 48,
                          .loss = 18.12344,
                          .lr = 1e-3,
                          .images_per_second = 15.24,
                          .data_wait = 0.031,
                          .seconds_left = 3723};

TEST(Progress, FormatsDurations) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(7.4), "0:07");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(754), "12:34");
  EXPECT_EQ(format_duration(3599.7), "1:00:00");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(86399), "23:59:59");
  EXPECT_EQ(format_duration(2 * 86400 + 3 * 3600 + 4 * 60 + 5), "2d 03:04:05");
  EXPECT_EQ(format_duration(-1), "-");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "-");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(format_duration(1e300), "-");
}

TEST(Progress, FormatsThePlainLine) {
  EXPECT_EQ(format_line(state),
            "epoch 3/100 step 12/48 loss 18.1234 lr 0.001 15.2 images/s wait 3% ETA 1:02:03");
  ProgressState unknown;
  unknown.loss = std::numeric_limits<double>::quiet_NaN();
  unknown.data_wait = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(format_line(unknown), "epoch 1/1 step 0/1 loss nan lr 0 0.0 images/s wait - ETA -");
}

TEST(Progress, TheBarTakesWhatTheTerminalHas) {
  EXPECT_EQ(format_bar(state, 200),
            "epoch 3/100 [=======>                      ] step 12/48 loss 18.1234 15.2 images/s wait 3% ETA "
            "1:02:03");
  EXPECT_EQ(format_bar(state, 83),
            "epoch 3/100 [==>       ] step 12/48 loss 18.1234 15.2 images/s wait 3% ETA 1:02:03");
  EXPECT_EQ(format_bar(state, 82), "epoch 3/100 step 12/48 loss 18.1234 15.2 images/s wait 3% ETA 1:02:03");
  EXPECT_EQ(format_bar(state, 69), "epoch 3/100 step 12/48 loss 18.1234 15.2 images/s ETA 1:02:03");
  EXPECT_EQ(format_bar(state, 60), "step 12/48 loss 18.1234 15.2 images/s ETA 1:02:03");
  EXPECT_EQ(format_bar(state, 45), "step 12/48 loss 18.1234 ETA 1:02:03");
  EXPECT_EQ(format_bar(state, 24), "step 12/48 loss 18.1234");
  EXPECT_EQ(format_bar(state, 23), "12/48 loss 18.1234");
  EXPECT_EQ(format_bar(state, 18), "step 12/48");
  EXPECT_EQ(format_bar(state, 10), "12/48");
  EXPECT_EQ(format_bar(state, 5), "");
  EXPECT_EQ(format_bar(state, 1), "");
  EXPECT_EQ(format_bar(state, 0), "");
  for (int columns = 1; columns < 200; ++columns)
    EXPECT_LT(format_bar(state, columns).size(), static_cast<std::size_t>(columns)) << columns;
}

TEST(Progress, TheBarIsFullAtTheEndAndNeverOverflows) {
  ProgressState end = state;
  end.step = end.total_steps;
  EXPECT_NE(format_bar(end, 200).find("[==============================]"), std::string::npos);
  end.step = 1000;
  EXPECT_NE(format_bar(end, 200).find("[==============================]"), std::string::npos);
  end.total_steps = 0;
  EXPECT_LT(format_bar(end, 100).size(), 100U);
}

/// A Progress that writes into memory, with a clock that the test moves.
class ProgressOutput : public testing::Test {
 protected:
  Progress::Output output(bool terminal) {
    return {file_, terminal, [] { return 60; }, [this] { return now_; }};
  }
  std::string written() {
    std::fflush(file_);
    return {text_, size_};
  }
  ~ProgressOutput() override {
    std::fclose(file_);
    std::free(text_);
  }

  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* file_ = open_memstream(&text_, &size_);
  double now_ = 100;
};

ProgressState at(std::int64_t step, std::int64_t total = 6) {
  return {.epoch = 1, .epochs = 1, .step = step, .total_steps = total, .loss = 1, .images_per_second = 10};
}

TEST_F(ProgressOutput, PlainLinesComeEveryLogEveryStepsAndAtTheEnd) {
  Progress progress(2, output(false));
  for (int step = 1; step <= 5; ++step, now_ += 2) progress.step(at(step, 5));
  progress.message("validation 0.5");
  progress.finish();
  EXPECT_EQ(written(),
            "epoch 1/1 step 2/5 loss 1.0000 lr 0 10.0 images/s wait 0% ETA 0:06\n"
            "epoch 1/1 step 4/5 loss 1.0000 lr 0 10.0 images/s wait 0% ETA 0:02\n"
            "epoch 1/1 step 5/5 loss 1.0000 lr 0 10.0 images/s wait 0% ETA 0:00\n"
            "validation 0.5\n");
}

TEST_F(ProgressOutput, AResumedRunMeasuresItsOwnPace) {
  Progress progress(1, output(false));
  progress.step(at(1001, 1004));
  now_ += 10;
  progress.step(at(1002, 1004));
  EXPECT_EQ(written(),
            "epoch 1/1 step 1001/1004 loss 1.0000 lr 0 10.0 images/s wait 0% ETA -\n"
            "epoch 1/1 step 1002/1004 loss 1.0000 lr 0 10.0 images/s wait 0% ETA 0:20\n");
}

TEST_F(ProgressOutput, ATerminalIsRedrawnAtMostTenTimesASecondAndAtTheEnd) {
  {
    Progress progress(1000, output(true));
    for (int step = 1; step <= 6; ++step, now_ += 0.04) progress.step(at(step));
  }
  // At 0, 0.12 and 0.2 seconds, the last because it is the last step.
  EXPECT_EQ(written(),
            "\repoch 1/1 step 1/6 loss 1.0000 10.0 images/s wait 0% ETA -\x1b[K"
            "\repoch 1/1 step 4/6 loss 1.0000 10.0 images/s ETA 0:00\x1b[K"
            "\repoch 1/1 step 6/6 loss 1.0000 10.0 images/s ETA 0:00\x1b[K\n");
}

TEST_F(ProgressOutput, AMessageStandsAboveTheBar) {
  {
    Progress progress(1, output(true));
    progress.message("before");
    progress.step(at(1));
    progress.message("checkpoint");
  }
  EXPECT_EQ(written(),
            "before\n"
            "\repoch 1/1 step 1/6 loss 1.0000 10.0 images/s wait 0% ETA -\x1b[K"
            "\r\x1b[Kcheckpoint\n"
            "\repoch 1/1 step 1/6 loss 1.0000 10.0 images/s wait 0% ETA -\x1b[K\n");
}

TEST_F(ProgressOutput, AFileIsNoTerminal) {
  std::FILE* file = std::tmpfile();
  EXPECT_FALSE(Progress::Output::of(file).terminal);
  EXPECT_EQ(Progress::Output::of(file).columns(), 80);
  std::fclose(file);
}

}  // namespace
}  // namespace vitral::train
