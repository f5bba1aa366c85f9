// The demo: one photograph through pipelines/grayscale.yaml over HTTP, everything shown as it
// happens.
//
// Starts its own server on a free port with its data in a temporary directory, receives the webhook
// itself, verifies the result, stops the server. Exit code 0 only when all of it went as promised.
#include <curl/curl.h>
#include <fmt/format.h>
#include <simdjson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/harness/process.h"
#include "bench/harness/receiver.h"
#include "cmake/tree.h"
#include "demo/jpeg_header.h"
#include "demo/signature.h"
#include "server/cli/client.h"

namespace millrace::demo {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kSecretVariable = "DEMO_WEBHOOK_SECRET";
constexpr double kWebhookSeconds = 10;

template <typename... Arguments>
void say(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::print("{}\n", fmt::format(format, std::forward<Arguments>(arguments)...));
  ::fflush(stdout);
}

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

bool read_file(const std::string& path, std::string* bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  bytes->assign(std::istreambuf_iterator<char>(file), {});
  return true;
}

class Demo {
 public:
  explicit Demo(std::string binary_directory) : binaries_(std::move(binary_directory)) {}
  int run();

 private:
  bool play();
  bool prepare();
  bool start();
  bool submit();
  bool follow();
  bool show_job(std::string_view json);
  bool check_end();
  bool receive_webhook();
  bool verify_result();
  std::optional<std::string> expect(const std::string& what, int status, Result<HttpReply> reply);
  bool fail(const std::string& problem) {
    problem_ = problem;
    return false;
  }

  const std::string binaries_;
  const std::string photo_ = in_source("/demo/photo.jpg");
  const std::string secret_ = make_webhook_secret();
  std::string directory_, result_file_, photo_bytes_, problem_;
  JpegHeader photo_header_;
  std::optional<ServerProcess> server_;
  // A receiver must not answer 2xx to what it cannot verify.
  Receiver receiver_{[this](const std::string& head, const std::string& body) {
    return signature_valid(secret_, head, body);
  }};
  HttpClient client_{"", ""};
  Clock::time_point submitted_;
  std::string job_, state_, gray_url_;
  std::map<std::string, std::string> shown_;  // step -> state
};

bool Demo::prepare() {
  if (!read_file(photo_, &photo_bytes_)) return fail("cannot read the photograph " + photo_);
  const std::optional<JpegHeader> header = read_jpeg_header(photo_bytes_);
  if (!header) return fail(photo_ + " is not a JPEG file");
  photo_header_ = *header;
  directory_ = fs::temp_directory_path() / "millrace-demo-XXXXXX";
  if (::mkdtemp(directory_.data()) == nullptr) {
    return fail("cannot make a directory " + directory_);
  }
  result_file_ = directory_ + "/gray.jpg";
  return true;
}

bool Demo::start() {
  ServerSettings settings;
  settings.program = binaries_ + "/millrace";
  settings.data = directory_ + "/data";
  settings.pipelines = in_source("/pipelines");
  settings.extra = {"webhook.allow=127.0.0.0/8",
                    fmt::format("webhook.secret=env:{}", kSecretVariable)};
  settings.environment = {fmt::format("{}={}", kSecretVariable, secret_)};
  server_.emplace(settings);
  const std::string url = fmt::format("http://127.0.0.1:{}", server_->port());
  client_ = HttpClient(url, "");
  say("server    {}, ready after {:.0f} ms", url, server_->seconds_to_ready() * 1000);
  say("receiver  {}", receiver_.url());
  return true;
}

// The answer's body, when it has this status.
std::optional<std::string> Demo::expect(const std::string& what, int status,
                                        Result<HttpReply> reply) {
  if (!reply.ok()) {
    (void)fail(fmt::format("{}: {}", what, reply.status().message()));
  } else if (reply->status != status) {
    (void)fail(fmt::format("{} answered {} {}", what, reply->status, reply->body));
  } else {
    return std::move(reply->body);
  }
  return std::nullopt;
}

bool Demo::submit() {
  say("photo     {}x{}, {} components, {} bytes", photo_header_.width, photo_header_.height,
      photo_header_.components, photo_bytes_.size());
  submitted_ = Clock::now();
  const std::vector<FormField> form = {{"image", "", photo_}, {"callback", receiver_.url(), ""}};
  const auto answer =
      expect("submitting", 202, client_.request("POST", "/v1/pipelines/grayscale/jobs", {}, &form));
  if (!answer) return false;
  simdjson::dom::parser parser;
  std::string_view id;
  if (parser.parse(*answer)["id"].get_string().get(id) != simdjson::SUCCESS) {
    return fail("the accepted job has no id: " + *answer);
  }
  job_ = id;
  say("accepted  job {}, durable after {:.1f} ms", job_, ms_since(submitted_));
  return true;
}

// What one event says of one step.
struct StepLine {
  std::string id, state, started_at, finished_at, problem;
};

// Milliseconds between two times such as 2026-11-21T07:20:17.123Z; below 0 when one is absent.
int64_t ms_between(const std::string& begin, const std::string& end) {
  const auto parse = [](const std::string& text) -> int64_t {
    struct tm time = {};
    const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time);
    if (rest == nullptr) return -1;
    return int64_t{::timegm(&time)} * 1000 + (*rest == '.' ? ::atoi(rest + 1) : 0);
  };
  const int64_t from = parse(begin), to = parse(end);
  return from < 0 || to < 0 ? -1 : to - from;
}

