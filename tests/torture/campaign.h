// Cases of all kinds, on all cores, for a time; where it stands is kept, so that the next run goes on.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/torture/kind.h"

namespace vitral::torture {

struct CampaignOptions {
  double minutes = 10;
  std::vector<std::string> kinds;  // empty: all
  std::uint64_t seed = 1;
  int workers = 2;
  std::string state;     // file; one of another seed or another program is begun anew
  std::string findings;  // folder for what is found
  bool restart = false;
};

class Campaign {
 public:
  Campaign(const CampaignOptions& options, const Workshop& shop);
  ~Campaign();
  /// Returns when the time is over, all kinds have come to their end, or at SIGINT or SIGTERM.
  void run();
  /// One case again; the same text as in the campaign.
  bool run_case(const std::string& kind, std::int64_t number);
  /// kind, command, tried, failed: of all runs of this seed. How many failed.
  std::int64_t print_table() const;

 private:
  struct Progress;
  struct Worker;

  Progress* next_kind();
  std::optional<nlohmann::json> work(std::size_t kind, std::int64_t number) const;
  void serve(int socket) const;
  void hand_out(Worker& worker);
  void receive(Worker& worker);
  void note(Progress& progress, const nlohmann::json& result);
  void print_progress(double minutes) const;
  void load();
  void save() const;

  CampaignOptions options_;
  const Workshop& shop_;
  std::vector<Progress> kinds_;
  std::vector<Worker> workers_;
};

}  // namespace vitral::torture
