#include "tests/attacks/fleet.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>

#include "cmake/tree.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"
#include "tests/s3_server/server.h"
#include "tests/store_mongo/mongo_fixture.h"

namespace millrace {
namespace {

constexpr char kReplicaSet[] = "secantus";  // as the database calls itself
constexpr int kPhotos = 4;
constexpr int kClientThreads = 4;
constexpr double kPatienceSeconds = 240;  // on a machine with much other work
constexpr int kOthersHaveItsJobs = 5;     // exit code
constexpr int64_t kSecondNs = 1'000'000'000;

std::string new_name() {
  static int count = 0;
  return fmt::format("fleet_{}_{}", ::getpid(), count++);
}

std::vector<std::string> photos() {
  std::vector<std::string> all;
  for (int i = 0; i < kPhotos; i++) all.push_back(make_photo(i));
  return all;
}

// "s3://bucket?endpoint=http://localhost:9000" by another way.
std::string by_way(const std::string& url, const std::string& address) {
  const std::string mark = "endpoint=";
  return url.substr(0, url.find(mark) + mark.size()) + "http://" + address;
}

uint16_t port_of(const std::string& url) {
  return static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
}

}  // namespace

// ---- the servers of the whole program

bool Fleet::installed() {
  return MongoServer::installed() && Toxiproxy::installed();
}

void FleetTest::SetUp() {
  if (Fleet::installed()) return;
  ASSERT_EQ(std::getenv("CI"), nullptr) << "the test servers are missing";
  GTEST_SKIP() << MongoServer::program() << " or " << Toxiproxy::program()
               << " is missing; ./run test installs them";
}

Toxiproxy& Fleet::network() {
  static Toxiproxy one;
  return one;
}

MongoServer& Fleet::database() {
  static MongoServer one;
  return one;
}

void Fleet::start_database() {
  ASSERT_TRUE(database().start()) << database().why();
  for (const auto& node : nodes_) network().lead_to(node->database, database().port());
}

void Fleet::command(const std::string& json) const {
  EXPECT_TRUE(admin_command(database_at(database().port(), "admin"), json)) << json;
}

// ---- making it

Fleet::Fleet(const FleetSettings& settings)
    : directory_(make_directory("fleet")),
      name_(new_name()),
      objects_(S3Server::shared(S3Kind::kVersity).make_bucket("objects")),
      blobs_(S3Server::shared(S3Kind::kVersity).make_bucket("blobs")),
      lease_ms_(settings.lease_ms),
      clients_([this] { return ports(); }, photos(), &receiver_, receiver_.url() + "/" + name_) {
  if (!database().running()) {
    EXPECT_TRUE(database().start()) << database().why();
  }
  hook_ = "http://" + network().open_way(name_ + "_hook", receiver_.port()) + "/hook/" + name_;
  network().refuse(name_ + "_hook");
  for (int i = 0; i < settings.replicas; i++) make_node(settings, i);
  for (int i = 0; i < settings.replicas; i++) start(i);
}

Fleet::~Fleet() {
  clients_.stop();
  for (const auto& node : nodes_) {
    node->process.reset();
    network().close_way(node->database);
    network().close_way(node->bucket);
    if (node->clock_ns != nullptr) ::munmap(node->clock_ns, sizeof *node->clock_ns);
  }
  network().close_way(name_ + "_hook");
  remove_tree(directory_);
}

std::string Fleet::application(int i) {
  return fmt::format("replica{}", i);
}

void Fleet::make_node(const FleetSettings& settings, int i) {
  auto node = std::make_unique<Node>();
  node->database = fmt::format("{}_database_{}", name_, i);
  node->bucket = fmt::format("{}_bucket_{}", name_, i);
  const std::string to_database = network().open_way(node->database, database().port());
  const std::string to_bucket = network().open_way(node->bucket, port_of(objects_));
  const std::string directory = fmt::format("{}/{}", directory_, i);
  std::filesystem::create_directories(directory);
  node->settings = settings_in(directory);
  node->settings.pipelines = in_source("/tests/attacks/pipelines");
  node->settings.environment = {"AWS_ACCESS_KEY_ID=" + test_credentials().access_key_id,
                                "AWS_SECRET_ACCESS_KEY=" + test_credentials().secret_access_key};
  std::string store =
      fmt::format("store=mongodb://{}/{}?appname={}", to_database, name_, application(i));
  if (settings.replica_set) {
    store = fmt::format("store=mongodb://127.0.0.1:{}/{}?replicaSet={}", database().port(), name_,
                        kReplicaSet);
  }
  for (const std::string& setting :
       {fmt::format("lease={}ms", settings.lease_ms), store, "blobs=" + by_way(blobs_, to_bucket),
        "stores={default: {url: \"" + by_way(objects_, to_bucket) + "\"}}",
        std::string("workers.cpu=1")}) {
    node->settings.extra.push_back(setting);
  }
  if (settings.clocks) give_clock(node.get());
  nodes_.push_back(std::move(node));
}

void Fleet::give_clock(Node* node) const {
  const std::string file = node->settings.data + ".clock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const bool sized = fd >= 0 && ::ftruncate(fd, sizeof *node->clock_ns) == 0;
  void* map =
      sized ? ::mmap(nullptr, sizeof *node->clock_ns, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
            : MAP_FAILED;
  ASSERT_NE(map, MAP_FAILED);
  ::close(fd);
  node->clock_ns = static_cast<int64_t*>(map);
  node->settings.environment.push_back("LD_PRELOAD=" +
                                       in_build("/tests/process/clock_shim/clock_shim.so"));
  node->settings.environment.push_back("CLOCK_SHIM=" + file);
}

bool Fleet::is_ours(const std::string& head) const {
  return head.find("/hook/" + name_ + " ") != std::string::npos;
}

// ---- replicas

std::vector<uint16_t> Fleet::ports() const {
  std::vector<uint16_t> all;
  for (const auto& node : nodes_) {
    if (const uint16_t port = node->port) all.push_back(port);
  }
  return all;
}

bool Fleet::ready(int i) const {
  return ask(port(i), "GET", "/readyz").status == 200;
}

std::string Fleet::log(int i) const {
  return file_text(nodes_.at(i)->settings.data + ".log");
}

::testing::AssertionResult Fleet::says(int i, const std::string& what, int times) const {
  const bool said = eventually(
      [&] {
        const std::string text = log(i);
        int found = 0;
        for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
          found++;
        }
        return found >= times;
      },
      kPatienceSeconds);
  if (said) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "replica " << i << " did not say " << what << ":\n"
                                       << log(i);
}

void Fleet::kill_replica(int i) {
  nodes_.at(i)->port = 0;
  nodes_.at(i)->process->kill();
  kills_++;
}

// One that finds no database may end at once; then it is started again, as orchestrators do.
void Fleet::start(int i) {
  Node& node = *nodes_.at(i);
  node.process.reset();
  const bool started = eventually(
      [&] {
        node.process = std::make_unique<ServerProcess>(node.settings, ServerProcess::May::kDie);
        return node.process->port() != 0;
      },
      kPatienceSeconds);
  ASSERT_TRUE(started) << log(i);
  node.port = node.process->port();
}

void Fleet::set_clock(int i, int seconds) {
  ASSERT_NE(nodes_.at(i)->clock_ns, nullptr);
  __atomic_store_n(nodes_.at(i)->clock_ns, seconds * kSecondNs, __ATOMIC_SEQ_CST);
}

void Fleet::expect_given_up(int i) {
  Node& node = *nodes_.at(i);
  EXPECT_TRUE(eventually([&] { return !node.process->running(); }, kPatienceSeconds)) << log(i);
  tend();
  EXPECT_TRUE(says(i, "took this one"));
}

void Fleet::tend() {
  for (int i = 0; i < size(); i++) {
    Node& node = *nodes_[i];
    if (node.port == 0 || node.process->running()) continue;
    node.port = 0;
    given_up_++;
    EXPECT_EQ(node.process->wait(), kOthersHaveItsJobs) << log(i);
    start(i);
  }
}

// ---- load

void Fleet::start_load(int patience_ms) {
  clients_.start(kClientThreads, std::random_device()(), patience_ms);
}

void Fleet::await_progress(uint64_t jobs) {
  const uint64_t enough = clients_.acknowledged() + jobs;
  EXPECT_TRUE(eventually(
      [&] {
        tend();
        return clients_.acknowledged() >= enough;
      },
      kPatienceSeconds))
      << clients_.acknowledged() << " of " << enough;
}

void Fleet::submit_held(int i) {
  Work work;
  work.key = fmt::format("held-{}", held_.size());
  work.photo = static_cast<int>(held_.size()) % kPhotos;
  ASSERT_TRUE(clients_.submit(port(i), &work, hook_));
  held_.push_back(work);
}

void Fleet::release() {
  network().heal(name_ + "_hook");
}

void Fleet::hold_back() {
  network().refuse(name_ + "_hook");
}

// Shown when it is durable: an attempt has failed, and the next one has its time.
void Fleet::await_held_tried() const {
  for (const Work& work : held_) {
    EXPECT_TRUE(eventually(
        [&] {
          const Reply reply = ask(ports().at(0), "GET", "/v1/jobs/" + work.job);
          return !reply.text("steps.notify.attempts").empty() &&
                 reply.text("steps.notify.attempts") != "0";
        },
        kPatienceSeconds));
  }
}

void Fleet::expect_held_told() {
  std::set<std::string> told;
  const bool all = eventually(
      [&] {
        for (const auto& [id, delivery] : receiver_.deliveries()) {
          told.insert(json_text_of(delivery.body, "job"));
        }
        return std::all_of(held_.begin(), held_.end(),
                           [&](const Work& work) { return told.contains(work.job); });
      },
      kPatienceSeconds);
  EXPECT_TRUE(all);
}

}  // namespace millrace
