// millrace steps --check FILE.so: does a plugin keep what it declares? It is loaded and run as the
// server would, in worker processes with their sandbox, and each step is looked at:
//
//   documented  the step, its ports, parameters, results and reasons have a text
//   runs        a pure step with samples ends well, or fails with a reason that it declares
//   repeats     and the same inputs give the same bytes and results
//   stops       and when it is stopped, an answer comes at once
//
// It knows no particular step. Steps with effects are not run.
#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/worker/workers.h"
#include "server/cli/cli.h"
#include "server/config_parts.h"
#include "server/sniff.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBudgetBytes = uint64_t{1} << 30;
constexpr DurationMs kTimeoutMs = 30'000;
constexpr int64_t kStopMs = 2'000;  // generous: a killed worker's end is noticed long before

// A PNG of 8 x 8 pixels, two colours.
constexpr uint8_t kSample[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44,
    0x52, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x00, 0x00, 0xec,
    0x74, 0x83, 0x26, 0x00, 0x00, 0x00, 0x0f, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0xf8,
    0xc0, 0x00, 0x81, 0xfc, 0x10, 0x08, 0x00, 0x2e, 0x00, 0x03, 0xfd, 0x2b, 0xce, 0xd1, 0xa8,
    0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

// A directory that holds the one plugin, so that the loader finds no other; goes with this object.
class OnePlugin {
 public:
  explicit OnePlugin(const std::string& file) {
    std::error_code error;
    std::string name = fs::temp_directory_path(error).string() + "/millrace-check-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) return;
    path_ = name;
    fs::create_symlink(fs::absolute(file, error), path_ + "/" + fs::path(file).filename().string(),
                       error);
  }
  ~OnePlugin() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

using Given = std::vector<InputArgument>;

class Checker {
 public:
  Checker(Workers* workers, const Given& given) : workers_(workers), given_(given) {}

  bool check_all() {
    for (const StepDecl& step : workers_->catalogue()->steps()) check(step);
    return good_;
  }

 private:
  void say(const StepDecl& step, bool ok, const std::string& text) {
    good_ = good_ && ok;
    print(fmt::format("{:<6} {}: {}\n", ok ? "ok" : "wrong", step.name, text));
  }

  void check(const StepDecl& step) {
    check_texts(step);
    if (step.effect != Effect::kPure) {
      say(step, true, fmt::format("not run: it is {}", effect_name(step.effect)));
      return;
    }
    std::vector<Value> with;
    if (!samples_of(step, &with)) return;
    const StepOutcome first = run(step, with, false);
    if (!says_how_it_ended(step, first)) return;
    const StepOutcome second = run(step, with, false);
    const bool same = equal(first, second);
    say(step, same, same ? "a repetition gives the same" : "a repetition gives something else");
    const int64_t began_us = monotonic_us();
    run(step, with, true);
    const int64_t took_ms = (monotonic_us() - began_us) / 1000;
    say(step, took_ms < kStopMs, fmt::format("stopped after {} ms", took_ms));
  }

  void check_texts(const StepDecl& step) {
    std::string missing = step.doc.empty() ? " the step itself" : "";
    for (const auto* ports : {&step.inputs, &step.params, &step.outputs, &step.results}) {
      for (const PortDecl& port : *ports) {
        if (port.doc.empty()) missing += " " + port.name;
      }
    }
    for (const ReasonDecl& reason : step.reasons) {
      if (reason.doc.empty()) missing += " " + reason.name;
    }
    say(step, missing.empty(), missing.empty() ? "documented" : "without a text:" + missing);
  }

  const InputArgument* given(const std::string& name) const {
    for (const InputArgument& one : given_) {
      if (one.name == name) return &one;
    }
    return nullptr;
  }

  static Value blob_of(std::string bytes) {
    auto content = std::make_shared<BlobContent>();
    content->size_bytes = bytes.size();
    BlobRef blob;
    blob.media_type = std::string(sniff_image(bytes));
    content->bytes = Bytes::of(std::move(bytes));
    blob.content = std::move(content);
    return blob;
  }

  // What a step is given for a port: the argument of its name, its default, or something of its
  // type. False: it cannot be; the step is then not run.
  bool samples_of(const StepDecl& step, std::vector<Value>* with) {
    for (const PortDecl& port : step.inputs) {
      const InputArgument* argument = given(port.name);
      std::string bytes(reinterpret_cast<const char*>(kSample), sizeof kSample);
      if (argument != nullptr && !argument->file.empty()) {
        auto read = read_small_file(argument->file, static_cast<size_t>(kBlobBytesMax));
        if (!read.ok()) {
          say(step, false, read.status().message());
          return false;
        }
        bytes = std::move(*read);
      }
      with->push_back(blob_of(std::move(bytes)));
    }
    for (const PortDecl& port : step.params) {
      const InputArgument* argument = given(port.name);
      if (argument == nullptr && (port.type.optional || port.has_default)) {
        with->emplace_back();
        continue;
      }
      auto value = value_from_text(port.type, argument != nullptr ? argument->text : sample(port));
      if (!value.ok()) {
        say(step, false,
            fmt::format("not run: {} ({}) needs a value; write {}=VALUE behind the file", port.name,
                        port.type.text(), port.name));
        return false;
      }
      with->push_back(std::move(*value));
    }
    fill_defaults(step, with);
    return true;
  }

  static std::string sample(const PortDecl& port) {
    const std::string type = port.type.text();
    if (type == "int") return std::to_string(std::max<int64_t>(port.min, 1));
    for (const auto& [name, text] :
         {std::pair("float", "1"), std::pair("bool", "true"), std::pair("json", "[]"),
          std::pair("duration", "1s"), std::pair("size", "1KiB"),
          std::pair("url", "https://example.org/"), std::pair("string", "text")}) {
      if (type == name) return text;
    }
    if (type.starts_with("list<")) return "[]";
    if (type.starts_with("map<")) return "{}";
    if (type.starts_with("enum<")) return type.substr(5, type.find_first_of(",>") - 5);
    return "";
  }

  StepOutcome run(const StepDecl& step, const std::vector<Value>& with, bool stop) {
    StepCall call;
    call.ticket = ++ticket_;
    call.decl = &step;
    call.job = "check";
    call.step = step.name;
    call.with = with;
    call.paths.resize(with.size());
    call.timeout_ms = kTimeoutMs;
    workers_->start(std::move(call));
    workers_->flush();
    if (stop) workers_->stop(ticket_);
    std::vector<StepResult> results;
    while (results.empty()) {
      workers_->poll(&results);
      if (!results.empty() || workers_->stuck()) break;
      const int64_t at_us = std::min(workers_->next_deadline_us(), monotonic_us() + 1'000'000);
      pollfd waiting{workers_->poll_fd(), POLLIN, 0};
      poll(&waiting, 1,
           static_cast<int>(std::clamp<int64_t>((at_us - monotonic_us() + 999) / 1000, 0, 1000)));
      workers_->flush();
    }
    if (!results.empty()) return std::move(results[0].outcome);
    StepOutcome none;
    none.kind = StepOutcome::Kind::kWorkerDied;
    none.message = "no worker process could be brought up";
    return none;
  }

  bool says_how_it_ended(const StepDecl& step, const StepOutcome& outcome) {
    using Kind = StepOutcome::Kind;
    if (outcome.kind == Kind::kSucceeded) {
      say(step, true, "succeeds, with every output and result that it declares");
      return true;
    }
    const bool declared =
        outcome.kind == Kind::kFailed &&
        std::any_of(step.reasons.begin(), step.reasons.end(),
                    [&](const ReasonDecl& reason) { return reason.name == outcome.reason; });
    say(step, declared,
        fmt::format("{}: {}", declared ? "fails with " + outcome.reason : "does not end well",
                    outcome.message));
    return declared;
  }

  static bool equal(const StepOutcome& a, const StepOutcome& b) {
    if (a.kind != b.kind || a.reason != b.reason || a.message != b.message ||
        a.outputs.size() != b.outputs.size()) {
      return false;
    }
    for (size_t i = 0; i < a.outputs.size(); ++i) {
      const Value &x = a.outputs[i], &y = b.outputs[i];
      const bool blobs = x.kind() == Value::Kind::kBlob && y.kind() == Value::Kind::kBlob;
      if (blobs ? x.as_blob().content->bytes.view() != y.as_blob().content->bytes.view()
                : !(x == y)) {
        return false;
      }
    }
    return true;
  }

  Workers* workers_;
  const Given& given_;
  Ticket ticket_ = 0;
  bool good_ = true;
};

}  // namespace

int run_check_steps(const ConfigArguments& arguments, const std::string& file,
                    const std::vector<std::string>& inputs) {
  Config config;
  if (!load_for_verb(arguments, &config)) return kExitConfig;
  Given given;
  for (const std::string& input : inputs) {
    auto parsed = parse_input(input);
    if (!parsed.ok()) {
      print_error(parsed.status());
      return kExitUsage;
    }
    given.push_back(std::move(*parsed));
  }
  std::error_code error;
  const OnePlugin plugin(file);
  if (!fs::is_regular_file(file, error) || plugin.path().empty()) {
    print_error(fmt::format("error {}: {} is no file; name a plugin's .so",
                            error_code(errors::kUsageWrong), file));
    return kExitUsage;
  }
  WorkerOptions options;
  options.steps_directory = plugin.path();
  options.cpu = options.io = 1;
  options.pixels_max = static_cast<uint64_t>(kPixelsDefault);
  options.budget = std::make_shared<ByteBudget>(kBudgetBytes);
  auto workers = start_process_workers(options);
  if (!workers.ok()) {
    print_error(workers.status());
    return kExitWorkers;
  }
  for (const PluginProblem& problem : (*workers)->problems()) {
    print_error(fmt::format("error {}: {}", error_code(problem.number), problem.message));
  }
  if (!(*workers)->problems().empty()) return kExitFailed;
  return Checker(workers->get(), given).check_all() ? kExitDone : kExitFailed;
}

}  // namespace millrace
