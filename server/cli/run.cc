// millrace run: one pipeline on this machine, with the engine of the server and a data directory
// that lives only as long as the job.
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "server/cli/cli.h"
#include "server/config_parts.h"
#include "server/job_json.h"
#include "server/runtime_setup.h"
#include "server/sniff.h"
#include "server/submission.h"

namespace millrace {
namespace {

constexpr TimeMs kYearMs = 365LL * 86'400'000;

volatile std::sig_atomic_t interrupted = 0;

// A directory that goes with this object.
class PrivateDirectory {
 public:
  PrivateDirectory() {
    std::error_code error;
    std::string name = std::filesystem::temp_directory_path(error).string() + "/millrace-XXXXXX";
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~PrivateDirectory() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Run {
 public:
  Run(Runtime* runtime, const RunArguments& arguments)
      : runtime_(runtime), arguments_(arguments), progress_(isatty(STDERR_FILENO) == 1) {}

  int go(const std::shared_ptr<const Graph>& graph);

 private:
  bool read_inputs(Submission* submission, Charge* charge);
  void show(const JobView& view);
  template <typename Done>
  void pump_until(Done done);
  int finish(const JobView& view);
  bool write_outputs(const JobView& view);
  bool write_output(const std::string& name, const Value& value, const Type* type);

  Runtime* runtime_;
  const RunArguments& arguments_;
  const bool progress_;
  std::map<int, std::string> shown_;  // step -> the state last printed
};

// Turns the runtime's crank as the server's loop does, until `done`.
template <typename Done>
void Run::pump_until(Done done) {
  while (true) {
    runtime_->pump();
    if (done()) return;
    const int64_t at_us = runtime_->next_deadline_us();
    int wait_ms = -1;
    if (at_us != INT64_MAX) {
      wait_ms =
          static_cast<int>(std::clamp<int64_t>((at_us - monotonic_us() + 999) / 1000, 0, 60'000));
    }
    pollfd waiting{runtime_->poll_fd(), POLLIN, 0};
    poll(&waiting, 1, wait_ms);
  }
}

bool Run::read_inputs(Submission* submission, Charge* charge) {
  std::vector<Submission::Field> texts, files;
  for (const std::string& argument : arguments_.inputs) {
    auto input = parse_input(argument);
    if (!input.ok()) {
      print_error(input.status());
      return false;
    }
    if (input->file.empty()) {
      texts.push_back({std::move(input->name), std::move(input->text)});
      continue;
    }
    auto bytes = read_small_file(input->file, static_cast<size_t>(kBlobBytesMax));
    if (!bytes.ok()) {
      print_error(
          fmt::format("error {}: {}", error_code(errors::kUsageWrong), bytes.status().message()));
      return false;
    }
    files.push_back({std::move(input->name), std::move(*bytes)});
  }
  submission->take(texts, std::move(files), charge);
  return true;
}

void Run::show(const JobView& view) {
  if (!progress_ || view.graph == nullptr) return;
  for (size_t i = 0; i < view.record->steps.size(); i++) {
    const StepRecord& step = view.record->steps[i];
    const std::string state = state_name(step.state);
    if (step.state == StepState::kPending || shown_[static_cast<int>(i)] == state) continue;
    shown_[static_cast<int>(i)] = state;
    const int64_t took_ms = step.finished_at - step.started_at;
    fmt::print(
        stderr, "{:<16} {}{}\n", view.graph->steps[i].id, state,
        step.started_at != 0 && step.finished_at != 0 ? fmt::format("  {} ms", took_ms) : "");
  }
}

bool Run::write_output(const std::string& name, const Value& value, const Type* type) {
  std::string content, extension = "json";
  if (value.kind() == Value::Kind::kBlob) {
    const BlobRef& blob = value.as_blob();
    std::optional<Result<Bytes>> bytes;
    runtime_->read_blob(blob.content->digest.value_or(Digest()),
                        [&bytes](Result<Bytes> got) { bytes = std::move(got); });
    pump_until([&bytes] { return bytes.has_value(); });
    if (!bytes->ok()) {
      print_error(bytes->status());
      return false;
    }
    content = std::string((*bytes)->view());
    const std::string_view known = extension_of(blob.media_type);
    extension = known.empty() ? "bin" : std::string(known);
  } else {
    content = value_json(value, type, "") + "\n";
  }
  const std::string path = arguments_.out + "/" + name + "." + extension;
  if (const Status status = write_output_file(path, content); !status.ok()) {
    print_error(status);
    return false;
  }
  if (!arguments_.json) print(path + "\n");
  return true;
}

bool Run::write_outputs(const JobView& view) {
  if (arguments_.out.empty()) return true;
  std::string text = view.record->outputs;
  if (view.record->outputs_spilled) {
    std::optional<Result<Bytes>> bytes;
    runtime_->read_blob(*view.record->outputs_spilled,
                        [&bytes](Result<Bytes> got) { bytes = std::move(got); });
    pump_until([&bytes] { return bytes.has_value(); });
    if (bytes->ok()) text = std::string((*bytes)->view());
  }
  if (text.empty()) return true;
  const auto outputs = parse_json(text, BlobsIn::kAllowed);
  if (!outputs.ok() || outputs->kind() != Value::Kind::kMap) return true;
  bool good = true;
  for (const auto& [name, value] : outputs->as_map()) {
    if (value.is_null()) continue;
    const int index = view.graph == nullptr ? -1 : view.graph->output_index(name);
    const Type* type = index < 0 ? nullptr : &view.graph->outputs[static_cast<size_t>(index)].type;
    good = write_output(name, value, type) && good;
  }
  return good;
}

int Run::finish(const JobView& view) {
  const bool written = write_outputs(view);
  std::string json;
  append_job_json(view, view.graph.get(), "", &json);
  if (arguments_.json || arguments_.out.empty()) print(json + "\n");
  if (view.record->state != JobState::kSucceeded) {
    if (view.record->error) {
      const JobError& error = *view.record->error;
      print_error(fmt::format("error {}: the job {}: {}{}{}", error_code(error.number),
                              state_name(view.record->state), error.step,
                              error.step.empty() ? "" : ": ", error.message));
    } else {
      print_error(fmt::format("the job {}", state_name(view.record->state)));
    }
    return kExitFailed;
  }
  return written ? kExitDone : kExitFailed;
}

int Run::go(const std::shared_ptr<const Graph>& graph) {
  Submission submission(graph);
  Charge charge(runtime_->budget());
  if (!read_inputs(&submission, &charge)) return kExitUsage;
  SubmitRequest request = submission.submit_request();
  for (const ProblemItem& problem : submission.problems()) {
    print_error(fmt::format("error {}: {}", error_code(problem.number), problem.detail));
  }
  if (!submission.problems().empty()) return kExitUsage;
  std::optional<JobReply> accepted, ended;
  runtime_->submit(std::move(request),
                   [&accepted](JobReply reply) { accepted = std::move(reply); });
  pump_until([&accepted] { return accepted.has_value(); });
  if (!accepted->status.ok()) {
    print_error(accepted->status);
    return exit_code_of(accepted->status);
  }
  const JobId id = accepted->view.record->id();
  show(accepted->view);
  runtime_->subscribe(id.key, [this](const JobView& view) { show(view); });
  runtime_->wait(id, wall_clock_ms() + kYearMs,
                 [&ended](JobReply reply) { ended = std::move(reply); });
  bool cancelled = false;
  pump_until([&] {
    if (interrupted != 0 && !cancelled) {
      cancelled = true;
      runtime_->cancel(id, [](const JobReply&) {});
      runtime_->pump();
    }
    return ended.has_value() || runtime_->workers_stuck();
  });
  if (!ended) {
    print_error("error E140: no worker process could be brought up");
    return kExitWorkers;
  }
  if (!ended->status.ok()) {
    print_error(ended->status);
    return kExitFailed;
  }
  show(ended->view);
  return finish(ended->view);
}

}  // namespace

int run_pipeline(const RunArguments& arguments) {
  Config config;
  if (!load_for_verb(arguments.config, &config)) return kExitConfig;
  set_log(LogLevel::kWarning, config.log_format);
  auto text = read_pipeline_file(arguments.pipeline);
  if (!text.ok()) {
    print_error(text.status());
    return kExitConfig;
  }
  if (!arguments.out.empty()) {  // now, not when the job has ended and its results are lost
    if (const Status status = prepare_directory("--out", arguments.out); !status.ok()) {
      print_error(status);
      return kExitUsage;
    }
  }
  const PrivateDirectory directory;
  if (directory.path().empty()) {
    print_error("error E120: cannot make a temporary directory");
    return kExitStore;
  }
  const std::string own_store = config.data + "/store";
  config.data = directory.path();
  config.store = "sqlite:";
  config.blobs = "file:";
  for (NamedStore& store : config.stores) {  // one that was not configured is private too
    if (store.directory == own_store) store.directory = directory.path() + "/store";
  }
  auto opened = open_runtime(config);
  if (!opened.ok()) {
    print_error(opened.status());
    return exit_code_of(opened.status());
  }
  Runtime& runtime = **opened;
  const ParsedPipeline parsed = parse_pipeline(*text, runtime.catalogue());
  for (const Diagnostic& one : parsed.diagnostics) {
    print_error(format_diagnostic(arguments.pipeline, *text, one));
  }
  if (parsed.graph == nullptr) return kExitConfig;
  for (const Status& status : {runtime.set_pipelines({parsed.graph}), runtime.start()}) {
    if (status.ok()) continue;
    print_error(status);
    return exit_code_of(status);
  }
  std::signal(SIGINT, [](int) { interrupted = 1; });
  std::signal(SIGTERM, [](int) { interrupted = 1; });
  return Run(&runtime, arguments).go(parsed.graph);
}

}  // namespace millrace
