// The README's five commands, as they stand there: from a folder of photographs and CLIP's weights to a
// trained student and a picture. With a small CLIP, so `vitral train` gets its width and a few steps, and
// nothing else.
#include <sstream>

#include "data/images/image.h"
#include "tests/cli/program.h"

namespace vitral::test {
namespace {

std::vector<std::string> five_commands() {
  const std::string readme = bytes_of_file("README.md");
  const std::size_t mark = readme.find("<!-- five commands");
  const std::size_t begin = readme.find("```sh\n", mark) + 6, end = readme.find("```", begin);
  std::istringstream block(readme.substr(begin, end - begin));
  std::vector<std::string> out;
  for (std::string line; std::getline(block, line);) out.push_back(line);
  return out;
}

TEST(Readme, FiveCommandsFromPhotographsToAPicture) {
  VITRAL_NEEDS_SHARED(photos, "photos");
  VITRAL_NEEDS_SHARED(weights, "golden/clip_tiny_hf.safetensors");
  VITRAL_NEEDS_SHARED(vocabulary, "data/bpe_simple_vocab_16e6.txt.gz");
  namespace fs = std::filesystem;
  const TempDir folder;
  fs::create_directory(folder / "clip-vit-base-patch32");
  fs::create_symlink(fs::absolute(weights), folder / "clip-vit-base-patch32/model.safetensors");
  fs::create_symlink(fs::absolute(vocabulary), folder / "clip-vit-base-patch32/bpe_simple_vocab_16e6.txt.gz");
  fs::create_symlink(fs::absolute(photos), folder / "photos");
  fs::create_symlink(fs::absolute("configs"), folder / "configs");
  const auto commands = five_commands();
  ASSERT_EQ(commands.size(), 5U);
  for (const std::string& command : commands) {
    ASSERT_TRUE(command.starts_with("vitral ")) << command;
    const std::string small =
        command.starts_with("vitral train") ? " model.width=48 train.batch_size=8 train.epochs=2" : "";
    const std::string script = "cd '" + folder.str() + "' && vitral() { '" +
                               fs::absolute(std::getenv("VITRAL_PROGRAM")).string() + "' \"$@\"; } && " +
                               command + small + " >>out 2>>err";
    ::setenv("SCRIPT", script.c_str(), 1);
    ASSERT_EQ(std::system("bash -c \"$SCRIPT\""), 0) << command << '\n' << bytes_of_file(folder / "err");
  }
  const Tensor picture = data::read_image(folder / "activations.png");
  EXPECT_GT(picture.dim(0), 200);
  EXPECT_GT(picture.dim(1), 400);
  EXPECT_TRUE(fs::exists(folder / "runs/student/checkpoints/best"));
}

}  // namespace
}  // namespace vitral::test
