// Goal: the ready pipelines do what their descriptions say, for a client of the real server.
// Method: the built program serves the shipped folder; photographs and pictures made here go in as
// clients send them (raw, as a form's JSON, in base64), and what comes back is decoded by others.
#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "engine/base/digest.h"
#include "tests/http/client.h"
#include "tests/http/program_fixture.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

using test::Answer;
using test::Client;

class ReadyPipelines : public test::Program {
 protected:
  void SetUp() override {
    test::Program::SetUp();
    server_ = std::make_unique<test::Child>(
        serve({"pipelines=" + in_source("/pipelines"), "workers.cpu=2"}));
    ASSERT_TRUE(server_->read_until("ev=server.ready")) << server_->text;
    ASSERT_TRUE(server_->read_until("\n"));
    client_ = std::make_unique<Client>(server_->word_after("addr"));
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
    test::Program::TearDown();
  }

  // The ended job as JSON text; other inputs are written as query parameters.
  std::string run(const std::string& pipeline, const std::string& image,
                  const std::string& inputs = "") {
    return ended(client_->request("POST", "/v1/pipelines/" + pipeline + "/jobs" + inputs,
                                  "Prefer: wait=240\r\nContent-Type: application/octet-stream\r\n",
                                  image));
  }
  std::string run_json(const std::string& pipeline, const std::string& body) {
    return ended(client_->request("POST", "/v1/pipelines/" + pipeline + "/jobs",
                                  "Prefer: wait=240\r\nContent-Type: application/json\r\n", body));
  }
  static std::string ended(const Answer& answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(text_after(answer.body, "\"state\":\""), "succeeded") << answer.body;
    return answer.body;
  }
  static std::string text_after(const std::string& text, const std::string& mark) {
    const size_t at = text.find(mark);
    if (at == std::string::npos) return "";
    const size_t start = at + mark.size();
    return text.substr(start, text.find('"', start) - start);
  }
  std::string output(const std::string& job, const std::string& name) {
    const Answer answer =
        client_->get("/v1/jobs/" + text_after(job, "{\"id\":\"") + "/outputs/" + name);
    EXPECT_EQ(answer.status, 200) << name << ": " << answer.body;
    return answer.body;
  }
  // What stands behind a link that a job gave.
  std::string fetched(const std::string& link) {
    const Answer answer = client_->get(link);
    EXPECT_EQ(answer.status, 200) << link << ": " << answer.body;
    return answer.body;
  }
  static std::string link_of(const std::string& output) {  // a JSON text
    return output.size() > 2 ? output.substr(1, output.size() - 2) : "";
  }
  static std::string size_of(const std::string& image) {
    const StepAnswer answer = upload(image);
    return answer.ok() ? answer.results.at("width") + "x" + answer.results.at("height")
                       : answer.message;
  }
  static std::string photo() {
    std::ifstream file(in_source("/demo/photo.jpg"), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static int png_bits(const std::string& png) { return png.size() > 33 ? png[24] : 0; }

  std::unique_ptr<test::Child> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ReadyPipelines, GrayscaleStoresBoth) {
  const std::string in = encode_png(scene(60, 40));
  const std::string job = run("grayscale", in);
  const Picture gray = decode_png(output(job, "image"));
  EXPECT_EQ(gray.bands, 1);
  EXPECT_EQ(gray.width, 60u);
  const std::string id = text_after(job, "{\"id\":\"");
  EXPECT_EQ(fetched("/v1/files/default/originals/" + id + ".png"), in);
  EXPECT_EQ(fetched("/v1/files/default/results/" + id + ".png"), output(job, "image"));
}

TEST_F(ReadyPipelines, ThumbnailsHaveTheSizesAskedFor) {
  std::string job = run("thumbnails", photo());
  EXPECT_EQ(size_of(output(job, "large")).substr(0, 4), "1440");
  EXPECT_EQ(size_of(output(job, "medium")).substr(0, 3), "640");
  EXPECT_EQ(size_of(output(job, "small")), "250x250");
  job = run("thumbnails", encode_png(scene(90, 60)), "?large=60&medium=30&small=20");
  EXPECT_EQ(size_of(output(job, "large")), "60x40");
  EXPECT_EQ(size_of(output(job, "medium")), "30x20");
  EXPECT_EQ(size_of(output(job, "small")), "20x20");
}

TEST_F(ReadyPipelines, OptimizeRunsTheListAndIsSmaller) {
  JpegStyle style;
  style.quality = 95;
  const std::string in = encode_jpeg(scene(320, 240), style);
  std::string job = run("optimize", in);
  EXPECT_EQ(size_of(output(job, "image")), "320x240");
  EXPECT_LE(output(job, "image").size(), in.size());
  EXPECT_GE(std::stod("0" + output(job, "ssim")), 0.985);
  EXPECT_NE(output(job, "placeholder").find('"'), std::string::npos);
  EXPECT_NE(output(job, "metadata").find("\"media_type\":"), std::string::npos);
  job = run_json(
      "optimize",
      R"({"inputs":{"formats":"same","quality":"medium","operations":[{"type":"resize","params":)"
      R"({"width":100,"height":100}},{"type":"grayscale"}],"image":{"base64":")" +
          base64_encode(in) + "\"}}}");
  const std::string out = output(job, "image");
  EXPECT_EQ(size_of(out), "100x100");
  EXPECT_EQ(jpeg_facts(out).components, 1);
}

TEST_F(ReadyPipelines, DitherTakesLevelsOrAPalette) {
  const std::string in = encode_png(scene(64, 48, 1));
  std::string job = run("dither", in);
  EXPECT_EQ(png_bits(output(job, "image")), 1);
  job = run("dither", in, "?levels=4");
  EXPECT_EQ(png_bits(output(job, "image")), 2);
  for (const uint16_t sample : decode_png(output(job, "image")).samples) {
    ASSERT_EQ(sample % 85, 0);
  }
  job = run("dither", encode_jpeg(scene(64, 48)), "?palette=gameboy&width=32&method=bayer4");
  EXPECT_EQ(size_of(output(job, "image")), "32x24");
  EXPECT_EQ(png_bits(output(job, "image")), 2);
}

TEST_F(ReadyPipelines, AnAvatarComesAsBase64AndLeavesAsALink) {
  const std::string job = run_json("avatar", R"({"inputs":{"image":{"base64":")" +
                                                 base64_encode(encode_png(scene(90, 60, 4))) +
                                                 R"(","media_type":"image/png"}}})");
  const std::string link = link_of(output(job, "url"));
  EXPECT_EQ(link.find("/v1/files/default/avatars/"), 0u) << link;
  const std::string image = fetched(link);
  EXPECT_EQ(size_of(image), "400x400");
  EXPECT_TRUE(jpeg_facts(image).progressive);
}

TEST_F(ReadyPipelines, AGalleryFilterReplacesWhatStandsUnderTheKey) {
  const std::string in = encode_png(scene(80, 60));
  std::string job = run("gallery-filter", in, "?key=summer/beach.png&filter=blur");
  const std::string link = link_of(output(job, "url"));
  EXPECT_EQ(link, "/v1/files/default/gallery/summer/beach.png");
  const std::string soft = fetched(link);
  EXPECT_EQ(decode_png(soft).bands, 3);
  EXPECT_NE(soft, in);
  job = run("gallery-filter", in, "?key=summer/beach.png");
  EXPECT_EQ(link_of(output(job, "url")), link);
  EXPECT_EQ(decode_png(fetched(link)).bands, 1);
  // What would not stay in its format would lie under an ending that is not its own.
  const Answer refused =
      client_->request("POST", "/v1/pipelines/gallery-filter/jobs?key=summer/beach.heic",
                       "Content-Type: image/heic\r\n", encode_heif(scene(64, 64), {.hevc = true}));
  EXPECT_EQ(refused.status, 415) << refused.body;
  EXPECT_NE(refused.body.find("image/avif"), std::string::npos) << refused.body;
}

}  // namespace
}  // namespace millrace::testing
