// Goal: the contract's example loads, has the edges that its data gives it, and evaluates to what
// it says. Method: parse pipelines/grayscale.yaml against a catalogue like the first plugins', set
// values, resolve.
#include <fstream>
#include <sstream>

#include "cmake/tree.h"
#include "tests/pipeline/fake_catalogue.h"

namespace millrace {
namespace {

std::string read_source(const std::string& path) {
  std::ifstream file(in_source("/" + path));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::shared_ptr<const Graph> example() {
  return graph_of(read_source("pipelines/grayscale.yaml"));
}

TEST(Example, LoadsWithoutAWord) {
  EXPECT_EQ(problems_of(read_source("pipelines/grayscale.yaml")), "");
}

TEST(Example, ReadyPipelinesLoad) {
  for (const char* name : {"noop4", "noop4_effects"}) {
    const std::string text = read_source(fmt::format("pipelines/{}.yaml", name));
    EXPECT_EQ(problems_of(text), "");
    EXPECT_EQ(graph_of(text)->name, name);
    EXPECT_EQ(graph_of(text)->steps.size(), 4u);
    EXPECT_EQ(graph_of(text)->steps[3].require, StepSet{4});
  }
}

TEST(Example, EdgesComeFromTheData) {
  const auto graph = example();
  ASSERT_EQ(graph->steps.size(), 5u);
  const auto require = [&](int step) { return graph->steps[static_cast<size_t>(step)].require; };
  EXPECT_EQ(require(0), StepSet{0});
  EXPECT_EQ(require(1), StepSet{0b1});
  EXPECT_EQ(require(2), StepSet{0b1});
  EXPECT_EQ(require(3), StepSet{0b100});
  EXPECT_EQ(require(4), StepSet{0b1010});
  EXPECT_EQ(graph->timeout_ms, 600'000);
  EXPECT_EQ(graph->steps[2].timeout_ms, 30'000);
  EXPECT_EQ(graph->steps[1].timeout_ms, 60'000);
  EXPECT_EQ(graph->steps[2].retry.max, 3u);
  EXPECT_EQ(graph->steps[4].retry.backoff_to_ms, 300'000);
  EXPECT_EQ(graph->inputs[0].max_bytes, 64 << 20);
  EXPECT_EQ(graph->inputs[0].media.size(), 8u);
  EXPECT_EQ(graph->outputs[0].reads, StepSet{0b100});
  EXPECT_FALSE(graph->outputs[0].type.optional);
}

TEST(Example, Resolves) {
  const auto graph = example();
  FakeScope scope(graph);
  const Value image = blob_value("image/jpeg", 10);
  scope.set_input("image", image).set_input("callback", "https://example.org/hook");
  scope.set_job(JobField::kId, "0193-x");
  scope.set_output("upload", "image", image).set_output("upload", "extension", "jpg");
  scope.set_output("store", "url", "/v1/files/default/a")
      .set_output("result", "url", "/v1/files/default/b");

  EXPECT_EQ(resolve_with(*graph, 1, scope).value()[1], Value("originals/0193-x.jpg"));
  EXPECT_EQ(resolve_with(*graph, 1, scope).value()[2], Value("default"));
  EXPECT_EQ(resolve_with(*graph, 1, scope).value()[3], Value(false));
  const auto gray = resolve_with(*graph, 2, scope).value();
  EXPECT_EQ(gray[0], image);
  EXPECT_EQ(gray[1], Value("luma"));
  EXPECT_TRUE(gray[2].is_null());
  EXPECT_TRUE(resolve_condition(*graph, 4, scope).value());
  const auto notify = resolve_with(*graph, 4, scope).value();
  EXPECT_EQ(notify[0], Value("https://example.org/hook"));
  EXPECT_EQ(canonical_json(notify[1]),
            R"({"gray":"/v1/files/default/b","job":"0193-x","original":"/v1/files/default/a"})");
  EXPECT_TRUE(resolve_output(*graph, 0, scope).value().is_null());
  scope.set_output("gray", "image", image);
  EXPECT_EQ(resolve_output(*graph, 0, scope).value(), image);
  EXPECT_FALSE(resolve_condition(*graph, 4, FakeScope(graph)).value());
}

}  // namespace
}  // namespace millrace
