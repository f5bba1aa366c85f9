// Goal: the wall clock may be set by hours, either way and again, while jobs run. What is measured
// as a duration (attempts, back-off) does not notice; nothing is lost, forgotten or removed before
// its time, ids stay unique, and a server that starts under the new time goes on.
// Method: the real server under clock_shim.so, whose offset to the true time the test sets.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;

class Clock : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
    directory_ = make_directory("clock");
    settings_ = settings_in(directory_);
    const std::string file = directory_ + "/offset";
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(::ftruncate(fd, sizeof *offset_ns_), 0);
    void* map = ::mmap(nullptr, sizeof *offset_ns_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(map, MAP_FAILED);
    ::close(fd);
    offset_ns_ = static_cast<int64_t*>(map);
    settings_.environment = {"LD_PRELOAD=" MILLRACE_CLOCK_SHIM, "CLOCK_SHIM=" + file};
    settings_.extra.insert(settings_.extra.end(),
                           {"steps=" + all_steps(directory_), "retention=12h", "workers.cpu=2"});
    write_pipeline("retry", "{ how: fail }", "retry: { max: 3, backoff: 1s..1s, jitter: none }");
    write_pipeline("sleep", "{ how: sleep, n: 1500 }", "timeout: 10s");
    write_pipeline("hang", "{ how: hang }", "timeout: 1500ms");
    write_pipeline("deadline", "{ how: fail }",
                   "deadline: 2s\n    retry: { max: 100, backoff: 300ms..300ms, jitter: none }");
  }
  void TearDown() override {
    if (offset_ns_ != nullptr) ::munmap(offset_ns_, sizeof *offset_ns_);
    if (!directory_.empty()) remove_tree(directory_);
  }
  void write_pipeline(const std::string& name, const std::string& with, const std::string& more) {
    std::ofstream(settings_.pipelines + "/" + name + ".yaml")
        << "pipeline: " << name << "\nsteps:\n  work:\n    use: fault\n    with: " << with
        << "\n    " << more << "\n";
  }
  void set_clock(int hours) const {
    __atomic_store_n(offset_ns_, hours * kHourNs, __ATOMIC_SEQ_CST);
  }
  static std::string submit(uint16_t port, const std::string& pipeline) {
    const Reply reply = ask(port, "POST", "/v1/pipelines/" + pipeline + "/jobs",
                            "Content-Type: application/json\r\n", "{}");
    EXPECT_EQ(reply.status, 202) << reply.shown();
    return reply.text("id");
  }
  static bool ended(uint16_t port, const std::string& job) {
    const std::string state = ask(port, "GET", "/v1/jobs/" + job).text("state");
    return state == "failed" || state == "succeeded";
  }

  std::string directory_;
  ServerSettings settings_;
  int64_t* offset_ns_ = nullptr;
};

TEST_F(Clock, SetWhileStepsRunAndWaitChangesNoDuration) {
  ServerProcess server(settings_);
  const uint16_t port = server.port();
  for (const int hours : {-3, 5}) {
    SCOPED_TRACE(fmt::format("{} hours", hours));
    set_clock(0);
    const double began = now_seconds();
    std::map<std::string, std::string> jobs;  // by pipeline
    for (const char* name : {"retry", "sleep", "hang", "deadline"}) jobs[name] = submit(port, name);
    ASSERT_TRUE(eventually([&] {
      return ask(port, "GET", "/v1/jobs/" + jobs["retry"]).text("steps.work.attempts") == "1";
    }));
    set_clock(hours);
    for (const auto& [name, job] : jobs) {
      EXPECT_TRUE(eventually([&, id = job] { return ended(port, id); }, 8)) << name;
    }
    EXPECT_LT(now_seconds() - began, 8);
    const Reply retry = ask(port, "GET", "/v1/jobs/" + jobs["retry"]);
    EXPECT_EQ(retry.text("steps.work.attempts"), "3") << retry.shown();
    EXPECT_EQ(retry.text("error.code"), "E160") << retry.shown();
    const Reply sleep = ask(port, "GET", "/v1/jobs/" + jobs["sleep"]);
    EXPECT_EQ(sleep.text("state"), "succeeded") << sleep.shown();
    const Reply hang = ask(port, "GET", "/v1/jobs/" + jobs["hang"]);
    EXPECT_EQ(hang.text("error.code"), "E161") << hang.shown();
    const Reply deadline = ask(port, "GET", "/v1/jobs/" + jobs["deadline"]);
    EXPECT_EQ(deadline.text("state"), "failed") << deadline.shown();
  }
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

// Nobody else's event tells the core what time it is now.
TEST_F(Clock, SetBackWhileAJobOnlyWaitsFreezesNoBackOff) {
  ServerProcess server(settings_);
  const std::string job = submit(server.port(), "retry");
  // Shown when it is durable: after that nothing happens but the passing of a second.
  ASSERT_TRUE(eventually([&] {
    return ask(server.port(), "GET", "/v1/jobs/" + job).text("steps.work.attempts") == "1";
  }));
  set_clock(-3);
  EXPECT_TRUE(eventually([&] { return ended(server.port(), job); }, 8))
      << ask(server.port(), "GET", "/v1/jobs/" + job).shown();
}

TEST_F(Clock, SetByHoursLosesNothingAndRemovesNothingEarly) {
  std::set<std::string> jobs;
  for (const int hours : {0, 2, -2, 4}) {  // within retention
    SCOPED_TRACE(fmt::format("{} hours", hours));
    ServerProcess server(settings_);
    for (const std::string& job : jobs) {
      const Reply reply = ask(server.port(), "GET", "/v1/jobs/" + job);
      EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
    }
    set_clock(hours);
    for (int i = 0; i < 3; i++) {
      const Reply reply = submit_image(server.port(), make_photo(i), "Prefer: wait=30\r\n");
      EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
      EXPECT_LE(reply.text("created_at"), reply.text("finished_at")) << reply.shown();
      EXPECT_TRUE(jobs.insert(reply.text("id")).second) << "an id came again";
    }
    const Reply last = submit_image(server.port(), make_photo(9), "Prefer: wait=30\r\n");
    const std::string blob = last.text("inputs.image.blob");
    EXPECT_EQ(ask(server.port(), "GET", "/v1/blobs/" + blob).status, 200);
    EXPECT_EQ(ask(server.port(), "GET", "/readyz").status, 200);
    for (const std::string& job : jobs) {
      EXPECT_EQ(ask(server.port(), "GET", "/v1/jobs/" + job).status, 200) << job;
    }
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  }
}

}  // namespace
}  // namespace millrace
