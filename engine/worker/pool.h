// WorkerPool: hands calls to worker processes, kills what hangs, replaces what dies, and says how
// each call ended. It knows no jobs beyond what a StepCall carries.
//
// Which call goes where: the worker with the least estimated work; a worker holds as many calls as
// two milliseconds of work (at least two, so that it never waits for the wire). Calls that wait
// behind a long step are taken back as soon as another worker is idle. A call whose images need
// more memory than is free waits here (worker_memory.h).
//
// Time: a step hears that it should stop a margin before its time is over, so that one which
// listens ends by itself; at its end it is killed. What a pure step had to say is then known
// without it; an effect has ended only when its process has.
//
// Blame: a worker's death costs the call that ran in it one attempt. Calls that had not begun go
// back into the queue unseen; others that had (io lane) end as kRequeued.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/worker/template_link.h"
#include "engine/worker/worker_link.h"
#include "engine/worker/workers.h"

namespace millrace {

// Which crew runs a step.
Crew crew_of(const StepDecl& decl);

class WorkerPool final : public Workers {
 public:
  // Unavailable E140. [loop]
  static Result<std::unique_ptr<Workers>> begin(const WorkerOptions& options);
  ~WorkerPool() override;

  Status wait_loaded() override;

  std::shared_ptr<const Catalogue> catalogue() const override { return catalogue_; }
  const std::vector<PluginProblem>& problems() const override { return problems_; }
  uint32_t slots(Lane lane) const override;
  void start(StepCall call) override;
  void flush() override;
  void stop(Ticket ticket) override;
  int poll_fd() const override { return epoll_; }
  int64_t next_deadline_us() const override { return done_.empty() ? next_check_us_ : 0; }
  void poll(std::vector<StepResult>* results) override;
  LaneStats stats(Lane lane) const override;
  bool stuck() const override;

 private:
  explicit WorkerPool(const WorkerOptions& options);
  using LinkPointer = std::unique_ptr<WorkerLink>;
  struct CrewState {
    std::deque<WaitingCall> waiting;
    uint32_t wanted = 0;  // workers; of kOnce as many as calls
    double mean_us = 0;   // of bodies; 0: unknown
    int failures = 0;     // workers that ended before they were ready, in a row
    int64_t spawn_at_us = 0;
  };
  CrewState& crew(Crew which) { return crews_[static_cast<int>(which)]; }
  const CrewState& crew(Crew which) const { return crews_[static_cast<int>(which)]; }

  // pool.cc: work
  Status load_catalogue();
  void dispatch(Crew which, int64_t now_us);
  WorkerLink* place_for(Crew which);
  bool has_room(WorkerLink& link) const;
  int64_t estimate_us(uint32_t step_index) const;
  bool take_back_stuck(int64_t now_us);
  void send(WorkerLink& link, int64_t now_us);
  void end_call(WorkerLink& link, WorkerLink::Reply reply);
  void finish(const WaitingCall& waiting, StepOutcome outcome, int64_t run_us);
  void hear(WorkerLink& link, int64_t now_us);
  WorkerLink* find(uint64_t id);
  void watch(WorkerLink& link, uint32_t events);

  // pool_faults.cc: life and death
  void on_template(int64_t now_us);
  void ensure_workers(int64_t now_us);
  bool spawn(Crew which, int64_t now_us);
  void spawn_failed(Crew which, int64_t now_us);
  void close_link(WorkerLink& link, const std::string& words);
  void resolve(WorkerLink& link, int status, int64_t now_us);
  void resolve_all(int64_t now_us);
  int culprit_of(WorkerLink& link);
  bool has_retired(WorkerLink& link, int status);
  StepOutcome death_outcome(const WorkerLink& link, const WorkerLink::Held& held,
                            const std::string& how) const;
  void requeue(WaitingCall waiting);
  void check_deadlines(int64_t now_us);
  void check_waiting(int64_t now_us);
  void check_link(WorkerLink& link, int64_t now_us);
  void check_held(WorkerLink& link, WorkerLink::Held& held, int64_t now_us);
  void report(WorkerLink::Held& held, StepOutcome outcome, int64_t run_us);
  void kill_link(WorkerLink& link);
  void kill_now(WorkerLink& link);
  static int64_t next_check_of(WorkerLink& link, WorkerLink::Held& held, int64_t now_us);
  uint32_t wanted(Crew which) const;
  WorkerLimits limits_of(Crew which) const;
  void retire_if_done(WorkerLink& link);
  void compute_next_check(int64_t now_us);
  void note_health(int64_t now_us);

  const WorkerOptions options_;
  Settings settings_;  // those that some step declares
  TemplateLink template_;
  std::string first_json_;
  std::shared_ptr<const Catalogue> catalogue_;
  std::vector<PluginProblem> problems_;
  int epoll_ = -1;
  CrewState crews_[kCrews];
  WorkerMemory memory_;               // before links_: their calls hold shares of it
  std::vector<double> step_mean_us_;  // by step index; negative: unknown
  std::vector<LinkPointer> links_;
  uint64_t next_id_ = 1;
  std::vector<StepResult> done_;
  std::string buffer_;
  std::vector<WorkerLink::Reply> replies_;
  int64_t next_check_us_ = INT64_MAX;
  int64_t template_spawn_at_us_ = INT64_MAX;
  int template_failures_ = 0;
  int64_t down_since_us_ = 0;       // 0: some worker of each lane is ready
  size_t with_end_ = 0;             // calls here whose end is fixed (StepCall::until_us)
  bool changed_ = false;            // a worker came or went: look whether others are needed
  std::set<std::string> suspects_;  // job and step that ran when a worker died and none was blamed
};

}  // namespace millrace
