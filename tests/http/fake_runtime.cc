#include "tests/http/fake_runtime.h"

#include <algorithm>

namespace millrace::test {
namespace {

InputDecl input(const std::string& name, const std::string& type) {
  InputDecl decl;
  decl.name = name;
  decl.type = *parse_type(type);
  return decl;
}

}  // namespace

std::shared_ptr<const Catalogue> fake_catalogue() {
  StepDecl noop;
  noop.name = "noop";
  noop.doc = "Does nothing.";
  noop.plugin = "noop 1.0";
  PortDecl result;
  result.name = "text";
  result.type = *parse_type("string");
  noop.results.push_back(result);
  return std::make_shared<Catalogue>(std::vector<StepDecl>{noop});
}

std::vector<std::shared_ptr<const Graph>> fake_pipelines(std::shared_ptr<const Catalogue> steps) {
  const auto make = [&steps](const std::string& name, std::vector<InputDecl> inputs,
                             const std::string& output_type) {
    auto graph = std::make_shared<Graph>();
    graph->name = name;
    graph->source = "pipeline: " + name + "\n";
    graph->digest = sha256(graph->source);
    graph->inputs = std::move(inputs);
    StepNode step;
    step.id = "work";
    step.decl = &steps->steps()[0];
    graph->steps.push_back(step);
    OutputDecl output;
    output.name = "result";
    output.type = *parse_type(output_type);
    output.reads = 1;
    graph->outputs.push_back(output);
    graph->catalogue = steps;
    return graph;
  };
  InputDecl image = input("image", "image");
  image.media = {"image/jpeg", "image/png"};
  image.max_bytes = 1 << 20;
  InputDecl quality = input("quality", "int?");
  quality.min = 1;
  quality.max = 100;
  return {make("photo",
               {image, quality, input("tags", "list<string>?"), input("callback", "url?"),
                input("pause", "duration?")},
               "image"),
          make("plain", {input("text", "string")}, "string")};
}

FakeRuntime::FakeRuntime(uint64_t budget_bytes)
    : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      budget_(std::make_shared<ByteBudget>(budget_bytes)),
      catalogue_(fake_catalogue()),
      graphs_(fake_pipelines(catalogue_)) {}

void FakeRuntime::later(std::function<void()> work) {
  later_.push_back(std::move(work));
  const uint64_t one = 1;
  CHECK(write(fd_, &one, sizeof one) == sizeof one);
}

void FakeRuntime::call(const std::function<void()>& work) {
  std::promise<void> done;
  {
    const std::lock_guard lock(mutex_);
    calls_.push_back([&] {
      work();
      done.set_value();
    });
  }
  const uint64_t one = 1;
  CHECK(write(fd_, &one, sizeof one) == sizeof one);
  done.get_future().wait();
}

void FakeRuntime::pump() {
  uint64_t count = 0;
  if (read(fd_, &count, sizeof count) < 0) count = 0;
  std::vector<std::function<void()>> calls;
  {
    const std::lock_guard lock(mutex_);
    calls.swap(calls_);
  }
  for (const auto& work : calls) work();
  std::deque<std::function<void()>> now;
  now.swap(later_);
  for (const auto& work : now) work();
  const TimeMs time = wall_clock_ms();
  std::vector<WaiterId> over;
  for (const auto& [id, waiter] : waiters_) {
    if (waiter.until != 0 && waiter.until <= time) over.push_back(id);
  }
  for (WaiterId id : over) reply_later(id, {Status(), false, view_of(waiters_[id].job)});
}

int64_t FakeRuntime::next_deadline_us() const {
  TimeMs first = kNever;
  for (const auto& [id, waiter] : waiters_) {
    if (waiter.until != 0) first = std::min(first, waiter.until);
  }
  return first == kNever ? INT64_MAX : monotonic_us() + (first - wall_clock_ms()) * 1000;
}

void FakeRuntime::reply_later(WaiterId id, JobReply reply) {
  later([this, id, reply = std::move(reply)] {
    const auto found = waiters_.find(id);
    if (found == waiters_.end()) return;
    const ReplyFn call_back = std::move(found->second.reply);
    waiters_.erase(found);
    call_back(reply);
  });
}

void FakeRuntime::end_waits() {
  for (const auto& [id, waiter] : waiters_) {
    if (waiter.until != 0) reply_later(id, {Status(), false, view_of(waiter.job)});
  }
}

Status FakeRuntime::set_pipelines(std::vector<std::shared_ptr<const Graph>> graphs) {
  graphs_ = std::move(graphs);
  return {};
}

std::shared_ptr<const Graph> FakeRuntime::pipeline(const std::string& name) const {
  for (const auto& graph : graphs_) {
    if (graph->name == name) return graph;
  }
  return nullptr;
}

std::shared_ptr<JobRecord> FakeRuntime::make_record(const SubmitRequest& request,
                                                    const JobKey& key) {
  auto record = std::make_shared<JobRecord>();
  record->key = key;
  record->rev = 1;
  record->salt = {1, 2, 3, 4};
  record->pipeline = request.graph->name;
  record->definition = request.graph->digest;
  record->labels = request.labels;
  record->keyed = !request.idempotency_key.empty();
  record->created_at = wall_clock_ms();
  record->steps.resize(request.graph->steps.size());
  Value::Map inputs;
  for (size_t i = 0; i < request.inputs.size(); i++) {
    for_each_blob(request.inputs[i], [this](const BlobRef& blob) {
      BlobContent& content = *blob.content;
      if (!content.digest) content.digest = sha256(content.bytes.view());
      content.durable = true;
      blobs_[*content.digest] = content.bytes;
    });
    if (!request.inputs[i].is_null()) inputs[request.graph->inputs[i].name] = request.inputs[i];
  }
  record->inputs = canonical_json(inputs);
  record->request = sha256(record->inputs);
  return record;
}

WaiterId FakeRuntime::submit(SubmitRequest request, ReplyFn reply) {
  const WaiterId id = next_++;
  submitted.push_back(request);
  JobKey key;
  if (request.idempotency_key.empty()) {
    std::array<uint8_t, 10> random{};
    random_bytes(random.data(), random.size());
    key = uuid_v7(wall_clock_ms(), random);
  } else {
    key = idempotent_job_key(request.graph->name, request.idempotency_key);
  }
  waiters_[id] = {key, 0, std::move(reply)};
  if (!submit_refusal.ok()) {
    reply_later(id, {submit_refusal, false, {}});
    return id;
  }
  if (deleted_.contains(key)) {
    reply_later(id, {Status::not_found(errors::kJobDeleted, "deleted"), false, {}});
    return id;
  }
  auto record = make_record(request, key);
  if (const auto found = jobs_.find(key); found != jobs_.end()) {
    const bool same =
        found->second->request == record->request && found->second->labels == record->labels;
    reply_later(id, same ? JobReply{Status(), true, view_of(key)}
                         : JobReply{Status::conflict(errors::kIdempotencyKeyReused,
                                                     "the key was used for another request"),
                                    false,
                                    {}});
    return id;
  }
  jobs_[key] = record;
  reply_later(id, {Status(), false, view_of(key)});
  if (ends_by_itself) {
    later([this, key] { later([this, key] { finish(key, JobState::kSucceeded); }); });
  }
  return id;
}

void FakeRuntime::finish(const JobKey& key, JobState state) {
  const auto found = jobs_.find(key);
  if (found == jobs_.end() || is_final(found->second->state)) return;
  auto record = std::make_shared<JobRecord>(*found->second);
  record->rev++;
  record->state = state;
  record->started_at = record->created_at;
  record->finished_at = wall_clock_ms();
  if (state == JobState::kSucceeded) {
    record->steps[0].state = StepState::kSucceeded;
    record->steps[0].attempts = 1;
    record->steps[0].outputs = "{\"text\":\"done\"}";
    const auto inputs = parse_json(record->inputs, BlobsIn::kAllowed);
    const Value* image = inputs->find("image");
    record->outputs =
        canonical_json(Value::Map{{"result", image != nullptr ? *image : Value("done")}});
  } else {
    record->error = JobError{errors::kStepFailed, "broken", "it broke", "work", 1};
  }
  found->second = record;
  changed(key);
}

void FakeRuntime::progress(const JobKey& key) {
  auto record = std::make_shared<JobRecord>(*jobs_[key]);
  record->rev++;
  record->state = JobState::kRunning;
  jobs_[key] = record;
  changed(key);
}

void FakeRuntime::changed(const JobKey& key) {
  const JobView view = view_of(key);
  const auto subscriptions = subscriptions_;
  for (const auto& [id, subscription] : subscriptions) {
    if (subscription.job == key && subscriptions_.contains(id)) subscription.changed(view);
  }
  if (!is_final(view.record->state)) return;
  std::vector<WaiterId> over;
  for (const auto& [id, waiter] : waiters_) {
    if (waiter.until != 0 && waiter.job == key) over.push_back(id);
  }
  for (WaiterId id : over) reply_later(id, {Status(), false, view});
}

JobView FakeRuntime::view_of(const JobKey& key) const {
  JobView view;
  const auto found = jobs_.find(key);
  if (found == jobs_.end()) return view;
  view.record = found->second;
  view.graph = pipeline(found->second->pipeline);
  if (!is_final(view.record->state)) view.waiting_for = waiting_for;
  return view;
}

Result<JobView> FakeRuntime::find(const JobId& id) const {
  if (deleted_.contains(id.key)) return Status::not_found(errors::kJobDeleted, "deleted");
  JobView view = view_of(id.key);
  if (view.record == nullptr || view.record->id() != id) {
    return Status::not_found(errors::kJobUnknown, "no such job");
  }
  return view;
}

WaiterId FakeRuntime::wait(const JobId& job, TimeMs until, ReplyFn reply) {
  const WaiterId id = next_++;
  auto view = find(job);
  waiters_[id] = {job.key, until, std::move(reply)};
  if (!view.ok()) {
    reply_later(id, {view.status(), false, {}});
  } else if (is_final(view->record->state)) {
    reply_later(id, {Status(), false, *view});
  }
  return id;
}

WaiterId FakeRuntime::cancel(const JobId& job, ReplyFn reply) {
  const WaiterId id = next_++;
  waiters_[id] = {job.key, 0, std::move(reply)};
  auto view = find(job);
  if (!view.ok()) {
    reply_later(id, {view.status(), false, {}});
  } else if (is_final(view->record->state)) {
    reply_later(id, {Status::conflict(errors::kVerbForbidden, "the job has ended"), false, {}});
  } else {
    reply_later(id, {Status(), false, *view});
    later([this, key = job.key] { finish(key, JobState::kCancelled); });
  }
  return id;
}

WaiterId FakeRuntime::read_job(const JobId& job, ReplyFn reply) {
  auto view = find(job);  // resident: answered inside the call
  reply(view.ok() ? JobReply{Status(), false, *view} : JobReply{view.status(), false, {}});
  return next_++;
}

void FakeRuntime::list_jobs(JobFilter filter, std::string cursor, int limit,
                            std::function<void(Result<ViewPage>)> done) {
  later([this, filter = std::move(filter), cursor = std::move(cursor), limit,
         done = std::move(done)] {
    if (!cursor.empty() && cursor.find_first_not_of("0123456789") != std::string::npos) {
      done(Status::invalid(errors::kQueryInvalid, "the cursor is not one of ours"));
      return;
    }
    std::vector<JobView> all;
    for (const auto& [key, record] : jobs_) {
      const bool fits = (filter.pipeline.empty() || filter.pipeline == record->pipeline) &&
                        (!filter.state || *filter.state == record->state);
      bool labelled = true;
      for (const auto& [name, text] : filter.labels) {
        const auto found = record->labels.find(name);
        labelled = labelled && found != record->labels.end() && found->second == text;
      }
      if (fits && labelled) all.push_back(view_of(key));
    }
    std::reverse(all.begin(), all.end());
    const size_t from = cursor.empty() ? 0 : std::stoul(cursor);
    ViewPage page;
    for (size_t i = from; i < all.size() && page.jobs.size() < static_cast<size_t>(limit); i++) {
      page.jobs.push_back(all[i]);
    }
    if (from + page.jobs.size() < all.size()) page.next = std::to_string(from + page.jobs.size());
    done(std::move(page));
  });
}

void FakeRuntime::remove_job(const JobId& job, std::function<void(Status)> done) {
  const auto view = find(job);
  Status status = view.status();
  if (view.ok() && !is_final(view->record->state)) {
    status = Status::conflict(errors::kVerbForbidden, "the job has not ended");
  }
  if (status.ok()) {
    jobs_.erase(job.key);
    deleted_.insert(job.key);
  }
  later([status, done = std::move(done)] { done(status); });
}

Runtime::SubscriptionId FakeRuntime::subscribe(const JobKey& job,
                                               std::function<void(const JobView&)> changed_fn) {
  const SubscriptionId id = next_++;
  subscriptions_[id] = {job, std::move(changed_fn)};
  return id;
}

// What a file would have; open as long as it lives or its bytes do.
class FakeRuntime::MemorySink final : public BlobSink {
 public:
  explicit MemorySink(FakeRuntime* runtime) : runtime_(runtime) { runtime_->open_uploads_++; }
  ~MemorySink() override { runtime_->open_uploads_--; }
  Status append(std::string_view data) override {
    if (!runtime_->write_refusal.ok()) return runtime_->write_refusal;
    data_ += data;
    runtime_->written_bytes_ += data.size();
    return {};
  }
  Result<WrittenBlob> finish() override {
    const Digest digest = sha256(data_);
    return WrittenBlob{digest, Bytes::of(std::move(data_))};
  }

