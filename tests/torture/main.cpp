// See scripts/torture.
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "tests/support.h"
#include "tests/torture/campaign.h"

namespace {

using namespace vitral::torture;

int run(int argc, char** argv) {
  CLI::App app("Drives vitral through trouble: scripts/torture builds and calls this");
  CampaignOptions o;
  Tools tools;
  std::string again;
  std::vector<std::string> words;
  app.add_option("--program", tools.vitral)->required();
  app.add_option("--shim", tools.shim)->required();
  app.add_option("--server", tools.server)->required();
  app.add_option("--state", o.state)->required();
  app.add_option("--keep", o.findings)->required();
  app.add_option("--seed", o.seed);
  app.add_option("--workers", o.workers)->check(CLI::PositiveNumber);
  app.add_option("--case", again, "KIND:NUMBER: this one case of the seed");
  app.add_flag("--restart", o.restart);
  app.add_option("words", words, "[MINUTES] [KIND...]");
  CLI11_PARSE(app, argc, argv);

  o.kinds = words;
  if (!words.empty() && CLI::detail::lexical_cast(words[0], o.minutes)) o.kinds.erase(o.kinds.begin());
  const auto colon = again.find(':');
  if (!again.empty()) {
    o.kinds = {again.substr(0, colon)};
    o.restart = true;
  }
  // Thousands of syncs take long on a disk and no time in memory.
  if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
  const vitral::test::TempDir folder;
  const Workshop shop(tools, folder / "workshop");
  Campaign campaign(o, shop);
  if (!again.empty()) return campaign.run_case(o.kinds[0], std::stoll(again.substr(colon + 1))) ? 0 : 1;
  campaign.run();
  return campaign.print_table() == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "torture: %s\n", e.what());
    return 2;
  }
}
