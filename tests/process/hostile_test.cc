// Goal: hostile clients, many at once, harm nobody else: a well-behaved client's jobs all succeed
// meanwhile, the server's memory has a bound, and nothing of theirs stays: no descriptor, no file.
// Nothing that hides behind a refused request is carried out, and nothing stored is served as a
// page. Method: the real program. Slow and silent clients come first and stay until the server ends
// them; everything else goes on beside them. The table at the end says what each attack met.
#include "tests/process/hostile.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "cmake/tree.h"
#include "engine/base/digest.h"
#include "tests/process/hostile_requests.h"
#include "tests/process/hostile_watchers.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kSlow = 200;                     // clients of each slow kind
constexpr int kIdle = 10'000;                  // connections that ask nothing
constexpr int kSteps = 50;                     // of a watched job, each a durable state
constexpr size_t kStreamBytesMin = 1'000'000;  // of all states of a watched job
constexpr int kFilesMin = 4096;
constexpr int kSpareFiles = 3000;  // descriptors of this program beside the idle connections
constexpr uint64_t kServerBytesMax = 256ull << 20;  // four times limits.memory
// Its peak, all that it maps included: program, libraries, and what its workers share with it.
constexpr uint64_t kServerPeakBytesMax = 320ull << 20;
// Server and workers together, at any moment: bombs are refused before they unfold.
constexpr uint64_t kTreePeakBytesMax = 512ull << 20;
// The well-behaved client's slowest job may take so many times as long as the slowest of those that
// nobody disturbed, on this machine and under its load, and some seconds, in which it is moved
// around by others: and never longer than half of what it waits for (wait=120).
constexpr double kSlowestFactor = 20;
constexpr double kSlowestGraceSeconds = 10;
constexpr double kSlowestSecondsMax = 60;
constexpr int kFewFiles = 400;
constexpr int kTurnedAway = 32;
constexpr double kPatienceSeconds = 90;
constexpr size_t kBlobBytes = 3 << 20;
constexpr size_t kHoardBytes = 1 << 20;
constexpr size_t kSmallBytes = 100'000;
constexpr char kHost[] = "Host: localhost\r\n";
const std::string kPost = "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\n";

class Hostile : public testing::Test {
 protected:
  void SetUp() override {
    files_ = raise_descriptors();
    const int wanted = continuous_integration() ? kIdle + kSpareFiles : kFilesMin;
    if (files_ < wanted && continuous_integration()) FAIL() << too_few_files(wanted);
    if (files_ < wanted) GTEST_SKIP() << too_few_files(wanted);
    directory_ = make_directory("hostile");
    ServerSettings settings = settings_in(directory_);
    settings.extra.insert(settings.extra.end(),
                          {"limits.body=32MiB", "limits.memory=64MiB", "drain=1s",
                           "stores={default: {url: \"file:" + directory_ + "/objects\"}}"});
    write_pipelines(settings.pipelines);
    server_ = std::make_unique<ServerProcess>(settings);
    const Reply first = submit_image(port(), make_photo(0), "Prefer: wait=120\r\n");
    ASSERT_EQ(first.text("state"), "succeeded") << first.shown();
    descriptors_before_ = descriptors_of(server_->pid());
    good_ = std::make_unique<GoodClient>(port());
    watch_ = std::make_unique<MemoryWatch>(server_->pid());
  }
  void TearDown() override {
    good_.reset();
    watch_.reset();
    server_.reset();
    remove_tree(directory_);
  }

  uint16_t port() const { return server_->port(); }

  static bool continuous_integration() { return std::getenv("CI") != nullptr; }
  std::string too_few_files(int wanted) const {
    return fmt::format("{} descriptors; allow {} (ulimit -Hn)", files_, wanted);
  }

