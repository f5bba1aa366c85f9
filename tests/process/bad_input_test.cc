// Goal: what bad input gets. Each has a status, a stable code, a sentence that says what to do and
// an entry in the error reference; the server goes on, and no acknowledged job is lost by it.
// Method: the real binary. Every test has a job acknowledged before it, and that job must succeed
// after it.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <jpeglib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "bench/harness/receiver.h"
#include "cmake/tree.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr size_t kBodyBytesMax = 256 * 1024;
constexpr char kJobs[] = "/v1/pipelines/grayscale/jobs";
constexpr char kTypeJson[] = "Content-Type: application/json\r\n";

std::string multipart(const std::string& name, const std::string& data) {
  return "--frontier\r\nContent-Disposition: form-data; name=\"" + name +
         "\"; filename=\"a.jpg\"\r\n\r\n" + data + "\r\n--frontier--\r\n";
}
constexpr char kTypeMultipart[] = "Content-Type: multipart/form-data; boundary=frontier\r\n";

class BadInput : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = make_directory("bad-input");
    ServerSettings settings = settings_in(directory_);
    std::ofstream(settings.pipelines + "/noop.yaml")
        << "pipeline: noop\nsteps:\n  work: { use: noop }\n";
    // webhook.allow at its default: only public addresses.
    settings.extra = {"limits.body=256KiB", "limits.pixels=1000000"};
    server_ = new ServerProcess(settings);
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->stop(), 0) << file_text(server_->log());
    delete server_;
    remove_tree(directory_);
  }

  void SetUp() override {
    const Reply reply = submit_image(port(), make_photo(0));
    ASSERT_EQ(reply.status, 202) << reply.shown();
    good_ = reply.text("id");
  }
  void TearDown() override {
    const Reply end = await_job(port(), good_);
    EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
    EXPECT_EQ(ask(port(), "GET", "/readyz").status, 200);
  }

  static uint16_t port() { return server_->port(); }
  static Reply post(const std::string& headers, const std::string& body,
                    const std::string& path = kJobs) {
    return ask(port(), "POST", path, headers, body);
  }
  // The image is accepted by its first bytes, and its job then fails in `step` for `reason`.
  static void expect_failed_job(const std::string& image, const std::string& step,
                                const std::string& reason) {
    const Reply reply = submit_image(port(), image, "Prefer: wait=120\r\n");
    ASSERT_EQ(reply.status, 200) << reply.shown();
    EXPECT_EQ(reply.text("state"), "failed") << reply.shown();
    for (const std::string& place : {std::string("error"), "steps." + step + ".error"}) {
      EXPECT_EQ(reply.text(place + ".code"), "E160") << reply.shown();
      EXPECT_EQ(reply.text(place + ".reason"), reason) << reply.shown();
      EXPECT_EQ(reply.text(place + ".step"), step) << reply.shown();
      expect_sentence(reply.text(place + ".message"));
    }
    EXPECT_EQ(reply.text("steps." + step + ".state"), "failed");
    EXPECT_EQ(reply.text("steps." + step + ".attempts"), "1") << "it is no better the next time";
    EXPECT_EQ(reply.text("steps.result.state"), "skipped");
    expect_in_reference("E160");
  }

  static inline std::string directory_;
  static inline ServerProcess* server_ = nullptr;
  std::string good_;
};

// ---- images

TEST_F(BadInput, WhatIsNoImageIs415) {
  expect_problem(submit_image(port(), "this is a text and no picture"), 415, "E018");
  expect_problem(submit_image(port(), std::string(1000, '\0')), 415, "E018");
  expect_problem(post(kTypeMultipart, multipart("image", "a text")), 415, "E018");
}

TEST_F(BadInput, AnImageOfAKindThatTheInputDoesNotTakeIs415) {
  const Reply reply = submit_image(
      port(), std::string("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28", 15) + std::string(80, '\0'));
  expect_problem(reply, 415, "E018");
}

TEST_F(BadInput, ATruncatedImageFailsItsJob) {
  const std::string photo = make_photo(1);
  expect_failed_job(photo.substr(0, photo.size() / 2), "upload", "truncated");
}

TEST_F(BadInput, AnImageThatAnnouncesTooManyPixelsFailsItsJob) {
  expect_failed_job(make_announced_png(60'000, 60'000), "upload", "too_many_pixels");
  expect_failed_job(make_announced_png(1'001, 1'000), "upload", "too_many_pixels");
}

