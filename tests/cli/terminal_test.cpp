// What the program draws on a terminal, of any width.
#include <sys/ioctl.h>

#include "data/images/image.h"
#include "tests/cli/small_run.h"

namespace vitral {
namespace {

using test::Program;

// A terminal that programs write into.
class Terminal {
 public:
  explicit Terminal(unsigned short columns) {
    if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0) throw_error("no terminal here");
    slave_ = ::open(::ptsname(master_), O_RDWR | O_NOCTTY);
    const winsize size{24, columns, 0, 0};
    ::ioctl(master_, TIOCSWINSZ, &size);
    ::fcntl(master_, F_SETFL, O_NONBLOCK);
  }
  ~Terminal() {
    ::close(slave_);
    ::close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  /// The lines that the program drew in place of each other, and the rest of what it wrote.
  std::vector<std::string> redrawn(const Program::Arguments& arguments) {
    test::expect_done(Program(arguments, [this] {
                        ::dup2(slave_, 2);
                        ::setenv("TERM", "xterm", 1);
                      }).wait());
    std::string text(1 << 16, '\0');
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(master_, text.data(), text.size()), 0)));
    std::vector<std::string> lines;
    for (std::size_t end = 0; (end = text.find("\x1b[K", end)) != std::string::npos; ++end)
      lines.push_back(text.substr(text.rfind('\r', end) + 1, end - text.rfind('\r', end) - 1));
    return lines;
  }

 private:
  int master_ = ::posix_openpt(O_RDWR | O_NOCTTY), slave_ = -1;
};

using Lines = std::vector<std::string>;

TEST(Terminal, CountersLeaveOutWhatDoesNotFit) {
  const test::TempDir dir;
  std::filesystem::create_directory(dir / "in");
  for (int i = 0; i < 3; ++i)
    data::write_png(fmt::format("{}/in/{}.png", dir.str(), i), test::noise({20, 20, 3}, 1, DType::uint8));
  const Program::Arguments embed{
      "embed", "tests/golden/run_init.safetensors", dir / "in", "--batch", "1", "-o", dir / "e.h5"};
  EXPECT_EQ(Terminal(80).redrawn(embed), (Lines{"embedded 1/3", "embedded 2/3", "embedded 3/3"}));
  EXPECT_EQ(Terminal(12).redrawn(embed), (Lines{"1/3", "2/3", "3/3"}));
  EXPECT_EQ(Terminal(1).redrawn(embed), (Lines{"", "", ""}));
  EXPECT_EQ(Terminal(20).redrawn({"pack", dir / "in", "-o", dir / "p.h5", "--size", "8"}),
            Lines{"packed 3/3"});
}

TEST(Terminal, TheBarOfATrainingIsNeverCut) {
  const test::SmallRun small;
  for (const auto& [columns, last] :
       {std::pair{21, "step 6/6 loss "}, {20, "6/6 loss "}, {12, "step 6/6"}, {1, ""}}) {
    SCOPED_TRACE(columns);
    const Lines lines = Terminal(static_cast<unsigned short>(columns))
                            .redrawn(small.arguments(
                                {fmt::format("train.output={}", small.output(std::to_string(columns)))}));
    ASSERT_FALSE(lines.empty());
    EXPECT_EQ(lines.back().substr(0, std::string(last).size()), last);
    for (const std::string& line : lines) {
      EXPECT_LT(line.size(), static_cast<std::size_t>(columns));
      if (const std::size_t loss = line.find("loss "); loss != std::string::npos) {
        EXPECT_EQ(line.find('.', loss), line.size() - 5) << line;  // four digits and nothing behind them
      }
    }
  }
}

}  // namespace
}  // namespace vitral