  static void write_pipelines(const std::string& directory) {
    std::ofstream(directory + "/pass.yaml")
        << "pipeline: pass\ninputs:\n  data: { type: blob }\n  key: { type: \"string?\" }\n"
           "steps:\n  put:\n    if: has(inputs.key)\n    use: store\n"
           "    with: { data: \"${{ inputs.data }}\", key: \"${{ inputs.key }}\" }\n"
           "outputs:\n  data: ${{ inputs.data }}\n";
    std::ofstream watched(directory + "/watched.yaml");
    watched
        << "pipeline: watched\ninputs:\n  gate: { type: url }\n  data: { type: string }\n"
           "steps:\n  open:\n    use: notify\n    with: { url: \"${{ inputs.gate }}\", body: {} "
           "}\n    timeout: 2m\n";
    std::string from = "inputs.data";
    for (int i = 0; i < kSteps; i++) {
      watched << fmt::format(
          "  s{}:\n    use: noop_keyed\n    needs: [open]\n    with: {{ data: "
          "\"${{{{ {} }}}}\" }}\n",
          i, from);
      from = fmt::format("steps.s{}.data", i);
    }
  }

  // A line of the table: what came of an attack, and what the server and its good client felt.
  void note(const std::string& attack, int connections, const Statuses& statuses) {
    std::string answers;
    for (const auto& [status, times] : statuses) answers += fmt::format(" {}:{}", status, times);
    const uint64_t bytes = pss_bytes(server_->pid());
    highest_bytes_ = std::max(highest_bytes_, bytes);
    for (Crowd* crowd : slow_) crowd->say("x");  // a byte now and then
    rows_.push_back(fmt::format("  {:<26} {:>6} {:>5} MB {:>7.2f} s {}", attack, connections,
                                bytes >> 20, good_->slowest_seconds(), answers));
  }

  void half_closed();
  void protocol_attacks();
  void multipart_attacks();
  void json_attacks();
  void image_attacks();
  void served_bytes();
  void keys_and_names();
  void ranges();
  void hoarders();
  void idle();
  void expect_bounds() const;
  void expect_nothing_left();
  void print_table() const;

  int files_ = 0, descriptors_before_ = 0;
  std::string directory_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<GoodClient> good_;
  std::unique_ptr<MemoryWatch> watch_;
  uint64_t highest_bytes_ = 0;
  std::vector<std::string> rows_;
  std::vector<Crowd*> slow_;  // told a byte with each line of the table
};

// Each is one request for those who parse it right. Behind it stands another one, which stores
// bytes of its own: they must not be there afterwards.
void Hostile::protocol_attacks() {
  Statuses statuses;
  int number = 0;
  for (const std::string& request : ambiguous_requests()) {
    SCOPED_TRACE(request.substr(0, 200));
    const std::string hidden = fmt::format("hidden request {}", number++);
    const std::string answer =
        exchange(port(), request + fmt::format("POST /v1/blobs HTTP/1.1\r\n{}Content-Length: "
                                               "{}\r\n\r\n{}",
                                               kHost, hidden.size(), hidden));
    EXPECT_EQ(answers_in(answer), 1) << answer;
    EXPECT_EQ(status_of(answer), 400) << answer;
    EXPECT_NE(answer.find("\r\nConnection: close\r\n"), std::string::npos) << answer;
    EXPECT_EQ(ask(port(), "GET", "/v1/blobs/" + sha256(hidden).text()).status, 404);
    statuses[status_of(answer)]++;
  }
  note("ambiguous requests", number, statuses);
  statuses.clear();
  for (const auto& [request, status] : oversized_requests()) {
    SCOPED_TRACE(request.substr(0, 200));
    const std::string answer = exchange(port(), request);
    EXPECT_EQ(answers_in(answer), 1);
    EXPECT_EQ(status_of(answer), status);
    statuses[status_of(answer)]++;
  }
  note("heads without end", static_cast<int>(oversized_requests().size()), statuses);
  Crowd garbage(port(), kSlow, garbage_bytes());
  EXPECT_TRUE(garbage.outlast(kPatienceSeconds));
  note("garbage", garbage.size(), garbage.statuses());
}

