#include "server/http/problem.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/value.h"

namespace millrace {
namespace {

int status_for_code(Code code) {
  switch (code) {
    case Code::kOk:
      return 200;
    case Code::kInvalid:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kConflict:
      return 409;
    case Code::kBusy:
      return 503;
    case Code::kUnavailable:
      return 503;
    case Code::kCorrupt:
      return 500;
  }
  return 500;
}

int table_status(int number) {
  const ErrorInfo* info = error_info(number);
  return info == nullptr ? 0 : info->http_status;
}

void append_member(std::string_view name, std::string_view text, std::string* out) {
  *out += ",\"";
  *out += name;
  *out += "\":";
  append_json_string(text, out);
}

Response render(int http_status, int number, std::string_view detail, const std::string& more) {
  const ErrorInfo* info = error_info(number);
  const std::string code = error_code(number);
  std::string body = "{\"type\":";
  append_json_string("/errors#" + code, &body);
  append_member("title", info == nullptr ? "Error" : info->title, &body);
  body += fmt::format(",\"status\":{}", http_status);
  append_member("detail", detail, &body);
  append_member("code", code, &body);
  body += more;
  body += "}";
  Response response = Response::text(http_status, "application/problem+json", std::move(body));
  if (http_status == 429 || http_status == 503 || http_status == 507) {
    response.header("Retry-After", http_status == 507 ? "10" : "1");
  }
  if (http_status == 401) response.header("WWW-Authenticate", "Bearer realm=\"millrace\"");
  return response;
}

}  // namespace

int http_status_of(const Status& status) {
  const int from_table = table_status(status.number());
  return from_table != 0 ? from_table : status_for_code(status.code());
}

Response problem_response(const Status& status, int http_status) {
  const int number = status.number() == 0 ? static_cast<int>(errors::kInternal) : status.number();
  return render(http_status != 0 ? http_status : http_status_of(status), number, status.message(),
                "");
}

Response problem_response(const std::vector<ProblemItem>& items, int http_status) {
  CHECK(!items.empty());
  const int from_table = table_status(items[0].number);
  std::string more = ",\"errors\":[";
  for (size_t i = 0; i < items.size(); i++) {
    if (i > 0) more += ',';
    more += "{\"code\":";
    append_json_string(error_code(items[i].number), &more);
    append_member("detail", items[i].detail, &more);
    append_member("pointer", items[i].pointer, &more);
    more += '}';
  }
  more += ']';
  std::string detail = items[0].detail;
  if (items.size() > 1) detail = fmt::format("{} (and {} more)", detail, items.size() - 1);
  return render(http_status != 0  ? http_status
                : from_table != 0 ? from_table
                                  : 422,
                items[0].number, detail, more);
}

}  // namespace millrace
