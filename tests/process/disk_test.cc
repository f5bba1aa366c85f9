// Goal: a full disk harms nothing that was acknowledged. New submissions get 507 E123 and /readyz
// is 503 until there is room; then everything goes on by itself. A disk that cannot be written at
// all keeps the server from starting, and it says why.
// Method: the real binary with its data on a small file system of its own, which a file fills to
// the last byte while clients submit. Needs the right to mount; skipped without it.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "bench/harness/receiver.h"
#include "tests/process/photo.h"
#include "tests/process/small_disk.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kClients = 3;
constexpr uint64_t kIndexBytes = 64 << 10;  // what the store needs to be opened at all
constexpr size_t kJobsBefore = 20;          // acknowledged before the disk fills

class Disk : public testing::Test {
 protected:
  void SetUp() override { directory_ = make_directory("disk"); }
  void TearDown() override {
    disk_.reset();
    remove_tree(directory_);
  }
  // False: not permitted here, the test is skipped.
  bool mount(const std::string& options) {
    disk_ = std::make_unique<SmallDisk>(directory_ + "/data", options);
    return disk_->mounted();
  }
  ServerSettings settings() const {
    ServerSettings settings = settings_in(directory_);
    settings.extra.push_back("drain=1s");  // on a full disk there is nothing to hurry for
    std::ofstream(settings.pipelines + "/effect.yaml")
        << "pipeline: effect\nsteps:\n  work: { use: noop_keyed }\n";
    return settings;
  }
  std::vector<std::string> serve_arguments() const {
    return {"serve",
            "--set",
            "listen=127.0.0.1:0",
            "--set",
            "data=" + directory_ + "/data",
            "--set",
            "pipelines=" + settings().pipelines};
  }

  std::string directory_;
  std::unique_ptr<SmallDisk> disk_;
};

// Clients that submit without end, each piece of work under a key of its own, until told to stop.
class Clients {
 public:
  explicit Clients(uint16_t port) {
    for (int i = 0; i < kClients; i++) {
      threads_.emplace_back([this, i, port] { submit(i, port); });
    }
  }
  ~Clients() { stop(); }
  void stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }
  size_t acknowledged() const {
    const std::lock_guard lock(mutex_);
    return jobs_.size();
  }
  // 507s of each kind of job: with an image to store, and with a record only.
  bool refused() const {
    const std::lock_guard lock(mutex_);
    return refused_images_ > 3 && refused_records_ > 3;
  }
  // By key; to be called when the clients have stopped.
  const std::map<std::string, std::string>& jobs() const { return jobs_; }
  const std::vector<std::string>& refused_keys() const { return refused_keys_; }
  const std::string& receiver_url() const { return url_; }
  const Receiver& receiver() const { return receiver_; }

  Reply post(uint16_t port, const std::string& key) const {
    const std::string header = "Idempotency-Key: " + key + "\r\n";
    if (key.starts_with("record")) {
      return ask(port, "POST", "/v1/pipelines/effect/jobs", header);
    }
    const int number = std::atoi(key.c_str() + key.rfind('-') + 1);
    // Equal bytes are stored once: each picture is another one.
    return submit_image(port, make_photo(number % 5) + key, header,
                        "?callback=" + url_encoded(url_));
  }

 private:
  void submit(int client, uint16_t port) {
    for (int i = 0; !stop_; i++) {
      const bool image = i % 3 != 0;
      const std::string key = fmt::format("{}-{}-{}", image ? "image" : "record", client, i);
      const Reply reply = post(port, key);
      const std::lock_guard lock(mutex_);
      if (reply.status == 202 || reply.status == 200) {
        jobs_.emplace(key, reply.text("id"));
      } else {
        // Whatever else is said while the disk is full, it is this.
        expect_problem(reply, 507, "E123");
        EXPECT_NE(reply.head.find("Retry-After: "), std::string::npos) << reply.head;
        refused_keys_.push_back(key);
        (image ? refused_images_ : refused_records_)++;
      }
    }
  }

  Receiver receiver_;
  const std::string url_ = receiver_.url();
  mutable std::mutex mutex_;
  std::atomic<bool> stop_{false};
  std::map<std::string, std::string> jobs_;
  std::vector<std::string> refused_keys_;
  int refused_images_ = 0, refused_records_ = 0;
  std::vector<std::thread> threads_;
};

void expect_not_ready(uint16_t port) {
  Reply ready;
  EXPECT_TRUE(eventually([&] {
    ready = ask(port, "GET", "/readyz");
    return ready.status == 503;
  })) << ready.shown();
  EXPECT_NE(ready.body.find("disk is full"), std::string::npos) << ready.shown();
  EXPECT_EQ(ask(port, "GET", "/livez").status, 200) << "a restart would mend nothing";
}

void expect_ready(uint16_t port) {
  Reply ready;
  EXPECT_TRUE(eventually([&] {
    ready = ask(port, "GET", "/readyz");
    return ready.status == 200;
  })) << ready.shown();
}

