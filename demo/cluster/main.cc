// millrace-cluster: the arguments, and what happens on Ctrl-C.
#include <fmt/core.h>
#include <mongoc/mongoc.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cmake/tree.h"
#include "demo/cluster/cluster.h"

namespace millrace {
namespace {

constexpr int kInterrupted = 130;
int interrupted = -1;  // an eventfd: what a signal handler may do is to write into it

void on_signal(int) {
  const uint64_t one = 1;
  (void)!::write(interrupted, &one, sizeof one);
}

// Handlers and no blocked mask: the servers must not inherit it.
void clean_up_on_signals(ClusterDemo* demo) {
  interrupted = ::eventfd(0, EFD_CLOEXEC);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
  std::thread([demo] {
    uint64_t count = 0;
    while (::read(interrupted, &count, sizeof count) < 0) {
    }
    fmt::print(stderr, "\ninterrupted; everything is removed\n");
    demo->clean_up_and_exit(kInterrupted);
  }).detach();
}

int usage() {
  fmt::print(stderr, "usage: millrace-cluster [--jobs N] [--database URL] [JPEG]...\n");
  return 2;
}

int run(int argc, char** argv) {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  ClusterSettings settings;
  settings.program = self.parent_path() / "millrace";
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    if (argument == "--jobs" && i + 1 < argc) {
      settings.jobs = std::atoi(argv[++i]);
    } else if (argument == "--database" && i + 1 < argc) {
      settings.database = argv[++i];
    } else if (argument.starts_with("-")) {
      return usage();
    } else {
      settings.photos.push_back(argument);
    }
  }
  if (settings.jobs < 1) return usage();
  if (settings.photos.empty()) {
    settings.photos.push_back(in_source("/demo/photo.jpg"));
  }
  for (const std::string& photo : settings.photos) {
    if (::access(photo.c_str(), R_OK) == 0) continue;
    fmt::print(stderr, "cannot read the photograph {}\n", photo);
    return 2;
  }
  mongoc_init();
  ClusterDemo demo(std::move(settings));
  clean_up_on_signals(&demo);
  return demo.run();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::run(argc, argv);
}