void Hostile::multipart_attacks() {
  Statuses statuses;
  for (const Form& form : multipart_bombs()) {
    SCOPED_TRACE(form.what);
    const Reply reply =
        ask(port(), "POST", "/v1/pipelines/grayscale/jobs",
            "Content-Type: multipart/form-data; boundary=" + form.boundary + "\r\n", form.body);
    EXPECT_EQ(reply.status, form.status) << reply.shown();
    EXPECT_EQ(reply.text("code"), form.code) << reply.shown();
    statuses[reply.status]++;
  }
  note("multipart bombs", static_cast<int>(multipart_bombs().size()), statuses);
}

void Hostile::json_attacks() {
  Statuses statuses;
  for (const Form& form : json_bombs()) {
    SCOPED_TRACE(form.what);
    const Reply reply = ask(port(), "POST", "/v1/pipelines/watched/jobs",
                            "Content-Type: application/json\r\n", form.body);
    EXPECT_EQ(reply.status, form.status) << reply.shown();
    EXPECT_EQ(reply.text("code"), form.code) << reply.shown();
    EXPECT_LE(reply.body.size(), 512u << 10);
    statuses[reply.status]++;
  }
  note("JSON bombs", static_cast<int>(json_bombs().size()), statuses);
}

// Each is an image by its first bytes. Its job ends, with an image or with a reason.
void Hostile::image_attacks() {
  Statuses statuses;
  for (const Bomb& bomb : image_bombs()) {
    SCOPED_TRACE(bomb.what);
    const Reply job = submit_image(port(), bomb.bytes, "Prefer: wait=120\r\n");
    ASSERT_EQ(job.status, 200) << job.shown();
    statuses[job.status]++;
    if (bomb.reason.empty()) {
      EXPECT_EQ(job.text("state"), "succeeded") << job.shown();
      continue;
    }
    EXPECT_EQ(job.text("state"), "failed") << job.shown();
    EXPECT_EQ(job.text("error.code"), "E160") << job.shown();
    EXPECT_EQ(job.text("error.reason"), bomb.reason) << job.shown();
    expect_sentence(job.text("error.message"));
  }
  note("image bombs", static_cast<int>(image_bombs().size()), statuses);
}

// Whatever is stored, and whatever its client calls it: a browser shows pictures, and runs nothing.
void Hostile::served_bytes() {
  Statuses statuses;
  for (const Polyglot& one : polyglots()) {
    SCOPED_TRACE(one.what);
    const std::string part = fmt::format(
        "--B\r\nContent-Disposition: form-data; name=\"data\"; filename=\"{}\"\r\n"
        "Content-Type: {}\r\n\r\n{}\r\n--B\r\nContent-Disposition: form-data; "
        "name=\"key\"\r\n\r\npages/{}\r\n--B--\r\n",
        one.file_name, one.declared, one.bytes, one.file_name);
    const Reply job =
        ask(port(), "POST", "/v1/pipelines/pass/jobs",
            "Content-Type: multipart/form-data; boundary=B\r\nPrefer: wait=120\r\n", part);
    ASSERT_EQ(job.text("state"), "succeeded") << job.shown();
    for (const std::string& path :
         {"/v1/jobs/" + job.text("id") + "/outputs/data", "/v1/blobs/" + sha256(one.bytes).text(),
          "/v1/files/default/pages/" + url_encoded(one.file_name)}) {
      const Reply served = ask(port(), "GET", path);
      statuses[served.status]++;
      EXPECT_EQ(served.status, 200) << path << served.shown();
      EXPECT_TRUE(served.body == one.bytes);
      const std::string& head = served.head;
      EXPECT_EQ(header_of(head, "Content-Type"), one.served) << path;
      EXPECT_EQ(header_of(head, "X-Content-Type-Options"), "nosniff") << path;
      EXPECT_EQ(header_of(head, "Content-Security-Policy"), "default-src 'none'; sandbox") << path;
      const bool shown = one.served.starts_with("image/");
      EXPECT_TRUE(
          header_of(head, "Content-Disposition").starts_with(shown ? "inline" : "attachment"))
          << path << ": " << head;
    }
  }
  note("pages in disguise", static_cast<int>(polyglots().size()), statuses);
}

