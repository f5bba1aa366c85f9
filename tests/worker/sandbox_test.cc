// Goal: a worker has nothing of the server's and can do nothing but its work; whatever it tries
// costs one attempt, and the error says what it was.
// Method: look at real workers from outside (/proc), and let the test plugin try.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <sstream>

#include "engine/worker/sandbox_probe.h"
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using Kind = StepOutcome::Kind;

class Sandbox : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "not locked under a sanitizer";
#endif
    place_ = testing::TempDir() + "millrace_sandbox_" + std::to_string(getpid());
    std::filesystem::create_directory(place_);
    std::filesystem::create_directory(place_ + "/objects");
    std::filesystem::create_directory(place_ + "/blobs");
    std::ofstream(place_ + "/blobs/blob") << "bytes";
    std::ofstream(place_ + "/jobs.db") << "the job store";
    setenv("MILLRACE_TEST_SECRET", "secret", 1);
    WorkerOptions options = WorkerFixture::faulty();
    options.io_paths = {{place_ + "/objects", true}, {place_ + "/blobs", false}};
    workers_ = std::make_unique<WorkerFixture>(options);
    unsetenv("MILLRACE_TEST_SECRET");
  }
  void TearDown() override {
    workers_.reset();
    if (!place_.empty()) std::filesystem::remove_all(place_);
  }

  // Ours of that name, once each lane has run something.
  int worker(const std::string& name) {
    EXPECT_EQ(run("ok").kind, Kind::kSucceeded);
    EXPECT_EQ(run("ok", 0, "fault_io").kind, Kind::kSucceeded);
    for (const int pid : processes_named(name)) {
      const std::string parent = line_of(pid, "PPid:");
      const int above = std::stoi(parent);
      if (std::stoi(line_of(above, "PPid:")) == getpid()) return pid;
    }
    ADD_FAILURE() << "no process " << name;
    return 0;
  }
  // What stands behind a name in /proc/PID/status.
  static std::string line_of(int pid, const std::string& name) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(name)) return line.substr(line.find_first_not_of(" \t", name.size()));
    }
    return "0";
  }
  static std::string file_of(int pid, const std::string& name) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  StepOutcome run(const char* how, int64_t n = 0, const std::string& step = "fault",
                  const std::string& path = "/etc/passwd") {
    return workers_->run(workers_->fault(how, n, {}, step, path));
  }
  void expect_death(const char* how, int64_t n, const std::string& words,
                    const std::string& step = "fault") {
    const StepOutcome outcome = run(how, n, step);
    EXPECT_EQ(outcome.kind, Kind::kWorkerDied) << how << ": " << outcome.message;
    EXPECT_NE(outcome.message.find(words), std::string::npos) << how << ": " << outcome.message;
    EXPECT_EQ(run("ok", 0, step).kind, Kind::kSucceeded);
  }
  static bool landlock() {
    return (probe_sandbox(Lane::kIo).layers & kLayerLandlock) != 0;
  }

  std::string place_;
  std::unique_ptr<WorkerFixture> workers_;
};

// ---- from outside

TEST_F(Sandbox, WorkersHoldNoDescriptorButTheirSocket) {
  for (const char* name : {"millrace-cpu", "millrace-io"}) {
    const int pid = worker(name);
    std::multiset<std::string> held;
    const std::string place = "/proc/" + std::to_string(pid) + "/fd";
    for (const auto& entry : std::filesystem::directory_iterator(place)) {
      const std::string target = std::filesystem::read_symlink(entry.path());
      held.insert(target.substr(0, target.find('[')));
    }
    EXPECT_EQ(held, (std::multiset<std::string>{"/dev/null", "/dev/null", "/dev/null", "socket:"}))
        << name;
  }
}

TEST_F(Sandbox, WorkersHaveNothingOfTheServersEnvironment) {
  const std::set<std::string> ours = {
      "VIPS_NOVECTOR", "VIPS_DISC_THRESHOLD", "VIPS_WARNING", "VIPS_CONCURRENCY",
      "VIPSHOME",      "MALLOC_ARENA_MAX",    "LC_ALL",       "SSL_CERT_FILE",
      "SSL_CERT_DIR",  "GLIBC_TUNABLES"};
  for (const char* name : {"millrace-cpu", "millrace-io"}) {
    const std::string text = file_of(worker(name), "environ");
    ASSERT_NE(text.find("LC_ALL="), std::string::npos) << "it could not be read";
    std::istringstream variables(text);
    for (std::string variable; std::getline(variables, variable, '\0');) {
      EXPECT_EQ(ours.count(variable.substr(0, variable.find('='))), 1u) << variable;
    }
  }
  EXPECT_EQ(run("environment").outputs.at(2).as_string(), "");
}

