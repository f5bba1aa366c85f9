// Goal: every input that ever taught a fuzzer something stays harmless.
// Method: each target's corpus, and mutations of it by a fixed seed, through the function that
// libFuzzer would call (preset fuzz); a CHECK in it, or a crash, ends the program.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "cmake/tree.h"

extern "C" {
int fuzz_http(const uint8_t* data, size_t size);
int fuzz_multipart(const uint8_t* data, size_t size);
int fuzz_pipeline(const uint8_t* data, size_t size);
int fuzz_expression(const uint8_t* data, size_t size);
int fuzz_record(const uint8_t* data, size_t size);
int fuzz_wire(const uint8_t* data, size_t size);
int fuzz_address(const uint8_t* data, size_t size);
int fuzz_image(const uint8_t* data, size_t size);
int fuzz_location(const uint8_t* data, size_t size);
int fuzz_xml(const uint8_t* data, size_t size);
int fuzz_document(const uint8_t* data, size_t size);
int fuzz_database(const uint8_t* data, size_t size);
int fuzz_deflate(const uint8_t* data, size_t size);
}

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Target {
  const char* name;
  int (*run)(const uint8_t*, size_t);
  int mutations;  // of each input: as many as fit into a second or two
  std::vector<const char*> folders;
};

const Target kTargets[] = {
    {"http", fuzz_http, 25, {"tests/fuzz/corpus/http"}},
    {"multipart", fuzz_multipart, 400, {"tests/fuzz/corpus/multipart"}},
    {"pipeline", fuzz_pipeline, 12, {"pipelines", "tests/pipeline/cases"}},
    {"expression", fuzz_expression, 60, {"tests/fuzz/corpus/expression"}},
    {"record", fuzz_record, 400, {"tests/fuzz/corpus/record"}},
    {"wire", fuzz_wire, 500, {"tests/fuzz/corpus/wire"}},
    {"address", fuzz_address, 200, {"tests/fuzz/corpus/address"}},
    {"image", fuzz_image, 400, {"tests/fuzz/corpus/image"}},
    {"location", fuzz_location, 400, {"tests/fuzz/corpus/location"}},
    {"xml", fuzz_xml, 400, {"tests/fuzz/corpus/xml"}},
    {"document", fuzz_document, 400, {"tests/fuzz/corpus/document"}},
    {"database", fuzz_database, 400, {"tests/fuzz/corpus/database"}},
    {"deflate", fuzz_deflate, 150, {"tests/fuzz/corpus/deflate"}},
};

std::vector<std::string> corpus_of(const Target& target) {
  std::vector<std::string> inputs;
  for (const char* folder : target.folders) {
    for (const auto& entry : fs::directory_iterator(in_source(std::string("/") + folder))) {
      std::ifstream file(entry.path(), std::ios::binary);
      inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  std::sort(inputs.begin(), inputs.end());
  return inputs;
}

// One to four of: a byte replaced, a run removed, a run doubled, the tail of another input.
std::string mutated(std::string text, const std::vector<std::string>& others, std::mt19937* dice) {
  const auto below = [dice](size_t end) { return end == 0 ? 0 : (*dice)() % end; };
  for (size_t times = 1 + below(4); times > 0; times--) {
    const size_t at = below(text.size());
    const size_t length = 1 + below(16);
    switch (below(4)) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>((*dice)());
        break;
      case 1:
        if (!text.empty()) text.erase(at, length);
        break;
      case 2:
        if (!text.empty()) text.insert(at, text.substr(at, length));
        break;
      default: {
        const std::string& other = others[below(others.size())];
        text = text.substr(0, at) + other.substr(std::min(at, other.size()));
      }
    }
  }
  return text;
}

class Fuzz : public testing::TestWithParam<Target> {};

TEST_P(Fuzz, CorpusAndItsMutationsAreHarmless) {
  const Target& target = GetParam();
  const std::vector<std::string> inputs = corpus_of(target);
  ASSERT_FALSE(inputs.empty());
  const std::string last = in_build("/fuzz-") + target.name;
  std::mt19937 dice(20);
  for (const std::string& input : inputs) {
    for (int i = 0; i <= target.mutations; i++) {
      const std::string bytes = i == 0 ? input : mutated(input, inputs, &dice);
      // What ends the program leaves its cause behind.
      std::ofstream(last, std::ios::binary)
          .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      // A copy of its own, so that a sanitizer sees a read beyond the end.
      const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
      target.run(exact.data(), exact.size());
    }
  }
  fs::remove(last);
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace millrace
