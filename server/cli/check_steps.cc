// millrace steps --check FILE.so: does a plugin keep what it declares? It is loaded and run as the
// server would, in worker processes with their sandbox, and each step is looked at:
//
//   documented  the step, its ports, parameters, results and reasons have a text
//   runs        a pure step with samples, or what is given, ends well, with every output and result
//               that it declares: one that fails shows nothing of the rest
//   repeats     and the same inputs give the same bytes and results
//   stops       and it ends by itself when it is asked to, before the engine has to kill it
//   limits      and one that takes images refuses them beyond limits.pixels
//   memory      and says what it takes for each pixel: a note when it does not
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
// A step that ends sooner than this has ended before anybody could tell whether it listens.
constexpr int64_t kTellableUs = 100'000;
constexpr int kStopTries = 5;  // a busy machine may let the time to answer pass

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
  // `strict`: the same plugin under limits.pixels of 1.
  Checker(Workers* workers, Workers* strict, const Given& given)
      : workers_(workers), strict_(strict), given_(given) {}

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
    note_memory(step);
    if (step.effect != Effect::kPure) {
      say(step, true, fmt::format("not run: it is {}", effect_name(step.effect)));
      return;
    }
    std::vector<Value> with;
    if (!samples_of(step, &with)) return;
    const StepResult first = run(workers_, step, with, kNever);
    say_how_it_ended(step, first.outcome);
    if (first.outcome.kind != StepOutcome::Kind::kSucceeded) return;
    const StepResult second = run(workers_, step, with, kNever);
    const bool same = equal(first.outcome, second.outcome);
    say(step, same, same ? "a repetition gives the same" : "a repetition gives something else");
    check_stop(step, with, second.run_us);
    check_limit(step, with);
  }

  // An answer comes at once in any case, since who does not listen is killed; the time that the
  // body took is known only of one that answered.
  void check_stop(const StepDecl& step, const std::vector<Value>& with, int64_t run_us) {
    if (run_us < kTellableUs) {
      const int64_t began_us = monotonic_us();
      run(workers_, step, with, 0);
      const int64_t took_ms = (monotonic_us() - began_us) / 1000;
      say(step, took_ms < kStopMs,
          fmt::format("stopped after {} ms; whether it listens only inputs tell that keep it busy "
                      "for {} ms",
                      took_ms, kTellableUs / 1000));
      return;
    }
    for (int tries = 0; tries < kStopTries; ++tries) {
      const StepResult stopped = run(workers_, step, with, run_us / 2);
      if (stopped.outcome.kind != StepOutcome::Kind::kStopped || stopped.run_us == 0) continue;
      return say(step, true, "ends when it is asked to");
    }
    say(step, false,
        "does not end when it is asked to, and is killed: call progress() or write() often, and "
        "return MR_CANCELLED when they say so");
  }

  static bool takes_images(const StepDecl& step) {
    return std::any_of(step.inputs.begin(), step.inputs.end(), [](const PortDecl& port) {
      return std::string_view(port.type.text()).starts_with("image");
    });
  }

  void note_memory(const StepDecl& step) {
    if (step.lane != Lane::kCpu || !takes_images(step)) return;
    if (step.declares_memory()) return;
    print(
        fmt::format("{:<6} {}: takes images and does not declare their memory, so its calls do "
                    "not wait until workers.memory has room for them\n",
                    "note", step.name));
  }

  void check_limit(const StepDecl& step, const std::vector<Value>& with) {
    if (!takes_images(step)) return;
    // Each pool knows a declaration by its place in its own catalogue.
    const auto place = static_cast<size_t>(&step - workers_->catalogue()->steps().data());
    const StepDecl& same = strict_->catalogue()->steps()[place];
    const StepOutcome outcome = run(strict_, same, with, kNever).outcome;
    const bool refused = outcome.kind == StepOutcome::Kind::kFailed && is_declared(step, outcome);
    say(step, refused,
        refused ? fmt::format("keeps limits.pixels: {}", outcome.reason)
                : "takes an image that has more pixels than call->pixels_max (limits.pixels); look "
                  "at its header first, and fail with a reason of your own");
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

  static constexpr int64_t kNever = INT64_MAX;

  // Asks it to stop so long after its start.
  StepResult run(Workers* workers, const StepDecl& step, const std::vector<Value>& with,
                 int64_t stop_after_us) {
    StepCall call;
    call.ticket = ++ticket_;
    call.decl = &step;
    call.job = "check";
    call.step = step.name;
    call.with = with;
    call.paths.resize(with.size());
    call.timeout_ms = kTimeoutMs;
    workers->start(std::move(call));
    workers->flush();
    int64_t stop_at_us = stop_after_us == kNever ? kNever : monotonic_us() + stop_after_us;
    std::vector<StepResult> results;
    while (results.empty()) {
      if (monotonic_us() >= stop_at_us) {
        workers->stop(ticket_);
        stop_at_us = kNever;
      }
      workers->poll(&results);
      if (!results.empty() || workers->stuck()) break;
      const int64_t at_us =
          std::min({workers->next_deadline_us(), stop_at_us, monotonic_us() + 1'000'000});
      pollfd waiting{workers->poll_fd(), POLLIN, 0};
      poll(&waiting, 1,
           static_cast<int>(std::clamp<int64_t>((at_us - monotonic_us() + 999) / 1000, 0, 1000)));
      workers->flush();
    }
    if (!results.empty()) return std::move(results[0]);
    StepResult none;
    none.outcome.kind = StepOutcome::Kind::kWorkerDied;
    none.outcome.message = "no worker process could be brought up";
    return none;
  }

  static bool is_declared(const StepDecl& step, const StepOutcome& outcome) {
    return std::any_of(step.reasons.begin(), step.reasons.end(),
                       [&](const ReasonDecl& reason) { return reason.name == outcome.reason; });
  }

  void say_how_it_ended(const StepDecl& step, const StepOutcome& outcome) {
    using Kind = StepOutcome::Kind;
    if (outcome.kind == Kind::kSucceeded) {
      return say(step, true, "succeeds, with every output and result that it declares");
    }
    if (outcome.kind != Kind::kFailed || !is_declared(step, outcome)) {
      return say(step, false, "does not end well: " + outcome.message);
    }
    say(step, false,
        fmt::format(
            "not looked at further: it fails with {}, as it may ({}); write what it succeeds "
            "with behind the file, NAME=VALUE or NAME=@FILE",
            outcome.reason, outcome.message));
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
  Workers* strict_;
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
  options.pixels_max = 1;
  auto strict = start_process_workers(options);
  if (!strict.ok()) {
    print_error(strict.status());
    return kExitWorkers;
  }
  return Checker(workers->get(), strict->get(), given).check_all() ? kExitDone : kExitFailed;
}

}  // namespace millrace
