// Goal: what the tests' receiver has closed it leaves alone, also when a child has it still.
// Method: a child between fork and exec, held there; what takes the numbers that are free then must
// keep its bytes, whatever the receiver's thread is woken by.
#include "bench/harness/receiver.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "engine/base/signals.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

int64_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

// The beginning of its answer. It keeps the connection.
std::string told(int port) {
  const int fd = connect_to(port);
  const std::string request = "POST /hook HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
  EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  char answer[12];
  const ssize_t got = ::recv(fd, answer, sizeof answer, MSG_WAITALL);
  ::close(fd);
  return {answer, static_cast<size_t>(std::max<ssize_t>(got, 0))};
}

TEST(HarnessReceiver, LeavesAloneWhatAChildStillHas) {
  const int64_t before = open_descriptors() + 3;  // what listens, what stops it, what waits
  Receiver receiver;
  ASSERT_TRUE(eventually([&] { return open_descriptors() == before; }));
  const int client = connect_to(receiver.port());
  ASSERT_TRUE(eventually([&] { return open_descriptors() == before + 2; }));  // it is accepted
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(client);  // the receiver is to see its end
    for (;;) ::pause();
  }
  ::close(client);
  ASSERT_TRUE(eventually([&] { return open_descriptors() == before; }));

  int ends[2][2];
  for (auto& pair : ends) {
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (const int fd : pair) ASSERT_EQ(::send(fd, "x", 1, MSG_NOSIGNAL), 1);
  }
  for (int i = 0; i < 3; i++)
    EXPECT_EQ(told(receiver.port()), "HTTP/1.1 200");  // its thread has been round
  for (const auto& pair : ends) {
    for (const int fd : pair) {
      char byte = 0;
      EXPECT_EQ(::recv(fd, &byte, 1, MSG_DONTWAIT), 1) << "somebody else has taken it";
      ::close(fd);
    }
  }
  signal_process(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace millrace
