// App: the API over a Runtime. Checks every request (Host, Origin, token, CORS), finds its route
// and counts it; the resources (jobs.cc, submit.cc …) answer.
//
// It knows nothing of sockets. Thread: loop.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>

#include "engine/runtime/runtime.h"
#include "server/config.h"
#include "server/http/exchange.h"
#include "server/object_digests.h"
#include "server/router.h"

namespace millrace {

class App final : public RequestHandler {
 public:
  // `token` empty: none is required. `config` and `runtime` outlive the App.
  App(Runtime* runtime, const Config* config, std::string token);

  void begin(Exchange& exchange) override;
  void complete(Exchange& exchange) override;
  void finished(const Exchange& exchange, int status) override;

  Runtime& runtime() { return *runtime_; }
  const Config& config() const { return *config_; }
  const Router& router() const { return router_; }
  bool draining() const { return draining_; }
  void set_draining() { draining_ = true; }
  bool has_token() const { return !token_.empty(); }
  const std::string& openapi() const { return openapi_; }
  ObjectDigests& object_digests() { return object_digests_; }

  // Counts what handlers asked of the runtime, so that the loop knows that pump() has work.
  // Called for tests that compare what is served with what is documented.
  std::function<void(const Route& route, Method method, int status)> observer;

 private:
  bool check_host(const Request& request) const;
  bool check_token(const Request& request) const;
  bool origin_is_ours(const Request& request, std::string_view origin) const;
  bool origin_allowed(std::string_view origin) const;
  bool cors(Exchange& exchange, const Match& match);
  void refuse_method(Exchange& exchange, const Match& match);
  Counter& counter(int route, Method method, int status);

  Runtime* runtime_;
  const Config* config_;
  std::string token_, public_host_, openapi_;
  Router router_;
  ObjectDigests object_digests_;
  bool draining_ = false;
  std::unordered_map<uint32_t, Counter*> counters_;
  std::vector<Histogram*> durations_;
};

// The handlers, by file. Each `begin_…` looks at the head only.
void begin_submit(App& app, Exchange& exchange);
void answer_submit(App& app, Exchange& exchange);
void answer_job(App& app, Exchange& exchange);
void answer_jobs(App& app, Exchange& exchange);
void answer_cancel(App& app, Exchange& exchange);
void answer_delete_job(App& app, Exchange& exchange);
void answer_output(App& app, Exchange& exchange);
void answer_events(App& app, Exchange& exchange);
void begin_blob(App& app, Exchange& exchange);
void answer_post_blob(App& app, Exchange& exchange);
void begin_put_blob(App& app, Exchange& exchange);
void answer_put_blob(App& app, Exchange& exchange);
void answer_blob(App& app, Exchange& exchange);
void answer_file(App& app, Exchange& exchange);
void answer_pipelines(App& app, Exchange& exchange);
void answer_pipeline(App& app, Exchange& exchange);
void begin_change_pipeline(App& app, Exchange& exchange);
void begin_validate(App& app, Exchange& exchange);
void answer_validate(App& app, Exchange& exchange);
void answer_steps(App& app, Exchange& exchange);
void answer_metrics(App& app, Exchange& exchange);
void answer_livez(App& app, Exchange& exchange);
void answer_readyz(App& app, Exchange& exchange);
void answer_openapi(App& app, Exchange& exchange);

std::string openapi_document(const Router& router);  // openapi.cc

}  // namespace millrace