void Hostile::keys_and_names() {
  Statuses statuses;
  const auto post = [this](const std::string& body, const std::string& type) {
    return ask(port(), "POST", "/v1/pipelines/pass/jobs",
               "Prefer: wait=120\r\nContent-Type: " + type + "\r\n", body);
  };
  for (const std::string& key : evil_keys()) {
    SCOPED_TRACE(key);
    const Reply job =
        post("{\"inputs\":{\"data\":{\"base64\":\"b3V0c2lkZQ==\"},\"key\":\"" + key + "\"}}",
             "application/json");
    statuses[job.status]++;
    if (job.status == 422) continue;
    EXPECT_EQ(job.text("state"), "failed") << job.shown();
    expect_sentence(job.text("error.message"));
  }
  for (const std::string& path : evil_paths()) {
    const std::string answer =
        exchange(port(), "GET /v1/files/default/" + path + " HTTP/1.1\r\nConnection: close\r\n" +
                             kHost + "\r\n");
    EXPECT_TRUE(status_of(answer) == 404 || status_of(answer) == 400) << path << answer;
    EXPECT_EQ(answer.find("root:"), std::string::npos);
    statuses[status_of(answer)]++;
  }
  for (const std::string& name : evil_file_names()) {
    SCOPED_TRACE(name);
    const Reply job = post("--B\r\nContent-Disposition: form-data; name=\"data\"; " + name +
                               "\r\n\r\nabc\r\n--B--\r\n",
                           "multipart/form-data; boundary=B");
    statuses[job.status]++;
    EXPECT_TRUE(job.status == 200 || job.status == 400) << job.shown();
    if (job.status != 200) continue;
    const Reply out = ask(port(), "GET", "/v1/jobs/" + job.text("id") + "/outputs/data");
    for (const std::string& head : {job.head, out.head}) {
      EXPECT_EQ(head.find("Set-Cookie"), std::string::npos) << head;
      EXPECT_EQ(head.find(".."), std::string::npos) << head;
    }
  }
  // Nothing went where it should not.
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
    EXPECT_EQ(entry.path().filename().string().find("outside"), std::string::npos) << entry.path();
  }
  const size_t many = evil_keys().size() + evil_paths().size() + evil_file_names().size();
  note("paths and names", static_cast<int>(many), statuses);
}

void Hostile::ranges() {
  const std::string bytes(kBlobBytes, 'r');
  ASSERT_EQ(ask(port(), "POST", "/v1/blobs", "", bytes).status, 201);
  const std::string path = "/v1/blobs/" + sha256(bytes).text();
  Statuses statuses;
  for (const std::string& range : evil_ranges()) {
    const Reply reply = ask(port(), "GET", path, "Range: " + range + "\r\n");
    EXPECT_TRUE(reply.status == 200 || reply.status == 206 || reply.status == 416) << range;
    if (reply.status != 416) {
      EXPECT_LE(reply.body.size(), kBlobBytes) << range;
      EXPECT_TRUE(reply.status == 206 || reply.body.size() == kBlobBytes) << range;
    }
    statuses[reply.status]++;
  }
  note("ranges", static_cast<int>(evil_ranges().size()), statuses);
}

void Hostile::expect_bounds() const {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(highest_bytes_, kServerBytesMax);
  EXPECT_LE(peak_bytes(server_->pid()), kServerPeakBytesMax);
  EXPECT_LE(watch_->peak_bytes(), kTreePeakBytesMax);
#endif
  EXPECT_LE(good_->slowest_ever_seconds(),
            std::min(kSlowestSecondsMax,
                     kSlowestFactor * good_->undisturbed_seconds() + kSlowestGraceSeconds));
}

