// Goal: who waits for a job when the server is told to stop learns its last durable state.
// Method: the real binary with a job whose notification is refused again and again.
#include <gtest/gtest.h>

#include <thread>

#include "tests/http/client.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

TEST(Drain, WhoeverWaitsForAJobThatWillNotEndIsToldSo) {
  const std::string directory = make_directory("drain");
  {
    ServerProcess server(settings_in(directory));
    const uint16_t port = server.port();
    Reply submitted;
    std::thread submitter([&] {
      // Nobody listens on port 1: the delivery is tried again for minutes.
      submitted = submit_image(port, make_photo(0), "Prefer: wait=120\r\n",
                               "?callback=" + url_encoded("http://127.0.0.1:1/hook"));
    });
    Reply list;
    EXPECT_TRUE(eventually([&] {
      list = ask(port, "GET", "/v1/jobs");
      return list.body.find("\"reason\":\"retry\"") != std::string::npos;
    })) << list.shown();
    const std::string job = "/v1/jobs/" + json_text_of(list.body, "id");
    const std::string address = fmt::format("127.0.0.1:{}", port);
    test::Client waiter(address), watcher(address);
    waiter.write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET " + job +
                 " HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=120\r\n\r\n");
    EXPECT_EQ(waiter.read_answer().status, 200);
    watcher.write("GET " + job + "/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(watcher.read_until("event: job\n"));
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
    submitter.join();
    EXPECT_EQ(submitted.status, 202) << submitted.shown();
    EXPECT_EQ(submitted.text("state"), "running") << submitted.shown();
    EXPECT_EQ(submitted.text("steps.result.state"), "succeeded") << submitted.shown();
    const test::Answer waited = waiter.read_answer();
    EXPECT_EQ(waited.status, 200);
    EXPECT_EQ(waited.header("connection"), "close");
    EXPECT_NE(waited.body.find("\"state\":\"running\""), std::string::npos) << waited.body;
    EXPECT_EQ(watcher.read_answer().status, 200) << "the stream ends as streams do";
  }
  remove_tree(directory);
}

}  // namespace
}  // namespace millrace