std::string text_of(const simdjson::dom::element& element, const char* pointer) {
  std::string_view text;
  return element.at_pointer(pointer).get_string().get(text) == simdjson::SUCCESS ? std::string(text)
                                                                                 : std::string();
}

void say_step(double at_ms, const StepLine& line) {
  const int64_t took_ms = ms_between(line.started_at, line.finished_at);
  say("{:7.1f} ms  {:<8} {}{}{}", at_ms, line.id, line.state,
      took_ms < 0 ? "" : fmt::format(" in {} ms", took_ms),
      line.problem.empty() ? "" : ": " + line.problem);
}

// Shows each step whose state is not the one last seen, in the order in which they ran; false when
// the job has ended.
bool Demo::show_job(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::element job;
  simdjson::dom::object steps;
  if (parser.parse(json.data(), json.size()).get(job) != simdjson::SUCCESS) return true;
  if (job["steps"].get_object().get(steps) != simdjson::SUCCESS) return true;
  std::vector<StepLine> news;
  for (const auto& field : steps) {
    const StepLine line = {
        std::string(field.key), text_of(field.value, "/state"), text_of(field.value, "/started_at"),
        text_of(field.value, "/finished_at"), text_of(field.value, "/error/message")};
    if (line.state.empty() || line.state == "pending" || shown_[line.id] == line.state) continue;
    shown_[line.id] = line.state;
    news.push_back(line);
  }
  std::stable_sort(news.begin(), news.end(), [](const StepLine& x, const StepLine& y) {
    return x.started_at < y.started_at;
  });
  for (const StepLine& line : news) say_step(ms_since(submitted_), line);
  std::string_view state;
  if (job["state"].get_string().get(state) == simdjson::SUCCESS) state_ = state;
  return state_ != "succeeded" && state_ != "failed" && state_ != "cancelled";
}

bool Demo::follow() {
  const auto events =
      expect("following the job's events", 200,
             client_.follow("/v1/jobs/" + job_ + "/events",
                            [this](std::string_view json) { return show_job(json); }));
  return events && check_end();
}

bool Demo::check_end() {
  const auto job = expect("reading the job", 200, client_.request("GET", "/v1/jobs/" + job_));
  if (!job) return false;
  (void)show_job(*job);
  if (state_ != "succeeded") return fail(fmt::format("the job is {}: {}", state_, *job));
  say("{:7.1f} ms  job      {}", ms_since(submitted_), state_);
  return true;
}

bool Demo::receive_webhook() {
  if (!receiver_.wait_for(1, kWebhookSeconds)) return fail("no webhook with a good signature came");
  const auto deliveries = receiver_.deliveries();
  const auto& [id, webhook] = *deliveries.begin();
  say("webhook   id {}, signature verified", id);
  say("          {}", webhook.body);
  simdjson::dom::parser parser;
  simdjson::dom::element body;
  std::string_view job, gray;
  if (parser.parse(webhook.body).get(body) != simdjson::SUCCESS ||
      body["job"].get_string().get(job) != simdjson::SUCCESS ||
      body["gray"].get_string().get(gray) != simdjson::SUCCESS) {
    return fail("the webhook names neither job nor result: " + webhook.body);
  }
  if (job != job_) return fail(fmt::format("the webhook is about job {}", job));
  gray_url_ = gray;
  return true;
}

bool Demo::verify_result() {
  const auto result = expect("fetching the result", 200,
                             client_.request("GET", "/v1/jobs/" + job_ + "/outputs/image"));
  if (!result) return false;
  std::ofstream(result_file_, std::ios::binary) << *result;
  const std::optional<JpegHeader> gray = read_jpeg_header(*result);
  if (!gray) return fail("the result is not a JPEG file");
  say("result    {}x{}, {} component{}, {} bytes", gray->width, gray->height, gray->components,
      gray->components == 1 ? "" : "s", result->size());
  if (gray->components != 1) return fail("the result is not a one-component JPEG");
  if (gray->width != photo_header_.width || gray->height != photo_header_.height) {
    return fail("the result does not have the size of the photograph");
  }
  const auto stored = expect("fetching " + gray_url_, 200, client_.request("GET", gray_url_));
  if (!stored) return false;
  if (*stored != *result) return fail("the stored object has other bytes than the result");
  return true;
}

bool Demo::play() {
  if (!prepare() || !start()) return false;
  if (!submit() || !follow() || !receive_webhook() || !verify_result()) return false;
  if (const int code = server_->stop(); code != 0) {
    return fail(fmt::format("the server ended with exit code {}", code));
  }
  say("server    stopped");
  return true;
}

int Demo::run() {
  const bool played = play();
  std::error_code ignored;
  if (!played) {
    fmt::print(stderr, "demo failed: {}\n", problem_);
    if (server_) fmt::print(stderr, "the server's log is {}\n", server_->log());
    if (!directory_.empty()) fmt::print(stderr, "data kept in {}\n", directory_);
    return 1;
  }
  fs::remove_all(directory_ + "/data", ignored);
  fs::remove(server_->log(), ignored);
  fmt::print("\n{}\n{}\n", photo_, result_file_);
  return 0;
}

}  // namespace
}  // namespace millrace::demo

int main() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    fmt::print(stderr, "demo failed: cannot find its own binary\n");
    return 1;
  }
  ::setenv("no_proxy", "*", 1);  // everything here is on this machine
  curl_global_init(CURL_GLOBAL_DEFAULT);
  return millrace::demo::Demo(self.parent_path()).run();
}
