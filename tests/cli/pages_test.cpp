// What `vitral --write-pages` makes of the commands: manual pages, and completion for shells.
#include <sstream>

#include "tests/cli/program.h"

namespace vitral {
namespace {

using test::bytes_of_file;
using test::expect_done;
using test::expect_failure;
using test::run;
using test::TempDir;

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen(command.c_str(), "r");
  for (int c; (c = std::fgetc(pipe)) != EOF;) out += static_cast<char>(c);
  EXPECT_EQ(::pclose(pipe), 0) << command << "\n" << out;
  return out;
}

bool has(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null").c_str()) == 0;
}

class Pages : public testing::Test {
 protected:
  Pages() { expect_done(run({"--write-pages", folder_.str()})); }

  std::string text(const std::string& name) const { return bytes_of_file(folder_ / name); }
  // The words that bash offers for the last of them.
  std::string completed(const std::string& words, int last) const {
    return output_of("bash -c 'source \"" + folder_ / "vitral.bash" + "\"; COMP_WORDS=(vitral " + words +
                     "); COMP_CWORD=" + std::to_string(last) + "; _vitral; echo \"${COMPREPLY[@]}\"'");
  }

  TempDir folder_;
};

TEST_F(Pages, HaveEveryCommandWithAllItsOptions) {
  std::istringstream help(run({"--help"}).out);
  std::string line;
  while (std::getline(help, line) && line != "Subcommands:") continue;
  int commands = 0, options = 0;
  const std::string all = text("vitral.1"), bash = text("vitral.bash"), zsh = text("_vitral");
  for (std::string command; std::getline(help, line) && std::istringstream(line) >> command; ++commands) {
    SCOPED_TRACE(command);
    EXPECT_NE(all.find("vitral\\-" + command), std::string::npos);
    const std::string page = text("vitral-" + command + ".1");
    std::istringstream words(run({command, "--help"}).out);
    for (std::string word; std::getline(words, word);) {
      if (!word.starts_with("  -")) continue;
      word = word.substr(0, word.find(' ', 2));
      word = word.substr(word.rfind(',') == word.npos ? 2 : word.rfind(',') + 1);
      std::string shown;
      for (const char c : word) shown += c == '-' ? std::string("\\-") : std::string(1, c);
      EXPECT_NE(page.find("\\fB" + shown + "\\fR"), std::string::npos) << word;
      EXPECT_NE(bash.find(word), std::string::npos) << word;
      EXPECT_NE(zsh.find(word), std::string::npos) << word;
      ++options;
    }
  }
  EXPECT_GE(commands, 14);
  EXPECT_GE(options, 150);
}

TEST_F(Pages, SayWhatAnOptionTakes) {
  const std::string page = text("vitral-eval.1");
  EXPECT_NE(page.find(".TP\n\\fB\\-\\-exif\\fR \\fBapply\\fR|\\fBignore\\fR\n"), std::string::npos);
  EXPECT_NE(page.find(".TP\n\\fB\\-\\-batch\\fR \\fIINT\\fR\nimages at once (INT >= 1; default: 64)\n"),
            std::string::npos);
  EXPECT_NE(page.find(" \\fIweights\\fR \\fIfiles\\fR...\n"), std::string::npos);
  EXPECT_NE(text("vitral-pack.1").find("(not with \\-\\-exif, \\-\\-scaled\\-decode, \\-\\-size)\n"),
            std::string::npos);
  EXPECT_NE(text("vitral-pack.1").find("SIZE x SIZE (default: 300; not with \\-\\-encoded)"),
            std::string::npos);
}

TEST_F(Pages, ReadWithoutAWarning) {
  if (!has("groff")) GTEST_SKIP() << "groff is not installed";
  for (const auto& entry : std::filesystem::directory_iterator(folder_.str())) {
    if (entry.path().extension() != ".1") continue;
    EXPECT_EQ(output_of("groff -ww -man -Tascii '" + entry.path().string() + "' 2>&1 >/dev/null"), "")
        << entry.path();
  }
}

TEST_F(Pages, CompleteInBash) {
  EXPECT_EQ(completed("e", 1), "eval embed\n");
  EXPECT_EQ(completed("eval --ca", 2), "--candidates --captions\n");
  EXPECT_EQ(completed("eval --exif \"\"", 3), "apply ignore\n");
  EXPECT_EQ(completed("eval --exif = i", 4), "ignore\n");
  EXPECT_EQ(completed("eval --exif =", 3), "apply ignore\n");
  EXPECT_EQ(completed("eval run", 2), "\n");  // files, which bash completes by itself
}

TEST_F(Pages, CompleteInZsh) {
  if (!has("zsh")) GTEST_SKIP() << "zsh is not installed";
  EXPECT_EQ(output_of("zsh -n '" + folder_ / "_vitral" + "' 2>&1"), "");
  EXPECT_NE(text("_vitral").find("'--exif=[apply: turn photographs"), std::string::npos);
  EXPECT_NE(text("_vitral").find(":TEXT:(apply ignore)'"), std::string::npos);
}

TEST(PagesError, NamesTheFolderThatIsNotThere) {
  const test::Result r = run({"--write-pages", "/nowhere/at/all"});
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(r.err.starts_with("vitral: /nowhere/at/all/")) << r.err;
}

}  // namespace
}  // namespace vitral
