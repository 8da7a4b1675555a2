// Loaded before a program (LD_PRELOAD) with tests/system_calls.cpp, and told by the environment:
//   VITRAL_FAULT_FOLDER    only calls to files under it count
//   VITRAL_FAULT           call:errno:k[:part][:short][:lasting][:kill-before|kill-middle|kill-after], as
//   in
//                          FaultPlan; errno: ENOSPC, EIO, EINTR, EINVAL, ENOMEM, EMFILE or a number
//   VITRAL_TRACE           a file for the record of all calls
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>
#include <vector>

#include "tests/system_calls.h"

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

using vitral::test::Fault;
using vitral::test::FaultPlan;

FaultPlan parse_fault(const std::string& text) {
  std::vector<std::string> words{""};
  for (const char c : text) {
    if (c == ':')
      words.emplace_back();
    else
      words.back() += c;
  }
  words.resize(std::max<std::size_t>(words.size(), 3));
  FaultPlan out;
  out.call = words[0];
  out.k = std::atoi(words[2].c_str());
  out.error = std::atoi(words[1].c_str());
  for (const auto& [name, error] : {std::pair{"ENOSPC", ENOSPC},
                                    {"EIO", EIO},
                                    {"EINTR", EINTR},
                                    {"EMFILE", EMFILE},
                                    {"ENOMEM", ENOMEM},
                                    {"EINVAL", EINVAL}})
    if (words[1] == name) out.error = error;
  for (std::size_t i = 3; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "short")
      out.shortened = true;
    else if (word == "lasting")
      out.lasting = true;
    else if (word == "kill-before")
      out.kill = FaultPlan::Kill::before;
    else if (word == "kill-middle")
      out.kill = FaultPlan::Kill::middle;
    else if (word == "kill-after")
      out.kill = FaultPlan::Kill::after;
    else
      out.part = word;
  }
  return out;
}

[[gnu::constructor]] void begin() {
  const std::string folder = variable("VITRAL_FAULT_FOLDER");
  if (const std::string text = variable("VITRAL_FAULT"); !text.empty()) {
    FaultPlan plan = parse_fault(text);
    plan.folder = folder;
    [[maybe_unused]] static auto* const until_exit = new Fault(std::move(plan));
  }
  if (const std::string file = variable("VITRAL_TRACE"); !file.empty())
    vitral::test::trace_calls(file, folder);
}

}  // namespace