 private:
  FakeRuntime* const runtime_;
  std::string data_;
};

std::unique_ptr<BlobUpload> FakeRuntime::begin_blob() {
  return std::make_unique<BlobUpload>(
      std::make_unique<MemorySink>(this),
      [this](std::function<std::function<void()>()> work) { return off_loop(std::move(work)); },
      [](const Status&) {});
}

bool FakeRuntime::off_loop(std::function<std::function<void()>()> work) {
  disk_work_.push_back(std::move(work));
  later([this] { run_disk(); });
  return true;
}

void FakeRuntime::run_disk() {
  while (!disk_stands && !disk_work_.empty()) run_disk_once();
}

void FakeRuntime::run_disk_once() {
  const auto work = std::move(disk_work_.front());
  disk_work_.pop_front();
  disk_turns_++;
  work()();
}

void FakeRuntime::put_blob(Bytes bytes, std::function<void(Result<Digest>)> done) {
  later([this, bytes, done = std::move(done)] {
    if (!blob_refusal.ok()) {
      done(blob_refusal);
      return;
    }
    const Digest digest = sha256(bytes.view());
    blobs_[digest] = bytes;
    done(digest);
  });
}

void FakeRuntime::read_blob(const Digest& digest, std::function<void(Result<Bytes>)> done) {
  later([this, digest, done = std::move(done)] {
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) {
      done(Status::not_found(errors::kBlobUnknown, "no such blob"));
    } else {
      done(found->second);
    }
  });
}

}  // namespace millrace::test
