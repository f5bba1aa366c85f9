// Goal: a list of operations gives what the steps give one after the other, and a list that makes
// no sense is answered with the entry, the fault and what there is. Method: lossless pictures, so
// that one chain and several steps must agree bit for bit.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

TEST(Transform, AChainIsWhatItsStepsAre) {
  const Picture picture = scene(120, 80, 4);
  const std::string image = encode_png(picture);
  std::string by_steps = image;
  for (const auto& [step, params] : std::vector<std::pair<std::string, ParamTexts>>{
           {"resize", {{"width", "60"}, {"height", "60"}}},
           {"rotate", {{"angle", "90"}}},
           {"blur", {{"sigma", "1.5"}}},
           {"crop", {{"aspect", "2:1"}}}}) {
    const StepAnswer answer = run_picture_step(step, by_steps, params);
    ASSERT_TRUE(answer.ok()) << step << answer.message << answer.misuse;
    by_steps = answer.outputs[0];
  }
  const StepAnswer chain =
      transform(image, R"([{"type":"resize","params":{"width":60,"height":60.0}},
                 {"type":"rotate","params":{"angle":90}},
                 {"type":"blur","params":{"sigma":1.5}},
                 {"type":"crop","params":{"aspect":"2:1"}}])");
  EXPECT_EQ(worst_difference(decoded(chain), decode_png(by_steps)), 0);
}

TEST(Transform, TakesTheListThatPeopleSend) {
  const StepAnswer answer =
      transform(encode_png(scene(160, 120)),
                R"([{"type":"resize","params":{"width":80,"height":60,"fit":"cover"}},)"
                R"({"type":"optimize","params":{"quality":80,"format":"jpeg"}}])");
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_EQ(answer.media_type, "image/jpeg");
  EXPECT_EQ(answer.results.at("width") + "x" + answer.results.at("height"), "80x60");
  EXPECT_EQ(transform(encode_png(scene(9, 9)), "[]").code, MR_OK);
}

TEST(Transform, GrayscaleFollowsTheStepsFormula) {
  const std::string image = encode_png(scene(40, 30));
  for (const char* method : {"luma", "luminance"}) {
    const StepAnswer chain = transform(
        image, fmt::format(R"([{{"type":"greyscale","params":{{"method":"{}"}}}}])", method));
    EXPECT_EQ(worst_difference(decoded(chain),
                               decode_png(grayscale(image, {{"method", method}}).outputs[0])),
              0);
  }
}

TEST(Transform, AWrongListIsExplained) {
  const std::string image = encode_png(scene(9, 9));
  const auto message = [&](const std::string& operations) {
    const StepAnswer answer = transform(image, operations);
    EXPECT_EQ(answer.reason, "bad_parameter") << operations << answer.misuse;
    return answer.message;
  };
  const auto expect_says = [&](const std::string& operations, const std::string& words) {
    EXPECT_NE(message(operations).find(words), std::string::npos) << message(operations);
  };
  expect_says(R"({"type":"resize"})", "must be a list such as");
  expect_says("[5]", "operations[0] must be an object with a type");
  expect_says(R"([{"type":"resise"}])",
              "operations[0]: there is no operation 'resise'; there are: resize");
  expect_says(
      R"([{"type":"crop","params":{"aspect":"1:1"}},{"type":"resize","params":{"widht":5}}])",
      "operations[1] (resize): there is no parameter 'widht'; there are: width, height");
  expect_says(R"([{"type":"resize","params":{"width":0}}])",
              "operations[0] (resize): width is 0, it must be int from 1 to 65535");
  expect_says(R"([{"type":"resize","params":{"width":5,"fit":"crop"}}])",
              "fit is 'crop', it must be enum<cover,contain,fill,inside,outside>");
  expect_says(R"([{"type":"resize","params":{"width":"5"}}])", "width is '5', it must be int");
  expect_says(R"([{"type":"resize","args":{"width":5}}])", "there is no 'args'");
  expect_says(R"([{"type":"watermark"}])", "operations[0]: watermark needs a second picture");
  std::string many = "[";
  for (int i = 0; i < 33; ++i) many += std::string(i ? "," : "") + R"({"type":"grayscale"})";
  expect_says(many + "]", "33 entries, at most 32");
}

