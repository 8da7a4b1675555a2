// The table of an ablation: ablation.json for programs, ablation.md for pages, a few lines for a terminal.
#pragma once
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ablate/results.h"

namespace vitral::ablate {

/// docs/research.md describes it. Numbers that are not known are null.
nlohmann::ordered_json to_json(const Results& results);

/// A table with a row a variant and a column a measure: mean and half the width of its 95 % interval; below
/// it the same of the difference to the first variant, bold where the interval leaves zero out.
std::string to_markdown(const Results& results);

/// The means in columns, with + and - where they differ, and what failed.
std::string to_text(const Results& results);

/// "3 seeds; mean, 95 % interval ...": what stands below tables and plots.
std::string explanation(const Results& results);

/// "0.958": a value of a measure; "-" where there is none.
std::string number_text(double value, const Measure& measure);

}  // namespace vitral::ablate
