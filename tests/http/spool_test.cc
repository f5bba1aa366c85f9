// Goal: an upload above kSpoolBytes costs no memory but what waits for the disk; the client waits
// with it, and whatever ends the upload ends what was written of it.
// Method: a server over a FakeRuntime whose disk stands still or refuses when a test says so.
#include "tests/http/api_fixture.h"

namespace millrace::test {
namespace {

constexpr size_t kLarge = 4 << 20;

class Spool : public Api {
 protected:
  // `photo` without its own limit of an image's size.
  void allow_large_images() {
    runtime->call([this] {
      auto graph = std::make_shared<Graph>(*runtime->pipeline("photo"));
      graph->inputs[0].max_bytes = 0;
      EXPECT_TRUE(runtime->set_pipelines({graph}).ok());
    });
  }
  // The bytes of the input `image` of the last submission.
  std::string submitted_image() {
    std::string bytes;
    runtime->call(
        [&] { bytes = runtime->submitted.back().inputs[0].as_blob().content->bytes.view(); });
    return bytes;
  }
  // Some systems tell a writer late that its reader has gone.
  static void stop(Client* c, std::thread* sender) {
    c->half_close();
    sender->join();
  }
  template <typename Holds>
  void await(Holds holds) {
    bool held = false;
    do {
      runtime->call([&] { held = holds(); });
    } while (!held);
  }
  static std::string post(size_t size) {
    return fmt::format("POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                       size);
  }
};

TEST_F(Spool, UploadsMayBeLargerThanTheByteBudget) {
  runtime = std::make_unique<FakeRuntime>(kLarge * 3 / 4);
  start();
  allow_large_images();
  const std::string image = tiny_jpeg(kLarge - 1000);
  auto c = client();
  const Answer posted = c->request("POST", "/v1/blobs", "", image);
  EXPECT_EQ(posted.status, 201) << posted.body;
  EXPECT_EQ(text_at(json_of(posted), "blob"), sha256(image).text());
  EXPECT_EQ(text_at(json_of(posted), "media_type"), "image/jpeg");
  EXPECT_EQ(c->request("PUT", "/v1/blobs/" + sha256(image).text(), "", image).status, 200);
  EXPECT_EQ(problem(c->request("PUT", "/v1/blobs/" + sha256("").text(), "", image)), "E027");
  EXPECT_EQ(c->request("PUT", "/v1/blobs/" + sha256("").text()).status, 200);
  EXPECT_EQ(c->request("POST", kSubmit, "Content-Type: image/jpeg\r\n", image).status, 202);
  EXPECT_TRUE(submitted_image() == image);
  const Answer form =
      c->request("POST", kSubmit, kFormType,
                 field("quality", "80") + file("image", image) + field("tags", "a") + "--B--");
  EXPECT_EQ(form.status, 202) << form.body;
  EXPECT_TRUE(submitted_image() == image);
  EXPECT_EQ(runtime->budget()->used_bytes(), 0u);
  runtime->call([this] { EXPECT_EQ(runtime->open_uploads(), 0u); });
}

TEST_F(Spool, WhatIsNoImageIsRefusedAndGivenUp) {
  start();
  allow_large_images();
  const Answer answer = client()->request("POST", kSubmit, "Content-Type: image/jpeg\r\n",
                                          std::string(kSpoolBytes * 2, 'n'));
  EXPECT_EQ(answer.status, 415);
  EXPECT_EQ(problem(answer), "E018");
  await([this] { return runtime->open_uploads() == 0; });
}

TEST_F(Spool, TheClientWaitsWhileTheDiskStands) {
  start();
  runtime->call([this] { runtime->disk_stands = true; });
  const std::string body(kLarge, 'w');
  auto c = client();
  std::thread sender([&] { c->write(post(body.size()) + body); });
  await([this] { return runtime->budget()->used_bytes() > kSpoolBehindBytes; });
  // Every call is a turn of the loop, in which the socket would be read.
  for (int turn = 0; turn < 200; turn++) {
    runtime->call([this] {
      EXPECT_LE(runtime->budget()->used_bytes(), kSpoolBytes + kSpoolBehindBytes + (128u << 10));
      EXPECT_EQ(runtime->written_bytes(), 0u);
    });
  }
  runtime->call([this] {
    runtime->disk_stands = false;
    runtime->run_disk();
  });
  EXPECT_EQ(c->read_answer().status, 201);
  sender.join();
}

TEST_F(Spool, ADiskThatStandsTooLongEndsTheUpload) {
  options.http.stall_ms = 100;
  start();
  runtime->call([this] { runtime->disk_stands = true; });
  const std::string body(kLarge, 'w');
  auto c = client();
  std::thread sender([&] { c->write(post(body.size()) + body); });
  const Answer answer = c->read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(problem(answer), "E126");
  stop(c.get(), &sender);
  runtime->call([this] {
    runtime->disk_stands = false;
    runtime->run_disk();
  });
  await([this] { return runtime->open_uploads() == 0 && runtime->budget()->used_bytes() == 0; });
}

TEST_F(Spool, AFullDiskIs507WhileTheBodyStillComes) {
  start();
  allow_large_images();
  runtime->call([this] {
    runtime->write_refusal = Status::unavailable(errors::kNoSpace, "the disk is full");
  });
  const std::string form = file("image", tiny_jpeg(kLarge - 1000)) + "--B--";
  for (const std::string& request :
       {post(kLarge) + std::string(kLarge - 1, 'f'),  // the last byte never comes
        fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: {}\r\n\r\n{}",
                    kSubmit, kFormType, form.size(), form)}) {
    auto c = client();
    std::thread sender([&] { c->write(request); });
    const Answer answer = c->read_answer();
    EXPECT_EQ(answer.status, 507);
    EXPECT_EQ(problem(answer), "E123");
    EXPECT_FALSE(answer.header("retry-after").empty());
    stop(c.get(), &sender);
    await([this] { return runtime->open_uploads() == 0 && runtime->budget()->used_bytes() == 0; });
  }
  size_t submitted = 1;
  runtime->call([&] { submitted = runtime->submitted.size(); });
  EXPECT_EQ(submitted, 0u);
}

// Regression: uploads too small for the disk, and together too large for memory, each held a part
// of it until all were told to come again.
TEST_F(Spool, UploadsThatDoNotFitTogetherWaitOnTheDisk) {
  constexpr size_t kClients = 24, kSmall = 900'000;
  runtime = std::make_unique<FakeRuntime>(4 * kSmall);
  options.http.stall_ms = 600'000;
  start();
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::string> requests;
  for (size_t i = 0; i < kClients; i++) {
    const std::string image = tiny_jpeg(kSmall);
    const std::string form = file("image", image) + "--B--";
    const bool blob = i % 3 == 0, raw = i % 3 == 1;
    requests.push_back(fmt::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: "
        "{}\r\n\r\n{}",
        blob ? "/v1/blobs" : kSubmit, blob || raw ? "Content-Type: image/jpeg\r\n" : kFormType,
        (blob || raw ? image : form).size(), blob || raw ? image : form));
    clients.push_back(client());
    // All begin, and nobody goes on before all have come so far.
    clients[i]->write(requests[i].substr(0, kSmall * 3 / 4));
  }
  uint64_t most = 0;
  for (size_t i = 0; i < kClients; i++) {
    clients[i]->write(requests[i].substr(kSmall * 3 / 4));
    runtime->call([&] { most = std::max(most, runtime->budget()->used_bytes()); });
  }
  for (size_t i = 0; i < kClients; i++) {
    const Answer answer = clients[i]->read_answer();
    EXPECT_EQ(answer.status, i % 3 == 0 ? 201 : 202) << answer.body;
  }
  EXPECT_LE(most, 4 * kSmall);
  await([this] { return runtime->open_uploads() == 0; });
}

// What fills memory and cannot go to the disk leaves a way for what can.
TEST_F(Spool, UploadsComeThroughBesideBodiesThatMustStayInMemory) {
  runtime = std::make_unique<FakeRuntime>(2'000'000);
  options.http.stall_ms = 600'000;
  start();
  std::vector<std::unique_ptr<Client>> holders;
  for (int i = 0; i < 4; i++) {
    holders.push_back(client());
    holders.back()->write(
        fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: "
                    "600000\r\n\r\n{}",
                    kPlain, kJsonType, std::string(550'000, ' ')));
  }
  await([this] { return runtime->budget()->used_bytes() > 1'600'000; });
  EXPECT_EQ(client()->request("POST", "/v1/blobs", "", std::string(900'000, 'b')).status, 201);
}

TEST_F(Spool, AnUploadThatBreaksOffIsGivenUp) {
  start();
  {
    auto c = client();
    c->write(post(kLarge) + std::string(kLarge / 2, 'h'));
    await([this] { return runtime->written_bytes() > kSpoolBytes; });
    runtime->call([this] { EXPECT_EQ(runtime->open_uploads(), 1u); });
  }
  await([this] { return runtime->open_uploads() == 0 && runtime->budget()->used_bytes() == 0; });
}

// Regression: after a wait for room no deadline was set again, and the client could take for ever.
TEST_F(Spool, AClientIsTimedAgainAfterAWait) {
  options.http.body_ms = 1000;  // in which a machine with other work still reads what is there
  start();
  runtime->call([this] { runtime->disk_stands = true; });
  const std::string body(kLarge - 1, 'w');  // the last byte never comes
  auto c = client();
  std::thread sender([&] { c->write(post(kLarge) + body); });
  await([this] { return runtime->budget()->used_bytes() > kSpoolBehindBytes; });
  runtime->call([this] {
    runtime->disk_stands = false;
    runtime->run_disk();
  });
  EXPECT_EQ(c->read_answer().status, 408);
  stop(c.get(), &sender);
}

}  // namespace
}  // namespace millrace::test
