// Goal: a list of operations decodes once and encodes once, and between them nothing is lost that
// the steps would not lose. Method: a JPEG (and pictures of 8 and 16 bits) goes through the steps
// one by one with lossless PNGs between them, and through the list; both are encoded once, at the
// end, into the same bytes. An encoder between two operations would not give them.
#include "cmake/precompiled_test.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

struct Link {
  const char* step;
  ParamTexts params;
  const char* entry;  // of the list
};

std::string mark() {
  return encode_png(make_picture(10, 8, 4, 8, [](int x, int y, int band) {
    return band == 3 ? 100 + x * 15 + y : band == 0 ? 255 : 30;
  }));
}

const Link kRotate = {"rotate", {{"angle", "90"}}, R"({"type":"rotate","params":{"angle":90}})"};
const Link kBlur = {"blur", {{"sigma", "1.5"}}, R"({"type":"blur","params":{"sigma":1.5}})"};
const Link kSharpen = {"sharpen",
                       {{"sigma", "1.2"}, {"amount", "1.5"}, {"threshold", "1"}},
                       R"({"type":"sharpen","params":{"sigma":1.2,"amount":1.5,"threshold":1}})"};
const Link kCrop = {"crop",
                    {{"left", "5"}, {"top", "3"}, {"width", "50"}, {"height", "61"}},
                    R"({"type":"crop","params":{"left":5,"top":3,"width":50,"height":61}})"};
const Link kResize = {"resize",
                      {{"width", "41"}, {"height", "47"}, {"fit", "fill"}},
                      R"({"type":"resize","params":{"width":41,"height":47,"fit":"fill"}})"};
const Link kLinear = {
    "resize",
    {{"width", "41"}, {"height", "47"}, {"fit", "fill"}, {"linear", "true"}},
    R"({"type":"resize","params":{"width":41,"height":47,"fit":"fill","linear":true}})"};
const Link kWatermark = {"watermark",
                         {{"gravity", "centre"}, {"opacity", "0.7"}},
                         R"({"type":"watermark","params":{"gravity":"centre","opacity":0.7}})"};
const Link kDither = {
    "dither", {{"channels", "4"}}, R"({"type":"dither","params":{"channels":4}})"};

// One chain begins with what is not `resize`, which lets a decoder shrink.
const std::vector<std::vector<Link>>& chains() {
  static const std::vector<std::vector<Link>> all = {
      {kRotate, kCrop, kResize, kSharpen},    {kBlur, kLinear, kSharpen, kRotate},
      {kCrop, kWatermark, kBlur, kWatermark}, {kSharpen, kLinear, kWatermark, kDither},
      {kRotate, kDither, kResize, kDither},
  };
  return all;
}

// By the steps; `last` are the parameters of the encoder.
StepAnswer by_steps(const std::string& image, const std::vector<Link>& chain, ParamTexts last) {
  StepAnswer answer;
  answer.outputs = {image};
  const std::string second = mark();
  for (size_t i = 0; i < chain.size(); ++i) {
    ParamTexts params = chain[i].params;
    if (i + 1 == chain.size()) {
      params.merge(ParamTexts(last));
    } else {
      params["format"] = "png";
    }
    answer = run_picture_step(chain[i].step, answer.outputs[0], params,
                              chain[i].step == kWatermark.step ? second : "");
    EXPECT_TRUE(answer.ok()) << chain[i].step << answer.message << answer.misuse;
    if (!answer.ok()) answer.outputs = {""};
  }
  return answer;
}

StepAnswer by_list(const std::string& image, const std::vector<Link>& chain, ParamTexts params) {
  std::string list, second;
  for (const Link& link : chain) {
    list += (list.empty() ? "[" : ",") + std::string(link.entry);
    if (link.step == kWatermark.step) second = mark();
  }
  params["operations"] = list + "]";
  return run_picture_step("transform", image, params, second);
}

// It states a resolution, which the PNGs between the steps would otherwise do of themselves.
std::string photograph() {
  return encode_jpeg(scene(90, 70), {.dots_per_inch = 300});
}

std::string named(const std::vector<Link>& chain) {
  std::string name;
  for (const Link& link : chain) name += std::string(link.step) + " ";
  return name;
}

TEST(TransformChain, OfAJpegHasOneEncoder) {
  const std::string image = photograph();
  for (const std::vector<Link>& chain : chains()) {
    const ParamTexts params = {{"format", "jpeg"}, {"quality", "70"}};
    const StepAnswer list = by_list(image, chain, params);
    ASSERT_TRUE(list.ok()) << named(chain) << list.message << list.misuse;
    EXPECT_TRUE(list.outputs[0] == by_steps(image, chain, params).outputs[0]) << named(chain);
  }
}

// What the comparison above would see.
TEST(TransformChain, AnEncoderBetweenTwoOperationsWouldShow) {
  const std::vector<Link> chain = {kRotate, kBlur};
  const std::string image = photograph();
  const ParamTexts params = {{"format", "jpeg"}, {"quality", "70"}};
  const StepAnswer between =
      run_picture_step("rotate", image, {{"angle", "90"}, {"quality", "70"}});
  ASSERT_TRUE(between.ok()) << between.message;
  ParamTexts last = params;
  last.merge(ParamTexts(kBlur.params));
  const StepAnswer twice = run_picture_step("blur", between.outputs[0], last);
  EXPECT_TRUE(twice.outputs[0] != by_list(image, chain, params).outputs[0]);
  EXPECT_TRUE(by_steps(image, chain, params).outputs[0] ==
              by_list(image, chain, params).outputs[0]);
}

TEST(TransformChain, OfEveryDepthAndAlphaIsItsStepsBitForBit) {
  for (const int bits : {8, 16}) {
    for (const int bands : {1, 3, 4}) {
      const std::string image = encode_png(scene(90, 70, bands, bits));
      for (const std::vector<Link>& chain : chains()) {
        const std::string what = fmt::format("{}{} bits, {} bands", named(chain), bits, bands);
        const StepAnswer list = by_list(image, chain, {{"format", "png"}});
        ASSERT_TRUE(list.ok()) << what << list.message << list.misuse;
        const Picture got = decode_png(list.outputs[0]);
        const Picture wanted =
            decode_png(by_steps(image, chain, {{"format", "png"}}).outputs.at(0));
        EXPECT_EQ(got.bits, wanted.bits) << what;
        EXPECT_EQ(worst_difference(got, wanted), 0) << what;
      }
    }
  }
}

}  // namespace
}  // namespace millrace::testing