void Hostile::expect_nothing_left() {
  EXPECT_TRUE(eventually([&] { return descriptors_of(server_->pid()) <= descriptors_before_; }))
      << descriptors_of(server_->pid()) << " descriptors, " << descriptors_before_ << " before";
  EXPECT_TRUE(eventually([&] { return temporary_files(directory_).empty(); }))
      << temporary_files(directory_).size() << " temporary files";
  EXPECT_EQ(ask(port(), "GET", "/readyz").status, 200);
  EXPECT_EQ(server_->stop(), 0) << file_text(server_->log());
}

void Hostile::print_table() const {
  std::printf(
      "hostile clients: %d jobs of a well-behaved one succeeded meanwhile, the slowest in %.2f s "
      "(undisturbed: %.2f s); the server's memory was at most %d MB, its peak %d MB, with its "
      "workers %d MB\n  %-26s %6s %8s %9s  %s\n",
      good_->jobs(), good_->slowest_ever_seconds(), good_->undisturbed_seconds(),
      static_cast<int>(highest_bytes_ >> 20), static_cast<int>(peak_bytes(server_->pid()) >> 20),
      static_cast<int>(watch_->peak_bytes() >> 20), "attack", "many", "memory", "slowest",
      "answers");
  for (const std::string& row : rows_) std::printf("%s\n", row.c_str());
}

void Hostile::half_closed() {
  Crowd half_heads(port(), kSlow, "GET /livez HTTP/1.1\r\nX: ");
  half_heads.half_close();
  Crowd half_bodies(port(), kSlow, kPost + "Content-Length: 100\r\n\r\nhalf");
  half_bodies.half_close();
  Crowd half_done(port(), kSlow, std::string("GET /livez HTTP/1.1\r\n") + kHost + "\r\n");
  half_done.half_close();
  for (Crowd* crowd : {&half_heads, &half_bodies, &half_done}) {
    EXPECT_TRUE(crowd->outlast(kPatienceSeconds));
  }
  note("half closed in the head", kSlow, half_heads.statuses());
  note("half closed in the body", kSlow, half_bodies.statuses());
  note("half closed, whole", kSlow, half_done.statuses());
  EXPECT_EQ(half_done.statuses(), (Statuses{{200, kSlow}}));
}

// Each has sent a megabyte of a body that is kept in memory, all of them more than there is.
void Hostile::hoarders() {
  Crowd crowd(port(), kSlow, "");
  crowd.insist(
      "POST /v1/pipelines/pass/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"
      "Content-Length: 30000000\r\n" +
      std::string(kHost) + "\r\n" + std::string(kHoardBytes, ' '));
  const int jobs_before = good_->jobs();
  EXPECT_TRUE(eventually([&] { return good_->jobs() > jobs_before + 1; }, kPatienceSeconds));
  const std::string small(kSmallBytes, 's');
  EXPECT_EQ(ask(port(), "POST", "/v1/blobs", "", small).status, 201);
  crowd.look();
  note("hoarders of memory", kSlow, crowd.statuses());
  crowd.leave();
}

void Hostile::idle() {
  const int wanted = std::min(kIdle, files_ - kSpareFiles);
  if (wanted < kIdle)
    std::printf("only %d idle connections: %s\n", wanted,
                too_few_files(kIdle + kSpareFiles).c_str());
  Crowd crowd(port(), wanted, "");
  EXPECT_EQ(crowd.size(), wanted);
  const Reply job = submit_image(port(), make_photo(1), "Prefer: wait=120\r\n");
  EXPECT_EQ(job.text("state"), "succeeded") << job.shown();
  note("idle", crowd.size(), crowd.statuses());
}

