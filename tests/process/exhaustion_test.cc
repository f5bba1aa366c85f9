// Goal: what is used up is refused politely and harms nothing that was acknowledged: descriptors,
// and the memory that uploads may take. When it is free again, everything goes on by itself.
// Method: the real server under a low limit, and clients that take all there is.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "bench/harness/receiver.h"
#include "engine/base/signals.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int kDescriptors = 160;
constexpr int kLookMs = 1000;            // how long the server is watched doing nothing
constexpr double kIdleCpuSeconds = 0.2;  // of it

int connect_to(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

class Exhaustion : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer needs descriptors and memory of its own";
#endif
    directory_ = make_directory("exhaustion");
    settings_ = settings_in(directory_);
    settings_.extra.insert(settings_.extra.end(),
                           {"steps=" + all_steps(directory_), "workers.cpu=2"});
  }
  void TearDown() override {
    for (const int fd : open_) ::close(fd);
    if (!directory_.empty()) remove_tree(directory_);
  }
  // The program in a shell's limits: it cannot raise the hard one.
  void limit_descriptors() {
    const std::string script = directory_ + "/limited";
    std::ofstream(script) << "#!/bin/sh\nulimit -n " << kDescriptors << "\nexec "
                          << settings_.program << " \"$@\"\n";
    fs::permissions(script, fs::perms::owner_all);
    settings_.program = script;
  }
  std::vector<pid_t> workers_of(pid_t server) const {
    std::vector<pid_t> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const pid_t pid = std::atoi(entry.path().filename().c_str());
      const std::string status = pid > 0 ? file_text(entry.path() / "status") : "";
      if (status.find("Name:\tmillrace-cpu") == std::string::npos) continue;
      const size_t at = status.find("PPid:\t");
      const std::string parent = status.substr(at + 6, status.find('\n', at) - at - 6);
      const std::string above = file_text("/proc/" + parent + "/status");
      if (above.find(fmt::format("PPid:\t{}\n", server)) != std::string::npos) found.push_back(pid);
    }
    return found;
  }

  std::string directory_;
  ServerSettings settings_;
  std::vector<int> open_;
};

