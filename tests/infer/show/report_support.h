// A small report that several test programs look at.
#pragma once
#include <limits>
#include <string>

#include "infer/show/report_page.h"
#include "tests/noise.h"

namespace vitral::test {

/// Text that tries to leave its place in HTML, in a script, and in the template.
inline std::string hostile_text() {
  return "</script><script>alert(1)</script> <img src=x onerror=\"alert(2)\"> '`&amp; {{data}} \xE2\x80\xA8 "
         "\xE2\x80\xAE gr\xC3\xB6\xC3\x9F"
         "er \\u003c <!--";
}

/// Two images of 2x3 patches and width 16, three prompts, a labelled object, a short run.
inline infer::Report small_report() {
  infer::Report r;
  r.title = "runs/small";
  r.facts = {{"Student", "tiny"}, {"Images", "2"}};
  r.rows = 2;
  r.columns = 3;
  r.width = 16;
  r.prompts = {"a cat", "a dog", "a bird"};
  r.prompt_embeddings = noise({3, 16}, 1);
  for (const char* name : {"one.png", "two.png"}) {
    const std::uint64_t seed = 10 * (r.images.size() + 1);
    infer::ReportImage image;
    image.name = name;
    image.image = noise({20, 20, 3}, seed, DType::uint8);
    image.embedding = noise({16}, seed + 1);
    image.weights = Tensor::from(std::vector<float>{0.1F, 0.2F, 0.3F, 0.15F, 0.05F, 0.2F}, {6});
    image.patches = noise({6, 16}, seed + 2);
    r.images.push_back(image);
  }
  r.images[1].objects = {{2, {0.25F, 0, 0.5F, 1}}};
  infer::RunRecord run;
  run.train = {{10, 20}, {2.5, std::numeric_limits<double>::quiet_NaN()}, {0.1, 0.2}, {50, 60}};
  run.val = {{20}, {3.25}, {0.75}};
  r.run = run;
  return r;
}

}  // namespace vitral::test
