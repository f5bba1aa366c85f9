// CoreFixture: one core, driven by verbs and read as one line of text, so that a test is a story.
//
// Names: a job is what submit() called it; bytes are named by the input or the step they come from;
// a step by its id, or "job/step" once several jobs were submitted. Everything waits until the test
// says that it happened. Time stands still unless the test moves it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/core/core.h"
#include "tests/core/work_catalogue.h"

namespace millrace::testing {

CoreOptions fixture_options();
CoreOptions shared_options();  // of a node that shares its store with others

class CoreFixture {
 public:
  // `pipeline`: a chain ("image -> gray[pure]") or YAML (it contains "steps:").
  explicit CoreFixture(const std::string& pipeline, CoreOptions options = fixture_options(),
                       std::string_view extra = "");

  // ---- what happens
  struct Request {
    std::string bytes = "bytes of the upload";  // of every blob input
    Value text;                                 // of every other input
    std::string key;                            // idempotency key; empty: not keyed
    std::map<std::string, std::string> labels;
  };
  void submit(const std::string& job, const Request& request);
  void submit(const std::string& job) { submit(job, Request{}); }
  void bytes_durable(const std::string& name, Status status = {});
  // All writes that the core has to offer are collected; the job's is answered with `result`.
  void write_done(const std::string& job, WriteResult result = WriteResult::kApplied);
  void collect();  // without answering
  bool has_write(const std::string& job);
  // A success gives data = "NAME's data" of pure steps and text = "done" of all, unless changed.
  void step_done(const std::string& step);
  void step_done(const std::string& step, StepOutcome outcome);
  void step_failed(const std::string& step, const std::string& reason, bool transient = false);
  StepOutcome success(const std::string& step);
  void cancel(const std::string& job);
  void wait(const std::string& job, DurationMs duration_ms = 60'000);
  void unwait_last();
  void capacity(Lane lane, uint32_t slots);
  void pass(DurationMs duration_ms);  // time, and a Tick at each deadline on the way
  void drain();
  // The core is lost, and a new one adopts what the store holds unfinished, `down_ms` later.
  void restart(DurationMs down_ms = 0);
  // The same when steps run inside the server: what ran is under suspicion.
  void die_with_steps_inside();
  void adopt(const std::string& job);

  // ---- what happens with a shared store
  void lease(DurationMs for_ms);                               // counted from now
  void sleep(DurationMs duration_ms) { now_ += duration_ms; }  // without a Tick
  void tick() { apply(Tick{now_}); }
  void verb(const std::string& job, uint8_t id);
  void verb_gone(const std::string& job, uint8_t id);
  void shed(int64_t jobs) { apply(Shed{now_, jobs}); }
  void unclaimed(int64_t jobs) { apply(Unclaimed{now_, jobs}); }
  // The stored record becomes this node's (rev + 1), with these verbs pending, and is adopted.
  void claim(const std::string& job, const std::vector<uint8_t>& verbs = {});
  // Another core takes this one's place with what the store holds: no job is adopted by itself.
  void other_node();

  // ---- what one sees
  // The actions since the last call: "put image, start gray, answer job1 accepted".
  std::string actions();
  // The last record of a job that was applied.
  const JobRecord& stored(const std::string& job) const;
  const StepRecord& stored_step(const std::string& job, const std::string& step) const;
  // "reason: message" of a step, or of the job ("").
  std::string waiting_for(const std::string& job, const std::string& step);
  std::string effect_key(const std::string& job, const std::string& step) const;
  const StartStep& started(const std::string& step) const;
  const std::vector<Answer>& answers() const { return answers_; }
  JobKey key_of(const std::string& job) const { return jobs_.at(job).key; }
  Core& core() { return *core_; }
  TimeMs now() const { return now_; }
  std::shared_ptr<const Graph> graph() const { return graph_; }

 private:
  struct KnownJob {
    JobKey key;
    Salt salt{};
    std::shared_ptr<const JobRecord> stored;
  };
  void apply(const Event& event);
  void note(const Action& action);
  std::string job_of(const JobKey& key) const;
  Verb verb_of(const std::string& job, uint8_t id) const;
  std::string step_name(const std::string& job, int step) const;

  std::shared_ptr<const Graph> graph_;
  CoreOptions options_;
  std::unique_ptr<Core> core_;
  TimeMs now_ = 1'700'000'000'000;
  std::map<std::string, KnownJob> jobs_;
  std::map<std::string, StartStep> running_;
  std::map<std::string, PutBytes> puts_;
  std::map<std::string, Suspect> suspects_;
  std::map<const BlobContent*, std::string> content_names_;
  std::map<JobKey, Write> writes_;
  std::map<WaiterId, std::string> waiters_;
  WaiterId waiter_ids_ = 0;
  uint8_t key_ids_ = 0;
  std::string actions_;
  std::vector<Answer> answers_;
};

}  // namespace millrace::testing
