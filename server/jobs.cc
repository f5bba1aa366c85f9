// GET and DELETE /v1/jobs/{id}, GET /v1/jobs, POST /v1/jobs/{id}/cancel
#include <fmt/core.h>

#include <charconv>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "server/api.h"
#include "server/http/text.h"

namespace millrace {
namespace {

void respond_view(App& app, Exchange& exchange, const JobView& view,
                  std::optional<int64_t> waited) {
  Response response = job_response(app, 200, view);
  const std::string etag = job_etag(view, response.body);
  response.header("ETag", etag);
  response.header("Cache-Control", "no-cache");
  if (waited) response.header("Preference-Applied", fmt::format("wait={}", *waited));
  const std::string list = exchange.request.header_list("if-none-match");
  if (!list.empty() && etag_in_list(list, etag)) {
    response.status = 304;
    response.body.clear();
  }
  exchange.respond(std::move(response));
}

Status bad_query(std::string message) {
  return Status::invalid(errors::kQueryInvalid, std::move(message));
}

Status read_list_param(const std::string& name, const std::string& text, JobFilter* filter,
                       std::string* cursor, int* limit) {
  if (name == "pipeline") {
    filter->pipeline = text;
  } else if (name == "state") {
    filter->state = parse_job_state(text);
    if (!filter->state) {
      return bad_query(fmt::format(
          "state '{}' is none of queued, running, waiting, paused, succeeded, failed, cancelled",
          text));
    }
  } else if (name == "label") {
    const size_t colon = text.find(':');
    if (colon == std::string::npos) return bad_query("label is written KEY:VALUE");
    filter->labels.emplace_back(text.substr(0, colon), text.substr(colon + 1));
  } else if (name == "created_after") {
    const auto time = parse_time(text);
    if (!time) return bad_query("created_after is no time such as 2026-11-21T07:00:00Z");
    filter->created_after = *time;
  } else if (name == "limit") {
    const auto result = std::from_chars(text.data(), text.data() + text.size(), *limit);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size() || *limit < 1 ||
        *limit > kListLimitMax) {
      return bad_query(fmt::format("limit must be a number from 1 to {}", kListLimitMax));
    }
  } else if (name == "cursor") {
    *cursor = text;
  } else {
    return bad_query(fmt::format("the query parameter '{}' is not known here", name));
  }
  return {};
}

// Jobs that cannot be shown. Of such an id only the key is known, and only it is looked at.
void append_damaged(const std::vector<DamagedJob>& damaged, std::string* body) {
  if (damaged.empty()) return;
  *body += ",\"damaged\":[";
  for (size_t i = 0; i < damaged.size(); i++) {
    *body += fmt::format(R"({}{{"id":"{}","code":"{}"}})", i == 0 ? "" : ",",
                         JobId{damaged[i].key, {}}.text(), error_code(damaged[i].status.number()));
  }
  *body += ']';
}

void respond_page(App& app, Exchange& exchange, const ViewPage& page) {
  std::string body = "{\"jobs\":[";
  for (size_t i = 0; i < page.jobs.size(); i++) {
    if (i > 0) body += ',';
    append_view(app, page.jobs[i], &body);
  }
  body += ']';
  append_damaged(page.damaged, &body);
  body += ",\"next\":";
  if (page.next.empty()) {
    body += "null";
  } else {
    append_json_string(page.next, &body);
  }
  body += '}';
  exchange.respond(Response::json(200, std::move(body)));
}

}  // namespace

void answer_job(App& app, Exchange& exchange) {
  const auto id = job_of(exchange);
  if (!id) return;
  const auto wait = prefer_wait_seconds(exchange.request.header_list("prefer"), kWaitSecondsMax);
  const ExchangeRef ref = exchange.ref();
  const auto reply = [&app, ref, wait](JobReply got) {
    Exchange* waiting = exchange_for(ref, got);
    if (waiting == nullptr) return;
    respond_view(app, *waiting, got.view, wait);
  };
  const bool waits = wait && *wait > 0;
  const WaiterId waiter = waits ? app.runtime().wait(*id, wall_clock_ms() + *wait * 1000, reply)
                                : app.runtime().read_job(*id, reply);
  keep_waiter(ref, waiter);
}

void answer_jobs(App& app, Exchange& exchange) {
  const auto query = parse_query(exchange.request.query);
  JobFilter filter;
  std::string cursor;
  int limit = kListLimitDefault;
  Status status = query ? Status() : bad_query("the query does not parse");
  if (query) {
    for (const auto& [name, text] : *query) {
      if (status.ok()) status = read_list_param(name, text, &filter, &cursor, &limit);
    }
  }
  if (!status.ok()) {
    exchange.respond(status);
    return;
  }
  const ExchangeRef ref = exchange.ref();
  app.runtime().list_jobs(std::move(filter), std::move(cursor), limit,
                          [&app, ref](Result<ViewPage> page) {
                            Exchange* waiting = ref.get();
                            if (waiting == nullptr) return;
                            if (!page.ok()) {
                              waiting->respond(page.status());
                              return;
                            }
                            respond_page(app, *waiting, *page);
                          });
}

void answer_cancel(App& app, Exchange& exchange) {
  const auto id = job_of(exchange);
  if (!id) return;
  const ExchangeRef ref = exchange.ref();
  const WaiterId waiter = app.runtime().cancel(*id, [&app, ref](JobReply reply) {
    Exchange* waiting = exchange_for(ref, reply);
    if (waiting == nullptr) return;
    waiting->respond(job_response(app, 202, reply.view));
  });
  keep_waiter(ref, waiter);
}

void answer_delete_job(App& app, Exchange& exchange) {
  const auto id = job_of(exchange);
  if (!id) return;
  const ExchangeRef ref = exchange.ref();
  app.runtime().remove_job(*id, [ref](Status status) {
    Exchange* waiting = ref.get();
    if (waiting == nullptr) return;
    if (!status.ok()) {
      waiting->respond(status);
      return;
    }
    waiting->respond(Response::empty(204));
  });
}

}  // namespace millrace
