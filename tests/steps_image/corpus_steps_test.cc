// Goal: files that nobody here made, through every step, with what it does by default and with much
// asked for: a picture that `upload` takes, or a declared reason and a sentence; never a crash, a
// hang or nothing.
// Method: the shared corpus (skipped where it is absent), each run in a child with 2 GiB of address
// space and a time limit. The fast suite takes a sample: each file meets a few of the runs, each
// run many files. The long one takes all.
#include "cmake/precompiled_test.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

struct StepUse {
  const char* step;
  ParamTexts params;
  bool second = false;  // the file itself as second input
};

// A hang, and not a busy machine.
constexpr int kSecondsMax = 120;

constexpr const char* kEveryOperation =
    R"([{"type":"rotate","params":{"angle":270,"mirror":"vertical"}},)"
    R"({"type":"crop","params":{"aspect":"4:3","gravity":"attention"}},)"
    R"({"type":"resize","params":{"width":90,"height":70,"fit":"contain","linear":true}},)"
    R"({"type":"blur","params":{"sigma":0.8}},{"type":"sharpen"},{"type":"watermark",)"
    R"("params":{"scale":0.3,"opacity":0.5,"tile":true}},{"type":"grayscale"},)"
    R"({"type":"dither","params":{"palette":"gameboy","method":"atkinson"}},)"
    R"({"type":"convert","params":{"format":"webp","lossless":true,"metadata":"keep"}}])";

const std::vector<StepUse>& runs() {
  static const std::vector<StepUse> all = {
      {"upload", {}},
      {"transform", {{"operations", "[]"}}},
      {"transform", {{"operations", kEveryOperation}}, true},
      {"resize", {{"width", "100"}}},
      {"resize",
       {{"width", "120"},
        {"height", "90"},
        {"gravity", "entropy"},
        {"linear", "true"},
        {"kernel", "mitchell"},
        {"enlarge", "true"},
        {"format", "webp"},
        {"effort", "0"},
        {"colours", "keep"}}},
      {"crop", {{"aspect", "1:1"}}},
      {"crop",
       {{"width", "64"},
        {"height", "48"},
        {"gravity", "attention"},
        {"format", "gif"},
        {"effort", "1"}}},
      {"rotate", {}},
      {"rotate",
       {{"angle", "90"},
        {"mirror", "horizontal"},
        {"format", "tiff"},
        {"metadata", "keep"},
        {"damaged", "accept"}}},
      {"convert", {}},
      {"convert",
       {{"format", "jpeg"},
        {"quality", "60"},
        {"progressive", "true"},
        {"background", "#203040"},
        {"metadata", "strip"},
        {"damaged", "accept"}}},
      {"blur", {}},
      {"blur", {{"sigma", "12.5"}, {"format", "png"}, {"progressive", "true"}}},
      {"sharpen", {}},
      {"sharpen", {{"sigma", "3"}, {"amount", "4"}, {"threshold", "0"}, {"format", "webp"}}},
      {"watermark", {}, true},
      {"watermark",
       {{"gravity", "northwest"},
        {"margin", "3"},
        {"opacity", "0.4"},
        {"scale", "0.2"},
        {"tile", "true"},
        {"format", "jpeg"}},
       true},
      {"dither", {}},
      {"dither",
       {{"palette", "c64"}, {"method", "blue_noise"}, {"linear", "true"}, {"format", "gif"}}},
      {"optimize", {{"quality", "lossless"}}},
      {"optimize", {{"formats", "web"}, {"quality", "low"}, {"metadata", "strip"}}},
      {"grayscale", {}},
      {"grayscale", {{"method", "luminance"}, {"quality", "70"}, {"metadata", "keep"}}},
      {"placeholder", {}},
      {"placeholder", {{"across", "9"}, {"down", "9"}}},
      {"compare", {}, true},
      {"metadata", {}},
      {"metadata", {{"remove", "everything"}, {"location", "true"}}},
  };
  return all;
}

std::vector<std::string> all_files() {
  std::vector<std::string> names;
  for (const char* folder : {"exif-orientation", "libjpeg-turbo", "photo", "pngsuite", "x-image"}) {
    // .bmp and .icc too: what is not taken is refused with a reason.
    const std::vector<std::string> some = corpus_files(folder, "");
    names.insert(names.end(), some.begin(), some.end());
  }
  return names;
}

// What came of all runs, for the long test's summary.
struct Tally {
  int made = 0, refused = 0;
  std::map<std::string, int> reasons;
};

void expect_clean(const StepUse& run, const std::string& name, Tally* tally) {
  const std::string image = corpus(name);
  StepRequest request{run.step, run.step, image, run.params};
  if (run.second) request.second = image;
  const StepRun done = run_step_apart(request, kSecondsMax);
  const std::string what = std::string(run.step) + " of " + name;
  const StepAnswer& answer = done.answer;
  EXPECT_EQ(done.died, "") << what;
  EXPECT_EQ(answer.misuse, "") << what;
  if (!done.died.empty()) return;
  if (answer.code == MR_OK) {
    tally->made += 1;
    for (const std::string& output : answer.outputs) {
      if (run.step == std::string("upload")) continue;
      EXPECT_EQ(upload(output).code, MR_OK) << what;
    }
    return;
  }
  tally->refused += 1;
  tally->reasons[answer.reason] += 1;
  EXPECT_EQ(answer.code, MR_FAILED) << what;
  EXPECT_NE(answer.reason, "") << what;
  EXPECT_NE(answer.reason, "bad_parameter") << what << ": " << answer.message;
  EXPECT_GT(answer.message.size(), 20u) << what << ": " << answer.message;
  // Whoever takes it must not be refused by another for what it is; damage is another matter.
  if (answer.reason == "not_an_image") {
    EXPECT_EQ(upload(image).reason, "not_an_image") << what;
  }
}

TEST(CorpusThroughSteps, ASampleGivesPicturesOrReasons) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  const std::vector<std::string> files = all_files();
  Tally tally;
  size_t turn = 0;
  for (const std::string& name : files) {
    const bool large = name.find("exif-orientation") == 0 || name.find("bench-") != name.npos;
    if (large && turn % 7 != 0) {
      turn += 3;
      continue;
    }
    expect_clean(runs()[turn % runs().size()], name, &tally);
    turn += 1;
  }
  EXPECT_GT(tally.made, 80);
}

TEST(CorpusThroughStepsLong, EverythingGivesPicturesOrReasons) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  Tally tally;
  for (const StepUse& run : runs()) {
    for (const std::string& name : all_files()) expect_clean(run, name, &tally);
  }
  printf("%d pictures, %d refused\n", tally.made, tally.refused);
  for (const auto& [reason, count] : tally.reasons) printf("  %s %d\n", reason.c_str(), count);
  EXPECT_GT(tally.made, 2000);
}

}  // namespace
}  // namespace millrace::testing
