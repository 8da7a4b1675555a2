// The plot of an ablation, as a paper would print it: a panel a measure, a row a variant, with a point for
// each seed, the mean and its 95 % interval.
#pragma once
#include <string>

#include "ablate/results.h"

namespace vitral::ablate {

/// SVG 1.1 that stands for itself, on white.
std::string plot_svg(const Results& results);

/// A page with the plot and the numbers; it asks nothing of a network.
std::string plot_page(const Results& results);

}  // namespace vitral::ablate