TEST_F(Exhaustion, OfDescriptorsHarmsNoAcceptedJob) {
  limit_descriptors();
  std::ofstream(settings_.pipelines + "/slow.yaml")
      << "pipeline: slow\ninputs: { callback: url }\nsteps:\n"
         "  hang: { use: fault_io, timeout: 2s, with: { how: hang }, retry: { max: 1 } }\n"
         "  work: { use: fault, timeout: 1m, with: { how: sleep, n: 5000 },\n"
         "          retry: { max: 3, backoff: 100ms..100ms } }\n"
         "  gray: { use: noop, needs: [work] }\n"
         "  notify: { use: notify, needs: [gray], with: { url: \"${{ inputs.callback }}\", body: "
         "{ job: \"${{ job.id }}\" } } }\n";
  Receiver receiver;
  ServerProcess server(settings_);
  const Reply slow =
      ask(server.port(), "POST", "/v1/pipelines/slow/jobs", "Content-Type: application/json\r\n",
          "{\"inputs\":{\"callback\":\"" + receiver.url() + "\"}}");
  ASSERT_EQ(slow.status, 202) << slow.shown();
  ASSERT_TRUE(eventually([&] {
    return ask(server.port(), "GET", "/v1/jobs/" + slow.text("id")).text("steps.work.state") ==
           "running";
  }));
  for (int i = 0; i < 2 * kDescriptors; i++) {
    const int fd = connect_to(server.port());
    if (fd >= 0) open_.push_back(fd);
  }
  // A worker that dies now is replaced all the same.
  const std::vector<pid_t> workers = workers_of(server.pid());
  ASSERT_EQ(workers.size(), 2u);
  for (const pid_t pid : workers) signal_process(pid, SIGKILL);
  const double before = tree_cpu_seconds(server.pid());
  ::poll(nullptr, 0, kLookMs);
  EXPECT_LT(tree_cpu_seconds(server.pid()) - before, kIdleCpuSeconds);
  EXPECT_TRUE(eventually([&] {
    return file_text(server.log()).find("killed by signal SIGKILL") != std::string::npos;
  })) << file_text(server.log());
  const bool told = eventually([&] { return !receiver.deliveries().empty(); });
  EXPECT_TRUE(told) << file_text(server.log());
  ASSERT_TRUE(server.running()) << file_text(server.log());
  for (const int fd : open_) ::close(fd);
  open_.clear();
  EXPECT_TRUE(eventually([&] { return ask(server.port(), "GET", "/readyz").status == 200; }));
  const Reply end = await_job(server.port(), slow.text("id"));
  EXPECT_EQ(end.text("steps.notify.state"), "succeeded") << end.shown();
  EXPECT_EQ(end.text("error.code"), "E161") << end.shown();
  const Reply fresh = submit_image(server.port(), make_photo(1), "Prefer: wait=120\r\n");
  EXPECT_EQ(fresh.text("state"), "succeeded") << fresh.shown();
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

constexpr size_t kUploadBytes = 900 << 10;  // kept in memory; larger ones go to the disk

std::string large_photo(int number) {
  std::string photo = make_photo(number % 5) + std::to_string(number);
  photo.resize(kUploadBytes, 'p');
  return photo;
}

// What the server says of itself.
uint64_t resident_bytes(uint16_t port) {
  const std::string text = ask(port, "GET", "/metrics").body;
  const size_t at = text.find("\nmillrace_resident_bytes ");
  return at == std::string::npos ? 0 : static_cast<uint64_t>(std::atof(text.c_str() + at + 25));
}

// Regression: uploads too small for the disk held memory against each other until all were told to
// come again.
TEST_F(Exhaustion, OfMemorySendsUploadsToTheDiskAndRefusesNone) {
  constexpr int kClients = 48, kHolders = 12;  // of either, many times what there is
  // What the two workers hand back is charged without asking, on top of the limit.
  constexpr uint64_t kMemoryBytes = 8 << 20, kResultsBytes = 2 << 20;
  settings_.extra.push_back("limits.memory=8MiB");
  settings_.extra.push_back("workers.cpu=2");
  ServerProcess server(settings_);
  // These take what there is and say no more.
  const std::string head = fmt::format(
      "POST /v1/pipelines/grayscale/jobs HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
      kUploadBytes);
  const std::string part = head + large_photo(0).substr(0, kUploadBytes - 1);
  for (int i = 0; i < kHolders; i++) {
    open_.push_back(connect_to(server.port()));
    ASSERT_GE(open_.back(), 0);
    ::send(open_.back(), part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  std::mutex mutex;
  std::vector<std::string> jobs;
  std::atomic<int> under_way{kClients};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; i++) {
    clients.emplace_back([&, i] {
      const Reply reply = submit_image(server.port(), large_photo(i));
      EXPECT_EQ(reply.status, 202) << reply.shown();
      const std::lock_guard lock(mutex);
      jobs.push_back(reply.text("id"));
      under_way--;
    });
  }
  // Small things go through meanwhile.
  do {
    EXPECT_LE(resident_bytes(server.port()), kMemoryBytes + kResultsBytes);
    EXPECT_EQ(ask(server.port(), "GET", "/v1/jobs?limit=1").status, 200);
  } while (under_way > 0);
  for (std::thread& client : clients) client.join();
  for (const int fd : open_) ::close(fd);
  open_.clear();
  for (const std::string& job : jobs) {
    const Reply end = await_job(server.port(), job);
    EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
  }
  EXPECT_TRUE(eventually([&] { return resident_bytes(server.port()) == 0; }));
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

// What must stay in memory fills it: uploads come through all the same, a small request has its
// turn, and one of the large ones is told to come again.
TEST_F(Exhaustion, OfMemoryByJsonIsE016ForTheLargest) {
  constexpr int kHolders = 4;
  constexpr uint64_t kFullBytes = 7 << 20;
  std::ofstream(settings_.pipelines + "/small.yaml")
      << "pipeline: small\nsteps:\n  work: { use: noop }\n";
  settings_.extra.push_back("limits.memory=8MiB");
  ServerProcess server(settings_);
  const std::string body =
      "POST /v1/pipelines/small/jobs HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n" +
      std::string(3'000'000, ' ');
  std::vector<size_t> sent(kHolders);
  std::vector<std::string> heard(kHolders);
  for (int i = 0; i < kHolders; i++) {
    open_.push_back(connect_to(server.port()));
    ASSERT_GE(open_.back(), 0);
  }
  // As much as is taken, and what is said to it.
  const auto go_on = [&] {
    char buffer[16 * 1024];
    for (int i = 0; i < kHolders; i++) {
      const ssize_t size = ::send(open_[i], body.data() + sent[i], body.size() - sent[i],
                                  MSG_DONTWAIT | MSG_NOSIGNAL);
      sent[i] += static_cast<size_t>(std::max<ssize_t>(size, 0));
      const ssize_t got = ::recv(open_[i], buffer, sizeof buffer, MSG_DONTWAIT);
      heard[i].append(buffer, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    }
  };
  ASSERT_TRUE(eventually([&] {
    go_on();
    return resident_bytes(server.port()) > kFullBytes;
  }));
  const Reply upload = submit_image(server.port(), large_photo(1), "Prefer: wait=120\r\n");
  EXPECT_EQ(upload.text("state"), "succeeded") << upload.shown();
  const Reply small = ask(server.port(), "POST", "/v1/pipelines/small/jobs",
                          "Content-Type: application/json\r\nPrefer: wait=120\r\n",
                          "{}" + std::string(100'000, ' '));
  EXPECT_EQ(small.text("state"), "succeeded") << small.shown();
  auto told = heard.end();
  ASSERT_TRUE(eventually([&] {
    go_on();
    told = std::find_if(heard.begin(), heard.end(),
                        [](const std::string& text) { return text.ends_with("}"); });
    return told != heard.end();
  }));
  Reply refusal;
  refusal.status = std::atoi(told->c_str() + 9);
  refusal.head = told->substr(0, told->find("\r\n\r\n"));
  refusal.body = told->substr(refusal.head.size() + 4);
  if (auto json = parse_json(refusal.body); json.ok()) refusal.json = *std::move(json);
  expect_problem(refusal, 503, "E016");
  EXPECT_NE(refusal.head.find("Retry-After: "), std::string::npos) << refusal.head;
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

}  // namespace
}  // namespace millrace