// Every acknowledged job succeeds and every notification was sent under one key with one body.
void expect_all_done(uint16_t port, const Clients& clients) {
  std::set<std::string> images;
  for (const auto& [key, job] : clients.jobs()) {
    const Reply end = await_job(port, job);
    EXPECT_EQ(end.text("state"), "succeeded") << key << ": " << end.shown();
    if (key.starts_with("image")) images.insert(job);
  }
  std::set<std::string> told;
  for (const auto& [id, delivery] : clients.receiver().deliveries()) {
    EXPECT_EQ(delivery.other_bodies, 0u) << id;
    EXPECT_TRUE(told.insert(json_text_of(delivery.body, "job")).second) << "two keys for one job";
  }
  for (const std::string& job : images) EXPECT_TRUE(told.contains(job)) << job;
}

TEST_F(Disk, FullWhileJobsRunRefusesNewOnesAndEndsThoseItAccepted) {
  if (!mount("size=48m")) GTEST_SKIP() << "not permitted to mount";
  ServerProcess server(settings());
  Clients clients(server.port());
  ASSERT_TRUE(eventually([&] { return clients.acknowledged() > kJobsBefore; }));
  // What the server gives back in its need is taken as well, as long as clients submit.
  EXPECT_TRUE(eventually([&] {
    disk_->fill();
    return clients.refused();
  }));
  expect_not_ready(server.port());
  clients.stop();
  for (const auto& [key, job] : clients.jobs()) {
    EXPECT_EQ(ask(server.port(), "GET", "/v1/jobs/" + job).status, 200) << key;
  }
  disk_->make_room();
  expect_ready(server.port());
  // Ready means that jobs are taken, and what was refused was not half accepted: it is new.
  for (const std::string& key : {clients.refused_keys().front(), clients.refused_keys().back()}) {
    const Reply again = clients.post(server.port(), key);
    EXPECT_EQ(again.status, 202) << again.shown();
    EXPECT_EQ(again.head.find("Idempotency-Replayed"), std::string::npos);
  }
  expect_all_done(server.port(), clients);
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(Disk, WithoutInodesItIsTheSame) {
  if (!mount("size=48m,nr_inodes=400")) GTEST_SKIP() << "not permitted to mount";
  ServerProcess server(settings());
  Clients clients(server.port());
  // Blobs and objects use them up; nobody has to fill this disk.
  EXPECT_TRUE(eventually([&] {
    return clients.acknowledged() > kJobsBefore &&
           ask(server.port(), "GET", "/readyz").status == 503;
  }));
  clients.stop();
  ASSERT_TRUE(disk_->remount(0, "size=48m,nr_inodes=40000"));
  expect_ready(server.port());
  expect_all_done(server.port(), clients);
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(Disk, FullAtARestartServesWhatIsThereAndGoesOnWithRoom) {
  if (!mount("size=48m")) GTEST_SKIP() << "not permitted to mount";
  auto server = std::make_unique<ServerProcess>(settings());
  Clients clients(server->port());
  ASSERT_TRUE(eventually([&] { return clients.acknowledged() > kJobsBefore; }));
  EXPECT_TRUE(eventually([&] {
    disk_->fill();
    return clients.refused();
  }));
  clients.stop();
  for (const bool killed : {true, false, true}) {
    if (killed) {
      server->kill();
    } else {
      EXPECT_EQ(server->stop(), 0) << file_text(server->log());
    }
    disk_->fill_up_to(kIndexBytes);
    server.reset();
    server = std::make_unique<ServerProcess>(settings());
    disk_->fill();
    for (const auto& [key, job] : clients.jobs()) {
      const Reply reply = ask(server->port(), "GET", "/v1/jobs/" + job);
      EXPECT_EQ(reply.status, 200) << key << ": " << reply.shown();
      EXPECT_NE(reply.text("state"), "failed") << key << ": " << reply.shown();
    }
    expect_not_ready(server->port());
    const Reply refused = submit_image(server->port(), make_photo(0) + "new");
    expect_problem(refused, 507, "E123");
  }
  disk_->make_room();
  expect_ready(server->port());
  expect_all_done(server->port(), clients);
  EXPECT_EQ(server->stop(), 0) << file_text(server->log());
}

// The objects of the step `store` may lie on another disk than the engine's data: then the server
// is well, and only the step waits.
TEST_F(Disk, OfAStoreThatIsFullIsWaitedOutWithoutCountingAttempts) {
  if (!mount("size=1m")) GTEST_SKIP() << "not permitted to mount";
  ServerSettings elsewhere = settings();
  elsewhere.data = directory_ + "/real";
  elsewhere.extra.push_back("stores={default: {url: 'file:" + directory_ + "/data/objects'}}");
  std::filesystem::create_directory(directory_ + "/data/objects");
  disk_->fill();
  ServerProcess server(elsewhere);
  const Reply accepted = submit_image(server.port(), make_photo(0));
  ASSERT_EQ(accepted.status, 202) << accepted.shown();
  const std::string path = "/v1/jobs/" + accepted.text("id");
  Reply waiting;
  EXPECT_TRUE(eventually([&] {
    waiting = ask(server.port(), "GET", path);
    return waiting.text("steps.store.waiting_for.reason") == "no_space";
  })) << waiting.shown();
  expect_sentence(waiting.text("steps.store.waiting_for.message"));
  EXPECT_EQ(ask(server.port(), "GET", "/readyz").status, 200);
  // A list says of it what it says itself.
  EXPECT_TRUE(eventually([&] {
    const std::string job = ask(server.port(), "GET", path).body;
    return ask(server.port(), "GET", "/v1/jobs").body == "{\"jobs\":[" + job + "],\"next\":null}";
  })) << ask(server.port(), "GET", "/v1/jobs").shown();
  disk_->make_room();
  const Reply end = await_job(server.port(), accepted.text("id"));
  EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
  EXPECT_EQ(end.text("steps.store.attempts"), "1") << end.shown();
}

// Blobs may lie on another disk than the records: the server is not ready before that one has room.
TEST_F(Disk, OfBlobsThatIsFullKeepsTheServerUnready) {
  if (!mount("size=16m")) GTEST_SKIP() << "not permitted to mount";
  ServerSettings elsewhere = settings();
  elsewhere.data = directory_ + "/real";
  elsewhere.extra.push_back("blobs=file:" + directory_ + "/data/blobs");
  ServerProcess server(elsewhere);
  const Reply early = submit_image(server.port(), make_photo(0));
  EXPECT_EQ(early.status, 202) << early.shown();
  disk_->fill();
  const double end = now_seconds() + 1.5;  // longer than the server's own look at the disk takes
  for (int i = 0; now_seconds() < end; i++) {
    expect_problem(submit_image(server.port(), make_photo(1) + std::to_string(i)), 507, "E123");
    expect_not_ready(server.port());
  }
  const std::string log = file_text(server.log());
  EXPECT_EQ(log.find("ev=disk.full"), log.rfind("ev=disk.full")) << "it came and went";
  EXPECT_EQ(log.find("ev=disk.has_space"), std::string::npos);
  disk_->make_room();
  expect_ready(server.port());
  EXPECT_EQ(await_job(server.port(), early.text("id")).text("state"), "succeeded");
  EXPECT_EQ(submit_image(server.port(), make_photo(1), "Prefer: wait=120\r\n").text("state"),
            "succeeded");
}

TEST_F(Disk, FullAtTheFirstStartIsExit4) {
  if (!mount("size=16m")) GTEST_SKIP() << "not permitted to mount";
  disk_->fill();
  std::string said;
  EXPECT_EQ(run_program(serve_arguments(), &said), 4) << said;
  EXPECT_NE(said.find("error E123: "), std::string::npos) << said;
  EXPECT_NE(said.find(directory_ + "/data"), std::string::npos) << said;
  disk_->make_room();
  ServerProcess server(settings());
  EXPECT_EQ(submit_image(server.port(), make_photo(0), "Prefer: wait=120\r\n").text("state"),
            "succeeded");
}

TEST_F(Disk, ThatIsReadOnlyIsExit4) {
  if (!mount("size=16m")) GTEST_SKIP() << "not permitted to mount";
  std::string job;
  for (const bool used : {false, true}) {
    if (used) {
      ServerProcess server(settings());
      job = submit_image(server.port(), make_photo(0), "Prefer: wait=120\r\n").text("id");
      EXPECT_EQ(server.stop(), 0);
    }
    ASSERT_TRUE(disk_->remount(MS_RDONLY, "size=16m"));
    std::string said;
    EXPECT_EQ(run_program(serve_arguments(), &said), 4) << said;
    EXPECT_NE(said.find("error E120: "), std::string::npos) << said;
    EXPECT_NE(said.find(directory_ + "/data"), std::string::npos) << said;
    EXPECT_NE(said.find("Read-only file system"), std::string::npos) << said;
    EXPECT_EQ(run_program({"doctor", "--set", "data=" + directory_ + "/data", "--set",
                           "pipelines=" + settings().pipelines},
                          &said),
              4)
        << said;
    ASSERT_TRUE(disk_->remount(0, "size=16m"));
  }
  expect_in_reference("E120");
  ServerProcess server(settings());
  EXPECT_EQ(await_job(server.port(), job).text("state"), "succeeded");
}

TEST_F(Disk, AFileInTheDirectorysPlaceIsExit4) {
  std::ofstream(directory_ + "/data") << "a file\n";
  std::string said;
  EXPECT_EQ(run_program(serve_arguments(), &said), 4) << said;
  EXPECT_NE(said.find("error E120: "), std::string::npos) << said;
  EXPECT_NE(said.find(directory_ + "/data"), std::string::npos) << said;
}

}  // namespace
}  // namespace millrace