TEST_F(Sandbox, WorkersAreLockedAndLimited) {
  for (const char* name : {"millrace-cpu", "millrace-io"}) {
    const int pid = worker(name);
    EXPECT_EQ(line_of(pid, "NoNewPrivs:"), "1") << name;
    EXPECT_EQ(line_of(pid, "Seccomp:"), "2") << name;
    std::istringstream limits(file_of(pid, "limits"));
    std::map<std::string, std::string> soft;
    for (std::string line; std::getline(limits, line);) {
      soft[line.substr(0, line.find("  "))] = line.substr(26, line.find(' ', 26) - 26);
    }
    const bool cpu = std::string(name) == "millrace-cpu";
    EXPECT_EQ(soft["Max core file size"], "0");
    EXPECT_EQ(soft["Max open files"], cpu ? "64" : "4096");
    EXPECT_EQ(soft["Max file size"], cpu ? "0" : std::to_string(int64_t{2} << 30));
    EXPECT_EQ(soft["Max address space"] == "unlimited", !cpu) << soft["Max address space"];
    EXPECT_EQ(soft["Max data size"] == "unlimited", cpu) << soft["Max data size"];
    // A minute on two cores, and what the attempt before it left.
    if (!cpu) continue;
    EXPECT_LE(std::stoi("0" + soft["Max cpu time"]), 130) << soft["Max cpu time"];
    EXPECT_GE(std::stoi("0" + soft["Max cpu time"]), 122) << soft["Max cpu time"];
  }
}

TEST_F(Sandbox, CpuWorkersAreNobodyInNamespacesOfTheirOwn) {
  if ((probe_sandbox(Lane::kCpu).layers & kLayerNamespaces) == 0) {
    GTEST_SKIP() << "this machine allows no user namespaces";
  }
  const int pid = worker("millrace-cpu");
  for (const char* kind : {"user", "net", "ipc"}) {
    const std::string place = "/ns/" + std::string(kind);
    EXPECT_NE(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + place),
              std::filesystem::read_symlink("/proc/self" + place));
  }
  if (geteuid() == 0) {
    EXPECT_NE(line_of(pid, "Uid:").substr(0, 2), "0\t");
  }
}

TEST_F(Sandbox, SelfTestFindsItLocked) {
  for (const Lane lane : {Lane::kCpu, Lane::kIo}) {
    const SandboxProbe probe = probe_sandbox(lane);
    EXPECT_TRUE(probe.locked);
    EXPECT_NE(probe.layers & kLayerSystemCalls, 0u);
    EXPECT_NE(probe.layer_names().find("system call filter"), std::string::npos);
  }
}

// ---- from inside, cpu lane

TEST_F(Sandbox, ForbiddenCallsAreNamed) {
  expect_death("socket", 1, "SIGSYS (it called socket,");
  expect_death("fork", 0, "SIGSYS (it called clone,");
  // The C library blocks signals meanwhile, and so the one that would name the call.
  expect_death("spawn", 0, "SIGSYS (it made a system call");
  expect_death("exec", 0, "SIGSYS (it called execve,");
}

TEST_F(Sandbox, RefusedFileIsNamedWhenTheStepFailsOfIt) {
  const StepOutcome outcome = run("open");
  EXPECT_EQ(outcome.kind, Kind::kFailed);
  EXPECT_EQ(outcome.reason, "broken");
  EXPECT_NE(outcome.message.find("Permission denied"), std::string::npos) << outcome.message;
  EXPECT_NE(outcome.message.find("system call openat"), std::string::npos) << outcome.message;
  const StepOutcome next = run("fail");
  EXPECT_EQ(next.message, "it is broken") << "what was refused to one step is not the next one's";
}