TEST(Transform, WhatTheConversionDoesNotSayStays) {
  JpegStyle style;
  style.exif = "";
  const StepAnswer answer =
      transform(encode_png(scene(40, 40, 4)), R"([{"type":"convert","params":{"format":"jpeg"}}])",
                {{"background", "#000000"}, {"quality", "98"}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const StepAnswer white =
      transform(encode_png(scene(40, 40, 4)), R"([{"type":"convert","params":{"format":"jpeg"}}])");
  EXPECT_LT(decoded(answer).at(35, 20, 0) + 60, decoded(white).at(35, 20, 0));
}

// ---- blur, sharpen, watermark

TEST(Blur, IsTheGaussian) {
  Picture dot =
      make_picture(41, 41, 1, 16, [](int x, int y, int) { return x == 20 && y == 20 ? 65535 : 0; });
  const double sigma = 2.5;
  const Picture got = decoded(run_picture_step("blur", encode_png(dot), {{"sigma", "2.5"}}));
  double sum = 0;
  for (int i = -20; i <= 20; ++i) sum += std::exp(-0.5 * i * i / (sigma * sigma));
  for (const auto& [x, y] : {std::pair(20, 20), std::pair(23, 20), std::pair(18, 16)}) {
    const int dx = x - 20, dy = y - 20;
    const double wanted =
        65535 * std::exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma)) / (sum * sum);
    EXPECT_NEAR(got.at(static_cast<uint32_t>(x), static_cast<uint32_t>(y), 0), wanted, 6);
  }
  EXPECT_EQ(run_picture_step("blur", encode_png(dot), {{"sigma", "0"}}).reason, "bad_parameter");
}

TEST(Blur, TransparentPixelsGiveNoColour) {
  const Picture picture = make_picture(40, 20, 4, 8, [](int x, int, int band) {
    const bool seen = x < 20;
    if (band == 3) return seen ? 255 : 0;
    return band == (seen ? 0 : 1) ? 255 : 0;
  });
  const Picture got = decoded(run_picture_step("blur", encode_png(picture), {{"sigma", "3"}}));
  for (uint32_t x = 0; x < 26; ++x) {
    if (got.at(x, 10, 3) < 8) continue;
    EXPECT_GE(got.at(x, 10, 0), 250) << x;
    EXPECT_LE(got.at(x, 10, 1), 4) << x;
  }
}

TEST(Sharpen, IsTheUnsharpMask) {
  const Picture step =
      make_picture(40, 9, 1, 8, [](int x, int, int) { return x < 20 ? 100 : 150; });
  const Picture got = decoded(run_picture_step("sharpen", encode_png(step), {{"sigma", "1"}}));
  double sum = 0, right = 0;
  for (int i = -4; i <= 4; ++i) {
    const double weight = std::exp(-0.5 * i * i);
    sum += weight;
    if (i >= 1) right += weight;  // of column 19: what lies beyond the edge
  }
  const double blurred = 100 + 50 * right / sum;
  EXPECT_NEAR(got.at(19, 4, 0), 100 + (100 - blurred), 1);
  EXPECT_EQ(got.at(2, 4, 0), 100);
  const Picture flat = make_picture(40, 9, 1, 8, [](int x, int, int) { return 100 + x % 2; });
  EXPECT_EQ(worst_difference(decoded(run_picture_step("sharpen", encode_png(flat), {})), flat), 0)
      << "noise below the threshold stays";
}

TEST(Watermark, IsLaidOverWithItsAlpha) {
  const Picture picture = make_picture(60, 40, 3, 8, [](int, int, int) { return 100; });
  const Picture mark = make_picture(
      10, 6, 4, 8, [](int x, int, int band) { return band == 3 ? (x < 5 ? 255 : 128) : 200; });
  const auto put = [&](ParamTexts params) {
    return decoded(run_picture_step("watermark", encode_png(picture), params, encode_png(mark)));
  };
  const Picture corner = put({{"margin", "3"}});
  EXPECT_EQ(corner.at(47, 31, 0), 200) << "60-3-10, 40-3-6";
  EXPECT_EQ(corner.at(46, 31, 0), 100);
  EXPECT_EQ(corner.at(56, 36, 0), 150);
  EXPECT_EQ(corner.at(57, 36, 0), 100);
  EXPECT_EQ(put({{"margin", "3"}, {"opacity", "0.5"}}).at(47, 31, 0), 150);
  EXPECT_EQ(put({{"margin", "3"}, {"gravity", "northwest"}}).at(3, 3, 0), 200);
  EXPECT_EQ(put({{"margin", "2"}, {"tile", "true"}, {"gravity", "northwest"}}).at(2 + 12, 2 + 8, 0),
            200);
  const Picture scaled = put({{"margin", "0"}, {"gravity", "northwest"}, {"scale", "0.5"}});
  EXPECT_EQ(scaled.at(2, 2, 0), 200);
  EXPECT_EQ(scaled.at(29, 17, 0), 150);
  EXPECT_EQ(scaled.at(31, 2, 0), 100);
  const Picture clear = make_picture(30, 30, 2, 8, [](int, int, int band) { return band ? 0 : 9; });
  const Picture over = decoded(
      run_picture_step("watermark", encode_png(clear), {{"margin", "0"}}, encode_png(mark)));
  ASSERT_EQ(over.bands, 4) << "a coloured mark on gray";
  EXPECT_EQ(over.at(20, 24, 0), 200);
  EXPECT_EQ(over.at(29, 29, 3), 128);
  EXPECT_EQ(run_picture_step("watermark", encode_png(picture), {}, "no image").reason,
            "not_an_image");
}

}  // namespace
}  // namespace millrace::testing