TEST_F(BadInput, ADecompressionBombFailsItsJob) {
  // 900 frames of 1000 × 1000 in 15 KB: each is within the limit, all of them are not.
  expect_failed_job(make_gif_bomb(900, 1'000), "upload", "too_many_pixels");
}

TEST_F(BadInput, AnImageWithoutItsPixelsFailsItsJob) {
  expect_failed_job(make_announced_png(900, 900), "upload", "corrupt");  // more than deflate makes
  expect_failed_job(make_announced_png(50, 50), "gray", "corrupt");
}

// ---- the request

TEST_F(BadInput, AWrongMediaTypeIs415) {
  expect_problem(post("Content-Type: application/x-www-form-urlencoded\r\n", "image=1"), 415,
                 "E006");
  expect_problem(post("Content-Type: image/jpeg\r\n", make_photo(0), "/v1/pipelines/noop/jobs"),
                 415, "E006");
  expect_problem(post("Content-Type: application/json\r\n", "{}", "/v1/pipelines/validate"), 415,
                 "E006");
}

TEST_F(BadInput, AMissingInputIs422) {
  for (const Reply& reply : {post(kTypeJson, R"({"inputs":{}})"), post("", ""),
                             post(kTypeMultipart, multipart("quality", "80"))}) {
    expect_problem(reply, 422, "E010");
    EXPECT_NE(reply.body.find("'image'"), std::string::npos) << reply.body;
  }
}

TEST_F(BadInput, AnUnknownInputIs422) {
  const Reply reply = submit_image(port(), make_photo(0), "", "?qualty=80");
  expect_problem(reply, 422, "E009");
  EXPECT_NE(reply.body.find("quality"), std::string::npos) << "no nearest name in " << reply.body;
  EXPECT_NE(reply.body.find("\"pointer\":"), std::string::npos) << reply.body;
}

TEST_F(BadInput, AFileForAnUnknownInputIs422) {
  const Reply reply = post(kTypeMultipart, multipart("imag", make_photo(0)));
  expect_problem(reply, 422, "E010");  // and beside it:
  EXPECT_NE(reply.body.find("no input 'imag'; did you mean 'image'?"), std::string::npos)
      << reply.body;
}

TEST_F(BadInput, AnInputOfTheWrongTypeOrOutOfRangeIs422) {
  expect_problem(submit_image(port(), make_photo(0), "", "?quality=high"), 422, "E011");
  expect_problem(submit_image(port(), make_photo(0), "", "?quality=101"), 422, "E011");
  expect_problem(submit_image(port(), make_photo(0), "", "?callback=nowhere"), 422, "E011");
  expect_problem(post(kTypeJson, R"({"inputs":{"image":7}})"), 422, "E011");
}

TEST_F(BadInput, AllProblemsOfARequestAreSaidAtOnce) {
  const Reply reply = submit_image(port(), make_photo(0), "", "?quality=high&colour=red");
  EXPECT_EQ(reply.status, 422) << reply.shown();
  EXPECT_NE(reply.body.find("\"code\":\"E011\""), std::string::npos) << reply.body;
  EXPECT_NE(reply.body.find("\"code\":\"E009\""), std::string::npos) << reply.body;
}

TEST_F(BadInput, ABodyAboveTheLimitIs413) {
  const std::string large = make_photo(0) + std::string(kBodyBytesMax, 'x');
  expect_problem(submit_image(port(), large), 413, "E017");
  expect_problem(post(kTypeMultipart, multipart("image", large)), 413, "E017");
  expect_problem(post(kTypeJson, "{\"inputs\":\"" + std::string(8 << 20, 'x') + "\"}"), 413,
                 "E017");
  expect_problem(post("Content-Type: application/octet-stream\r\n", large, "/v1/blobs"), 413,
                 "E017");
}

TEST_F(BadInput, ABrokenMultipartIs400) {
  const std::string whole = multipart("image", make_photo(0));
  for (const Reply& reply : {post("Content-Type: multipart/form-data\r\n", whole),  // no boundary
                             post(kTypeMultipart, whole.substr(0, whole.size() / 2)),  // cut off
                             post(kTypeMultipart, "--frontier\r\n\r\nno name\r\n--frontier--\r\n"),
                             post(kTypeMultipart, "no part at all")}) {
    expect_problem(reply, 400, "E008");
  }
}

TEST_F(BadInput, BrokenJsonIs400) {
  for (const char* body : {"{\"inputs\":", "{'inputs':{}}", "[1,2", "\xff\xfe"}) {
    expect_problem(post(kTypeJson, body), 400, "E007");
  }
  std::string deep(100'000, '[');
  expect_problem(post(kTypeJson, deep), 400, "E007");
}

TEST_F(BadInput, BrokenYamlGetsEveryDiagnostic) {
  const std::string type = "Content-Type: application/yaml\r\n";
  const Reply reply = post(type, "pipeline: [unclosed\nsteps: {", "/v1/pipelines/validate");
  EXPECT_EQ(reply.status, 200) << "to be told what is wrong is what was asked for";
  ASSERT_NE(reply.body.find("\"diagnostics\":[{"), std::string::npos) << reply.shown();
  const Value& first = reply.json.find("diagnostics")->as_list().at(0);
  EXPECT_EQ(first.find("code")->as_string(), "E030") << reply.body;
  EXPECT_EQ(first.find("severity")->as_string(), "error") << reply.body;
  expect_sentence(first.find("message")->as_string());
  EXPECT_GT(first.find("line")->as_int(), 0);
  expect_in_reference("E030");
}

TEST_F(BadInput, APipelineThatCannotBeChangedIs403) {
  const Reply put = ask(port(), "PUT", "/v1/pipelines/grayscale",
                        "Content-Type: application/yaml\r\n", "pipeline: [unclosed\n");
  expect_problem(put, 403, "E196");
  EXPECT_EQ(ask(port(), "GET", "/v1/pipelines/grayscale").status, 200);
}

TEST_F(BadInput, WhatIsUnknownIs404) {
  expect_problem(post(kTypeJson, "{}", "/v1/pipelines/greyscale/jobs"), 404, "E004");
  expect_problem(ask(port(), "GET", "/v1/pipelines/greyscale"), 404, "E004");
  expect_problem(ask(port(), "GET", "/v1/nothing"), 404, "E002");
  expect_problem(post(kTypeJson, "{}", "/v2/pipelines/grayscale/jobs"), 404, "E002");
  expect_problem(ask(port(), "GET", "/v1/jobs/no-such-job"), 404, "E005");
  const Reply wrong = ask(port(), "GET", kJobs);
  expect_problem(wrong, 405, "E003");
  EXPECT_NE(wrong.head.find("Allow: "), std::string::npos) << wrong.head;
}

TEST_F(BadInput, ABadIdempotencyKeyIs400AndAUsedOne409) {
  for (const std::string& key :
       {std::string("two words"), std::string(256, 'k'), std::string("\xc3\xa4"), std::string()}) {
    const Reply reply = submit_image(port(), make_photo(0), "Idempotency-Key: " + key + "\r\n");
    expect_problem(reply, 400, "E012");
  }
  const Reply first = submit_image(port(), make_photo(0), "Idempotency-Key: mine\r\n");
  ASSERT_EQ(first.status, 202) << first.shown();
  const Reply other = submit_image(port(), make_photo(2), "Idempotency-Key: mine\r\n");
  expect_problem(other, 409, "E013");
  EXPECT_NE(other.text("detail").find(first.text("id")), std::string::npos) << other.shown();
  EXPECT_EQ(await_job(port(), first.text("id")).text("state"), "succeeded");
}

// ---- effects

TEST_F(BadInput, ACallbackToAPrivateAddressFailsAndNothingIsSent) {
  Receiver receiver;
  for (const std::string& url : {receiver.url(), std::string("http://169.254.169.254/latest/")}) {
    const Reply reply = submit_image(port(), make_photo(0), "Prefer: wait=120\r\n",
                                     "?callback=" + url_encoded(url));
    ASSERT_EQ(reply.status, 200) << reply.shown();
    EXPECT_EQ(reply.text("state"), "failed") << reply.shown();
    EXPECT_EQ(reply.text("error.code"), "E160");
    EXPECT_EQ(reply.text("error.reason"), "forbidden_address");
    EXPECT_EQ(reply.text("error.step"), "notify");
    EXPECT_EQ(reply.text("steps.notify.attempts"), "1") << "it is not tried again";
    EXPECT_NE(reply.text("error.message").find("webhook.allow"), std::string::npos)
        << reply.shown();
    const std::string output = "/v1/jobs/" + reply.text("id") + "/outputs/image";
    EXPECT_EQ(ask(port(), "GET", output).status, 200) << "the result stays readable";
  }
  EXPECT_EQ(receiver.count(), 0u);
}

// ---- plugins

class BadPlugin : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = make_directory("bad-plugin");
    steps_ = directory_ + "/steps";
    std::filesystem::create_directory(steps_);
    const std::string built = in_build("/steps");
    for (const auto& entry : std::filesystem::directory_iterator(built)) {
      if (entry.path().extension() == ".so") std::filesystem::copy(entry.path(), steps_);
    }
    std::ofstream(steps_ + "/text.so") << "this is no shared object\n";
    const std::string whole = file_text(built + "/upload.so");
    std::ofstream(steps_ + "/zz_cut.so") << whole.substr(0, 16 * 1024);
    // Any library of the system will do; it must only be one that opens.
    Dl_info library{};
    ASSERT_NE(::dladdr(reinterpret_cast<const void*>(&jpeg_std_error), &library), 0);
    std::filesystem::copy(std::filesystem::canonical(library.dli_fname), steps_ + "/library.so");
  }
  void TearDown() override { remove_tree(directory_); }

  // Each broken file is named beside its code.
  void expect_told(const std::string& said) const {
    for (const auto& [file, code] : {std::pair("text.so", "E141"), {"library.so", "E142"}}) {
      EXPECT_TRUE(line_with(said, file, code)) << file << " " << code << " in\n" << said;
      expect_in_reference(code);
    }
    EXPECT_TRUE(line_with(said, "zz_cut.so", "E141") || line_with(said, "zz_cut.so", "E149"))
        << said;
    EXPECT_TRUE(line_with(said, "library.so", "mr_plugin_v1")) << said;
  }
  static bool line_with(const std::string& said, const std::string& a, const std::string& b) {
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) {
      if (line.find(a) != std::string::npos && line.find(b) != std::string::npos) return true;
    }
    return false;
  }

  std::string directory_, steps_;
};

TEST_F(BadPlugin, IsLeftOutByNameAndTheOthersWork) {
  ServerSettings settings = settings_in(directory_);
  settings.extra = {"steps=" + steps_};
  ServerProcess server(settings);
  const Reply reply = submit_image(server.port(), make_photo(0), "Prefer: wait=120\r\n");
  EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
  expect_told(file_text(server.log()));
  EXPECT_EQ(server.stop(), 0);
}

TEST_F(BadPlugin, IsShownByDoctorAndSteps) {
  std::string said;
  EXPECT_EQ(run_program({"doctor", "--set", "steps=" + steps_, "--set", "data=" + directory_ + "/d",
                         "--set", "pipelines=" + settings_in(directory_).pipelines},
                        &said),
            1);
  expect_told(said);
  EXPECT_EQ(run_program({"steps", "--set", "steps=" + steps_}, &said), 0);
  expect_told(said);
  EXPECT_NE(said.find("grayscale"), std::string::npos) << said;
}

TEST_F(BadPlugin, APipelineThatNeedsItKeepsTheServerFromStarting) {
  std::ofstream(steps_ + "/notify.so", std::ios::trunc) << "broken\n";
  std::string said;
  EXPECT_EQ(run_program({"serve", "--set", "listen=127.0.0.1:0", "--set", "steps=" + steps_,
                         "--set", "data=" + directory_ + "/d", "--set",
                         "pipelines=" + settings_in(directory_).pipelines},
                        &said),
            3);
  EXPECT_TRUE(line_with(said, "grayscale.yaml", "E039")) << said;
  EXPECT_TRUE(line_with(said, "notify.so", "E141")) << said;
  expect_in_reference("E039");
}

// ---- the command line

TEST(BadFile, ABrokenPipelineIsExit1OfValidateAndExit3OfServe) {
  const std::string directory = make_directory("bad-file");
  const std::string pipelines = directory + "/pipelines";
  std::filesystem::create_directory(pipelines);
  std::ofstream(pipelines + "/broken.yaml") << "pipeline: [unclosed\n";
  std::string said;
  EXPECT_EQ(run_program({"validate", pipelines}, &said), 1);
  EXPECT_NE(said.find("broken.yaml:"), std::string::npos) << said;
  EXPECT_NE(said.find("error E030"), std::string::npos) << said;
  EXPECT_EQ(run_program({"serve", "--set", "listen=127.0.0.1:0", "--set",
                         "data=" + directory + "/d", "--set", "pipelines=" + pipelines},
                        &said),
            3);
  EXPECT_NE(said.find("error E030"), std::string::npos) << said;
  remove_tree(directory);
}

}  // namespace
}  // namespace millrace
