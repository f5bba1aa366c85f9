// What the resources share: answers that show a job, answers that are bytes.
#pragma once

#include <optional>
#include <string>

#include "server/app.h"
#include "server/http/text.h"
#include "server/job_json.h"

namespace millrace {

// Appends a job as every answer shows it. [loop]
void append_view(App& app, const JobView& view, std::string* out);
// A job as the body of an answer. [loop]
Response job_response(App& app, int status, const JobView& view);

// The path (or, with server.public_url, the URL) of a job.
std::string job_location(const App& app, const JobRecord& record);

// The id in the route's first parameter; answers E005 itself when it is none.
std::optional<JobId> job_of(Exchange& exchange);

// How stored bytes are served.
struct Stored {
  std::string media_type;
  std::string etag;       // with its quotes
  std::string file_name;  // for Content-Disposition; may be empty
  bool immutable = false;
};
// Answers with the bytes: whole, one range, 304 or 416. Browsers may show raster images only.
void respond_bytes(App& app, Exchange& exchange, const Stored& stored, Bytes bytes);
// The same for a body that is read while it is sent; `seek` makes the source for a range.
void respond_source(App& app, Exchange& exchange, const Stored& stored, uint64_t total,
                    const std::function<std::unique_ptr<BodySource>(const ByteRange&)>& seek);

// No pipeline has this name; the nearest one, if one is near. E004. [loop]
Status unknown_pipeline(App& app, const std::string& name);

// The exchange that waited for `reply`. Null: it is gone, or the reply is a refusal, with which it
// was answered. [loop]
Exchange* exchange_for(const ExchangeRef& ref, const JobReply& reply);

// The waiter of a call just made, unless its reply came within the call.
inline void keep_waiter(const ExchangeRef& ref, WaiterId waiter) {
  Exchange* exchange = ref.get();
  if (exchange != nullptr && !exchange->answered() && exchange->waiter == 0) {
    exchange->waiter = waiter;
  }
}

}  // namespace millrace
