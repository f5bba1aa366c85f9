// Goal: what holds for every picture step alike: a repetition gives the same bytes, the host's stop
// is heard, everything is documented, and the files of many programs are taken. Method: the real
// plugins' declarations and the shared corpus.
#include "cmake/precompiled_test.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

struct Case {
  const char* step;
  ParamTexts params;
};

const Case kCases[] = {
    {"resize", {{"width", "20"}, {"height", "20"}, {"gravity", "attention"}}},
    {"crop", {{"aspect", "1:1"}, {"gravity", "entropy"}}},
    {"rotate", {{"angle", "90"}}},
    {"convert", {{"format", "webp"}}},
    {"blur", {}},
    {"sharpen", {}},
    {"watermark", {{"scale", "0.4"}}},
    {"dither", {{"method", "blue_noise"}, {"channels", "3"}}},
    {"transform", {{"operations", R"([{"type":"resize","params":{"width":9}}])"}}},
    {"optimize", {{"formats", "web"}}},
    {"placeholder", {}},
    {"metadata", {}},
    {"compare", {}},
};

TEST(PictureSteps, ARepetitionGivesTheSameBytesAndResults) {
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}};
  for (const std::string& image :
       {encode_jpeg(scene(64, 48)), encode_png(scene(50, 40, 4)), encode_gif(gif)}) {
    for (const Case& one : kCases) {
      const StepAnswer first = run_picture_step(one.step, image, one.params, image);
      const StepAnswer second = run_picture_step(one.step, image, one.params, image);
      ASSERT_TRUE(first.ok()) << one.step << first.message << first.misuse;
      EXPECT_EQ(first.outputs, second.outputs) << one.step;
      EXPECT_EQ(first.results, second.results) << one.step;
    }
  }
}

TEST(PictureSteps, EverythingIsDeclaredAndDocumented) {
  for (const Case& one : kCases) {
    const mr_plugin* plugin = load_plugin(one.step);
    ASSERT_NE(plugin, nullptr) << one.step;
    ASSERT_EQ(plugin->step_count, 1u);
    const mr_step& step = *plugin->steps[0];
    EXPECT_EQ(step.effect, static_cast<uint32_t>(MR_PURE));
    EXPECT_GT(std::string(step.doc).size(), 40u) << one.step;
    const std::pair<const mr_port*, uint32_t> tables[] = {{step.inputs, step.input_count},
                                                          {step.params, step.param_count},
                                                          {step.outputs, step.output_count},
                                                          {step.results, step.result_count}};
    EXPECT_LE(step.input_count + step.param_count, 32u) << one.step;
    for (const auto& [ports, count] : tables) {
      for (uint32_t i = 0; i < count; ++i) {
        EXPECT_EQ(std::string(ports[i].doc).back(), '.') << one.step << " " << ports[i].name;
      }
    }
    // Every declared result is set, none twice under another name.
    const std::string image = encode_png(scene(30, 20));
    const StepAnswer answer = run_picture_step(one.step, image, one.params, image);
    EXPECT_EQ(answer.results.size(), step.result_count) << one.step << answer.message;
    for (const std::string& output : answer.outputs) EXPECT_FALSE(output.empty()) << one.step;
  }
}

TEST(PictureSteps, TheHostsStopIsHeard) {
  const std::string image = encode_png(scene(900, 700));
  for (const Case& one : kCases) {
    if (std::string(one.step) == "metadata")
      continue;  // decodes nothing: over before anybody could
    StepRequest request{one.step, one.step, image, one.params};
    request.second = image;
    request.cancel_after = 1;
    const StepAnswer answer = run_step(request);
    EXPECT_EQ(answer.code, MR_CANCELLED) << one.step << answer.reason << answer.misuse;
  }
}

TEST(PictureSteps, TheCorpusIsTaken) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  const char* formats[] = {"jpeg", "png", "webp", "tiff", "gif"};
  size_t number = 0;
  for (const char* folder : {"x-image", "photo", "libjpeg-turbo"}) {
    for (const char* ending : {".webp", ".tiff", ".png", ".jpeg", ".jpg", ".gif"}) {
      for (const std::string& name : corpus_files(folder, ending)) {
        const std::string image = corpus(name);
        const StepAnswer answer = run_picture_step("resize", image,
                                                   {{"width", "64"},
                                                    {"height", "64"},
                                                    {"fit", "inside"},
                                                    {"format", formats[number++ % 5]}});
        EXPECT_EQ(answer.misuse, "") << name;
        if (answer.code != MR_OK) {
          // What the grayscale step cannot take either, and says why.
          EXPECT_NE(grayscale(image).code, MR_OK) << name << ": " << answer.message;
          continue;
        }
        EXPECT_EQ(upload(answer.outputs[0]).code, MR_OK) << name;
      }
    }
  }
}

}  // namespace
}  // namespace millrace::testing
