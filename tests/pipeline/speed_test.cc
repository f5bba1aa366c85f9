// Goal: what the core asks of a graph per step stays far below its budget, so that a careless
// change is noticed. Method: many calls on the contract's example, the time of one compared with a
// generous bound. Only with optimisation is the figure meaningful; it is printed, and the bound
// holds for slow builds too.
#include <fstream>
#include <sstream>

#include "cmake/tree.h"
#include "engine/base/time.h"
#include "tests/pipeline/fake_catalogue.h"

namespace millrace {
namespace {

TEST(Speed, ResolvingAStepTakesMicrosecondsAtMost) {
  std::ifstream file(in_source("/pipelines/grayscale.yaml"));
  std::stringstream text;
  text << file.rdbuf();
  const auto graph = graph_of(text.str());
  FakeScope scope(graph);
  const Value image = blob_value("image/jpeg", 10);
  scope.set_input("image", image)
      .set_job(JobField::kId, "019a5b6c-0000-7000-8000-000000000000-abcdef01");
  scope.set_output("upload", "image", image).set_output("upload", "extension", "jpg");
  constexpr int kRounds = 20'000;
  for (const int step : {0, 1, 2}) {
    const int64_t start_us = monotonic_us();
    for (int i = 0; i < kRounds; i++) ASSERT_TRUE(resolve_with(*graph, step, scope).ok());
    const double each_us = static_cast<double>(monotonic_us() - start_us) / kRounds;
    RecordProperty(fmt::format("step_{}_us", step), std::to_string(each_us));
    fmt::print("resolve_with of step {}: {:.3f} us\n", graph->steps[static_cast<size_t>(step)].id,
               each_us);
    EXPECT_LT(each_us, 50);
  }
}

}  // namespace
}  // namespace millrace