TEST_F(Sandbox, LimitsAreNamed) {
  expect_death("blind", 0, "limit of memory");
  expect_death("raise", SIGXCPU, "CPU time");
}

// Long before its timeout, with an allowance that is the slack alone.
TEST_F(Sandbox, StepThatUsesUpItsCpuTimeIsEndedByTheKernel) {
  workers_.reset();
  WorkerOptions options = WorkerFixture::faulty();
  options.worker_limits.step_cores = 0;
  workers_ = std::make_unique<WorkerFixture>(options);
  constexpr int64_t kLongMs = 600'000;
  StepCall call = workers_->fault("spin");
  call.timeout_ms = kLongMs;
  const StepOutcome outcome = workers_->wait(workers_->start(std::move(call)), kLongMs * 1000);
  EXPECT_EQ(outcome.kind, Kind::kWorkerDied) << outcome.message;
  EXPECT_NE(outcome.message.find("SIGXCPU (it used more CPU time"), std::string::npos)
      << outcome.message;
  EXPECT_EQ(run("ok").kind, Kind::kSucceeded);
}

TEST_F(Sandbox, OutputWithoutEndIsCutOff) {
  const StepOutcome outcome = run("write", INT64_MAX);
  EXPECT_EQ(outcome.kind, Kind::kFailed);
  EXPECT_EQ(outcome.number, 166);
  EXPECT_NE(outcome.message.find("larger than a worker can hand over"), std::string::npos);
  EXPECT_EQ(run("ok").kind, Kind::kSucceeded);
}

// ---- from inside, io lane

TEST_F(Sandbox, IoLaneHasTheNetwork) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const StepOutcome outcome = run("socket", ntohs(address.sin_port), "fault_io");
  EXPECT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
  close(listener);
}

TEST_F(Sandbox, IoLaneUsesOnlyTheDirectoriesItIsGranted) {
  if (!landlock()) GTEST_SKIP() << "the kernel has no Landlock";
  const auto kind_of = [&](const char* how, const std::string& path) {
    return run(how, 0, "fault_io", path).kind;
  };
  EXPECT_EQ(kind_of("create", place_ + "/objects/new"), Kind::kSucceeded);
  EXPECT_EQ(kind_of("open", place_ + "/objects/new"), Kind::kSucceeded);
  EXPECT_EQ(kind_of("open", place_ + "/blobs/blob"), Kind::kSucceeded);
  EXPECT_EQ(kind_of("create", place_ + "/blobs/new"), Kind::kFailed);
  EXPECT_EQ(kind_of("open", place_ + "/jobs.db"), Kind::kFailed);
  EXPECT_EQ(kind_of("open", place_ + "/objects/../jobs.db"), Kind::kFailed);
  EXPECT_EQ(kind_of("open", "/proc/" + std::to_string(getpid()) + "/environ"), Kind::kFailed);
  EXPECT_EQ(kind_of("open", "/etc/nsswitch.conf"), Kind::kSucceeded);
}

TEST_F(Sandbox, IoLaneStartsNoProcess) {
  expect_death("fork", 0, "SIGSYS (it called clone,", "fault_io");
  expect_death("spawn", 0, "SIGSYS (it made a system call", "fault_io");
  expect_death("exec", 0, "SIGSYS (it called execve,", "fault_io");
#if defined(SYS_vfork)  // elsewhere it is clone
  expect_death("vfork", 0, "SIGSYS (it called vfork,", "fault_io");
#endif
}

// As libcurl makes them to resolve a name.
TEST_F(Sandbox, IoLaneMakesThreads) {
  const StepOutcome outcome = run("own_thread", 0, "fault_io");
  EXPECT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
}

TEST_F(Sandbox, IoLaneNamesTheStepThatStartsAProcessBesideOthers) {
  const Ticket other = workers_->start_sleeper();
  EXPECT_EQ(run("fork", 0, "fault_io").kind, Kind::kWorkerDied);
  EXPECT_EQ(workers_->wait(other).kind, Kind::kRequeued);
}

TEST_F(Sandbox, IoLaneHasALimitOfMemory) {
  expect_death("blind", 0, "limit of memory", "fault_io");
  // It could tell, and failed: what it still holds is not left to those who come after.
  expect_death("allocate", 0, "limit of memory", "fault_io");
}

}  // namespace
}  // namespace millrace
