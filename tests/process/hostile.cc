#include "tests/process/hostile.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/http/client.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr size_t kHeardBytesMax = 1 << 20;
constexpr double kTrickleSeconds = 0.5;
constexpr double kRefusalSeconds = 1;  // without a byte taken
constexpr int kPauseMs = 20;  // between the jobs of a client that is not alone in the world
constexpr int kUndisturbedJobs = 20;
constexpr int kWatchMs = 50;

int connected(uint16_t port, Crowd::Window window) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int one = 1, small = 4096, segment = 536;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (window == Crowd::Window::kTiny) {
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    ::setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

}  // namespace

Crowd::Crowd(uint16_t port, int count, const std::string& opening, Window window) {
  for (int i = 0; i < count; i++) {
    const int fd = connected(port, window);
    if (fd >= 0) members_.push_back({fd, ""});
  }
  say(opening);
}

Crowd::~Crowd() {
  leave();
}

int Crowd::size() const {
  return static_cast<int>(members_.size());
}

void Crowd::say(const std::string& more) {
  for (const Member& member : members_) {
    if (member.fd < 0 || more.empty()) continue;
    static_cast<void>(::send(member.fd, more.data(), more.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }
}

void Crowd::insist(const std::string& more) {
  std::vector<size_t> said(members_.size());
  for (double moved = now_seconds(); now_seconds() < moved + kRefusalSeconds;) {
    size_t left = 0;
    for (size_t i = 0; i < members_.size(); i++) {
      const ssize_t sent = ::send(members_[i].fd, more.data() + said[i], more.size() - said[i],
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) {
        said[i] += static_cast<size_t>(sent);
        moved = now_seconds();
      }
      left += more.size() - said[i];
    }
    if (left == 0) return;
    ::poll(nullptr, 0, 1);
  }
}

void Crowd::half_close() {
  for (const Member& member : members_) {
    if (member.fd >= 0) ::shutdown(member.fd, SHUT_WR);
  }
}

void Crowd::look() {
  char buffer[64 * 1024];
  for (Member& member : members_) {
    while (member.fd >= 0) {
      const ssize_t got = ::recv(member.fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (got > 0) {
        const size_t room = kHeardBytesMax - std::min(kHeardBytesMax, member.heard.size());
        member.heard.append(buffer, std::min(room, static_cast<size_t>(got)));
        continue;
      }
      ::close(member.fd);
      member.fd = -1;
      ended_++;
    }
  }
}

void Crowd::leave() {
  for (Member& member : members_) {
    if (member.fd >= 0) ::close(member.fd);
    member.fd = -1;
  }
}

bool Crowd::outlast(double seconds, const std::string& trickle) {
  double due = now_seconds();
  return eventually(
      [&] {
        if (now_seconds() >= due) {
          due = now_seconds() + kTrickleSeconds;
          say(trickle);
        }
        look();
        return ended_ == size();
      },
      seconds);
}

Statuses Crowd::statuses() const {
  Statuses out;
  for (const Member& member : members_) out[status_of(member.heard)]++;
  return out;
}

std::string exchange(uint16_t port, const std::string& bytes) {
  test::Client client(fmt::format("127.0.0.1:{}", port));
  client.write(bytes);  // cut short when the server has ended it: what it said is read all the same
  return client.read_to_end();
}

int status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::atoi(answer.c_str() + 9) : 0;
}

int answers_in(const std::string& stream) {
  int count = 0;
  for (size_t at = 0; (at = stream.find("HTTP/1.1 ", at)) != std::string::npos; at++) {
    count += std::atoi(stream.c_str() + at + 9) >= 100;  // not the words of a problem
  }
  return count;
}

GoodClient::GoodClient(uint16_t port) : photo_(make_photo(0)) {
  for (int i = 0; i < kUndisturbedJobs; i++) run_job(port);
  undisturbed_ = slowest_.exchange(0);
  slowest_ever_ = 0;
  jobs_ = 0;
  thread_ = std::thread([this, port] { work(port); });
}

void GoodClient::stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

bool GoodClient::run_job(uint16_t port) {
  const double start = now_seconds();
  const Reply job = submit_image(port, photo_, "Prefer: wait=120\r\n");
  const double took = now_seconds() - start;
  slowest_ = std::max(slowest_.load(), took);
  slowest_ever_ = std::max(slowest_ever_.load(), took);
  EXPECT_EQ(job.text("state"), "succeeded") << job.shown();
  jobs_ += job.status == 200 ? 1 : 0;
  return job.status == 200;
}

void GoodClient::work(uint16_t port) {
  while (!stop_ && run_job(port)) ::poll(nullptr, 0, kPauseMs);  // what fails is said once
}

MemoryWatch::MemoryWatch(pid_t root) : thread_([this, root] { look(root); }) {}

MemoryWatch::~MemoryWatch() {
  over_ = true;
  thread_.join();
}

void MemoryWatch::look(pid_t root) {
  while (!over_) {
    peak_ = std::max(peak_.load(), tree_pss_bytes(root));
    ::poll(nullptr, 0, kWatchMs);
  }
}

uint64_t peak_bytes(pid_t pid) {
  const std::string text = file_text(fmt::format("/proc/{}/status", pid));
  const size_t at = text.find("\nVmHWM:");
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + 7, nullptr, 10) * 1024;
}

uint64_t pss_bytes(pid_t pid) {
  const std::string text = file_text(fmt::format("/proc/{}/smaps_rollup", pid));
  const size_t at = text.find("\nPss:");
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + 5, nullptr, 10) * 1024;
}

int descriptors_of(pid_t pid) {
  std::error_code error;
  int count = 0;
  for (auto it = std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    count++;
  }
  return count;
}

std::vector<std::string> temporary_files(const std::string& data) {
  std::vector<std::string> out;
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(data, error);
       !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    const std::string directory = it->path().parent_path().filename();
    if (directory != "tmp" && directory != ".millrace.tmp") continue;
    if (it->path().extension() != ".alive") out.push_back(it->path());
  }
  return out;
}

int raise_descriptors() {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  return static_cast<int>(std::min<rlim_t>(files.rlim_cur, 1 << 20));
}

}  // namespace millrace