TEST_F(Hostile, ClientsHarmNobodyElse) {
  Crowd slow_heads(port(), kSlow, "GET /livez HTTP/1.1\r\nX: ");
  Crowd slow_bodies(port(), kSlow, kPost + "Content-Length: 30000000\r\n\r\nslow");
  Crowd slow_chunks(port(), kSlow, kPost + "Transfer-Encoding: chunked\r\n\r\nfffff\r\nslow");
  Crowd silent_bodies(port(), kSlow, kPost + "Content-Length: 30000000\r\n\r\n");
  slow_ = {&slow_heads, &slow_bodies, &slow_chunks};
  Watched watched(port());
  for (const auto& crowd : watched.watchers) ASSERT_EQ(crowd->size(), kWatchers / kWatchedJobs);
  // The server has taken up all that came before, those watchers too: its answer comes behind them.
  ASSERT_EQ(ask(port(), "GET", "/livez").status, 200);
  watched.begin();

  half_closed();
  protocol_attacks();
  multipart_attacks();
  json_attacks();
  image_attacks();
  served_bytes();
  keys_and_names();
  ranges();
  hoarders();
  idle();

  EXPECT_TRUE(slow_heads.outlast(kPatienceSeconds, "x"));
  EXPECT_EQ(slow_heads.statuses(), (Statuses{{408, kSlow}}));
  note("slow heads", kSlow, slow_heads.statuses());
  for (Crowd* crowd : {&slow_bodies, &slow_chunks, &silent_bodies}) {
    EXPECT_TRUE(crowd->outlast(kPatienceSeconds, crowd == &silent_bodies ? "" : "x"));
    EXPECT_EQ(crowd->statuses(), (Statuses{{408, kSlow}}));
  }
  note("slow bodies", 3 * kSlow, {{408, 3 * kSlow}});

  for (const std::string& id : watched.jobs) {
    const Reply end = await_job(port(), id);
    EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
  }
  // Streams that nobody reads are dropped: nothing but them holds descriptors now.
  good_->stop();
  EXPECT_TRUE(eventually([&] { return descriptors_of(server_->pid()) <= descriptors_before_; },
                         kPatienceSeconds))
      << descriptors_of(server_->pid()) << " descriptors, " << descriptors_before_ << " before";
  for (const auto& crowd : watched.watchers) {
    EXPECT_TRUE(crowd->outlast(kPatienceSeconds));
    EXPECT_EQ(crowd->heard().find("\r\n0\r\n\r\n"), std::string::npos) << "sent to its end";
    EXPECT_LT(crowd->heard().size(), kStreamBytesMin);
  }
  Statuses watchers;
  for (const auto& crowd : watched.watchers) {
    for (const auto& [status, times] : crowd->statuses()) watchers[status] += times;
  }
  note("watchers who never read", kWatchers, watchers);
  print_table();
  expect_bounds();
  expect_nothing_left();
}

// Regression: where few descriptors were allowed, connections took them all; other clients were not
// answered, and the server found none for their bytes.
TEST_F(Hostile, ConnectionsLeaveDescriptorsForWork) {
  good_->stop();
  const std::string program = directory_ + "/few";
  std::ofstream(program) << "#!/bin/sh\nulimit -n " << kFewFiles << "\nexec '" << in_build("")
                         << "/millrace' \"$@\"\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  ServerSettings settings = settings_in(directory_ + "/few-files");
  settings.program = program;
  ServerProcess server(settings);
  Crowd busy(server.port(), kFewFiles / 2,
             "POST /v1/blobs HTTP/1.1\r\nContent-Length: 9\r\nExpect: "
             "100-continue\r\n" +
                 std::string(kHost) + "\r\n");
  EXPECT_TRUE(eventually([&] {
    busy.look();
    Statuses said = busy.statuses();
    return said[100] >= kFewFiles / 4 && said[100] + said[503] + said[0] == kFewFiles / 2;
  })) << "some are let in, all that may be";
  Crowd late(server.port(), kFewFiles / 4, "GET /livez HTTP/1.1\r\n" + std::string(kHost) + "\r\n");
  EXPECT_TRUE(late.outlast(kPatienceSeconds));
  EXPECT_GE(late.statuses()[503], kTurnedAway) << "the first ones are told why";
  EXPECT_LE(descriptors_of(server.pid()), kFewFiles * 3 / 4);
  busy.leave();
  const Reply job = submit_image(server.port(), make_photo(1), "Prefer: wait=120\r\n");
  EXPECT_EQ(job.text("state"), "succeeded") << job.shown();
}

}  // namespace
}  // namespace millrace
