// millrace jobs submit|list|get|watch|outputs|cancel|delete, millrace pipelines list|get
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/value.h"
#include "server/cli/cli.h"
#include "server/cli/client.h"
#include "server/http/text.h"
#include "server/sniff.h"

namespace millrace {
namespace {

std::string text_at(const Value& value, std::string_view name) {
  const Value* found = value.find(name);
  return found != nullptr && found->kind() == Value::Kind::kString ? found->as_string() : "";
}

// What a problem document says, or the bare body. Several problems are listed, each once.
int report(const HttpReply& reply) {
  const auto problem = parse_json(reply.body);
  const std::string detail = problem.ok() ? text_at(*problem, "detail") : "";
  if (detail.empty()) {
    print_error(fmt::format("the server answered {}: {}", reply.status, reply.body.substr(0, 500)));
    return kExitFailed;
  }
  const Value* items = problem->find("errors");
  if (items == nullptr || items->kind() != Value::Kind::kList || items->as_list().size() < 2) {
    print_error(
        fmt::format("error {}: {} (status {})", text_at(*problem, "code"), detail, reply.status));
    return kExitFailed;
  }
  for (const Value& item : items->as_list()) {
    print_error(fmt::format("error {}: {} (status {})", text_at(item, "code"),
                            text_at(item, "detail"), reply.status));
  }
  return kExitFailed;
}

void print_summary(const Value& job) {
  std::string line = fmt::format("{}  {:<10} {:<20} {}", text_at(job, "id"), text_at(job, "state"),
                                 text_at(job, "pipeline"), text_at(job, "created_at"));
  if (const Value* error = job.find("error"); error != nullptr && !error->is_null()) {
    line += "  " + text_at(*error, "code") + " " + text_at(*error, "message");
  }
  print(line + "\n");
}

void print_steps(const Value& job) {
  const Value* steps = job.find("steps");
  if (steps == nullptr || steps->kind() != Value::Kind::kMap) return;
  for (const auto& [id, step] : steps->as_map()) {
    std::string line = fmt::format("  {:<16} {}", id, text_at(step, "state"));
    if (const Value* error = step.find("error"); error != nullptr && !error->is_null()) {
      line += "  " + text_at(*error, "code") + " " + text_at(*error, "message");
    }
    if (const Value* why = step.find("waiting_for"); why != nullptr && !why->is_null()) {
      line += "  (" + text_at(*why, "message") + ")";
    }
    print(line + "\n");
  }
}

// 0 unless the job is known to have failed: what scripts want of submit --wait, get and watch.
int code_of_job(const Value& job) {
  const std::string state = text_at(job, "state");
  return state == "failed" || state == "cancelled" ? kExitFailed : kExitDone;
}

int show_job(const ClientArguments& arguments, const HttpReply& reply) {
  if (arguments.json) {
    print(reply.body + "\n");
  }
  const auto job = parse_json(reply.body);
  if (!job.ok()) return report(reply);
  if (!arguments.json) {
    print_summary(*job);
    print_steps(*job);
  }
  return code_of_job(*job);
}

Result<HttpClient> client_of(const ClientArguments& arguments) {
  const std::string& server = arguments.server;
  const size_t scheme = server.find("://");
  const bool known = scheme == std::string::npos || server.starts_with("http://") ||
                     server.starts_with("https://");
  if (server.empty() || !known) {
    return Status::invalid(
        errors::kUsageWrong,
        fmt::format("--server takes an address such as http://127.0.0.1:8080, http or https, "
                    "not '{}'",
                    server));
  }
  if (arguments.token.empty()) return HttpClient(server, "");
  auto token = resolve_secret(arguments.token);
  if (!token.ok()) return token.status();
  return HttpClient(server, std::move(*token));
}

bool is_file(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

// An input of bytes whose text names a file here: its name would be sent as the bytes. E108. Asks
// the server what the inputs are only when there is such a text; what it refuses, submit hears.
Status check_forgotten_at(HttpClient& client, const std::string& pipeline,
                          const std::vector<FormField>& form) {
  const auto suspicious = [](const FormField& field) {
    return field.file.empty() && is_file(field.text);
  };
  if (std::none_of(form.begin(), form.end(), suspicious)) return {};
  const auto reply = client.request("GET", "/v1/pipelines/" + percent_encode(pipeline));
  if (!reply.ok()) return reply.status();
  const auto definition = parse_json(reply->body);
  const Value* graph = definition.ok() ? definition->find("graph") : nullptr;
  const Value* inputs = graph != nullptr ? graph->find("inputs") : nullptr;
  if (inputs == nullptr || inputs->kind() != Value::Kind::kList) return {};
  for (const FormField& field : form) {
    if (!suspicious(field)) continue;
    for (const Value& input : inputs->as_list()) {
      const std::string type = text_at(input, "type");
      const bool bytes =
          type.find("image") != std::string::npos || type.find("blob") != std::string::npos;
      if (text_at(input, "name") != field.name || !bytes) continue;
      return Status::invalid(
          errors::kUsageWrong,
          fmt::format("'{0}={1}' sends the text '{1}'; to send the file write {0}=@{1}", field.name,
                      field.text));
    }
  }
  return {};
}

Result<std::vector<FormField>> form_of(const std::vector<std::string>& arguments) {
  std::vector<FormField> form;
  for (const std::string& argument : arguments) {
    auto input = parse_input(argument);
    if (!input.ok()) return input.status();
    if (!input->file.empty()) {
      const bool readable = access(input->file.c_str(), R_OK) == 0;
      std::error_code error;
      if (!readable || std::filesystem::is_directory(input->file, error)) {
        return Status::invalid(
            errors::kUsageWrong,
            fmt::format("cannot read '{}': {}", input->file, strerror(readable ? EISDIR : errno)));
      }
    }
    form.push_back({std::move(input->name), std::move(input->text), std::move(input->file)});
  }
  return form;
}

int submit(HttpClient& client, const ClientArguments& arguments) {
  auto fields = form_of(arguments.inputs);
  Status status =
      fields.ok() ? check_forgotten_at(client, arguments.target, *fields) : fields.status();
  if (!status.ok()) {
    print_error(status);
    return status.number() == errors::kUsageWrong ? kExitUsage : kExitFailed;
  }
  const std::vector<FormField>& form = *fields;
  std::string path = "/v1/pipelines/" + percent_encode(arguments.target) + "/jobs";
  for (size_t i = 0; i < arguments.labels.size(); i++) {
    path += (i == 0 ? "?label=" : "&label=") + percent_encode(arguments.labels[i]);
  }
  std::vector<std::string> headers;
  if (!arguments.key.empty()) headers.push_back("Idempotency-Key: " + arguments.key);
  if (arguments.wait_s >= 0) headers.push_back(fmt::format("Prefer: wait={}", arguments.wait_s));
  const auto reply = client.request("POST", path, headers, form.empty() ? nullptr : &form);
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  return reply->status == 200 || reply->status == 202 ? show_job(arguments, *reply)
                                                      : report(*reply);
}

int list(HttpClient& client, const ClientArguments& arguments) {
  std::string query;
  const auto add = [&query](const std::string& name, const std::string& text) {
    if (!text.empty()) query += (query.empty() ? "?" : "&") + name + "=" + percent_encode(text);
  };
  add("pipeline", arguments.pipeline);
  add("state", arguments.state);
  add("created_after", arguments.created_after);
  add("cursor", arguments.cursor);
  for (const std::string& label : arguments.labels) add("label", label);
  if (arguments.limit > 0) add("limit", std::to_string(arguments.limit));
  const auto reply = client.request("GET", "/v1/jobs" + query);
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  if (reply->status != 200) return report(*reply);
  if (arguments.json) {
    print(reply->body + "\n");
    return kExitDone;
  }
  const auto page = parse_json(reply->body);
  const Value* jobs = page.ok() ? page->find("jobs") : nullptr;
  if (jobs == nullptr || jobs->kind() != Value::Kind::kList) return report(*reply);
  for (const Value& job : jobs->as_list()) print_summary(job);
  if (const Value* damaged = page->find("damaged")) {
    for (const Value& job : damaged->as_list()) {
      print_warning(fmt::format("job {} is damaged ({}); `millrace doctor` says more",
                                text_at(job, "id"), text_at(job, "code")));
    }
  }
  const std::string next = text_at(*page, "next");
  if (!next.empty()) print_warning("more: --cursor " + next);
  return kExitDone;
}

int watch(HttpClient& client, const std::string& path, const ClientArguments& arguments) {
  int code = kExitDone;
  bool ended = false;
  const auto reply = client.follow(path + "/events", [&](std::string_view json) {
    if (arguments.json) {
      print(std::string(json) + "\n");
    }
    const auto job = parse_json(json);
    if (!job.ok()) return true;
    if (!arguments.json) {
      print_summary(*job);
      print_steps(*job);
    }
    code = code_of_job(*job);
    const std::string state = text_at(*job, "state");
    ended = state == "succeeded" || state == "failed" || state == "cancelled";
    return true;
  });
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  if (reply->status == 200 && !ended) {
    print_warning("the server stopped before the job had ended; watch it again");
    return kExitFailed;
  }
  return reply->status == 200 ? code : report(*reply);
}

int fetch_output(HttpClient& client, const std::string& path, const std::string& name,
                 const ClientArguments& arguments) {
  const auto reply = client.request("GET", path + "/outputs/" + percent_encode(name));
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  if (reply->status != 200) return report(*reply);
  if (arguments.out.empty()) {
    print(reply->body);
    return kExitDone;
  }
  const auto type = reply->headers.find("content-type");
  const std::string_view extension =
      type == reply->headers.end() ? std::string_view() : extension_of(media_type_of(type->second));
  const std::string file =
      fmt::format("{}/{}.{}", arguments.out, name, extension.empty() ? "bin" : extension);
  if (const Status status = write_output_file(file, reply->body); !status.ok()) {
    print_error(status);
    return kExitFailed;
  }
  print(file + "\n");
  return kExitDone;
}

int outputs(HttpClient& client, const std::string& path, const ClientArguments& arguments) {
  if (!arguments.out.empty()) {
    if (const Status status = prepare_directory("--out", arguments.out); !status.ok()) {
      print_error(status);
      return kExitUsage;
    }
  }
  if (!arguments.name.empty()) return fetch_output(client, path, arguments.name, arguments);
  const auto reply = client.request("GET", path);
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  const auto job = parse_json(reply->body);
  const Value* all = job.ok() ? job->find("outputs") : nullptr;
  if (reply->status != 200 || all == nullptr || all->kind() != Value::Kind::kMap) {
    return report(*reply);
  }
  if (arguments.out.empty()) {
    print(canonical_json(*all) + "\n");
    return kExitDone;
  }
  int code = kExitDone;
  for (const auto& [name, value] : all->as_map()) {
    if (value.is_null()) continue;
    code = std::max(code, fetch_output(client, path, name, arguments));
  }
  return code;
}

}  // namespace

int run_jobs(const ClientArguments& arguments) {
  auto client = client_of(arguments);
  if (!client.ok()) {
    print_error(client.status());
    return kExitUsage;
  }
  const std::string path = "/v1/jobs/" + percent_encode(arguments.target);
  if (arguments.verb == "submit") return submit(*client, arguments);
  if (arguments.verb == "list") return list(*client, arguments);
  if (arguments.verb == "watch") return watch(*client, path, arguments);
  if (arguments.verb == "outputs") return outputs(*client, path, arguments);
  std::vector<std::string> headers;
  if (arguments.wait_s >= 0) headers.push_back(fmt::format("Prefer: wait={}", arguments.wait_s));
  const bool cancel = arguments.verb == "cancel", remove = arguments.verb == "delete";
  const auto reply = client->request(cancel   ? "POST"
                                     : remove ? "DELETE"
                                              : "GET",
                                     cancel ? path + "/cancel" : path, headers);
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  if (reply->status >= 300) return report(*reply);
  if (remove) return kExitDone;
  const int code = show_job(arguments, *reply);
  return cancel ? kExitDone : code;
}

int run_pipelines(const ClientArguments& arguments) {
  auto client = client_of(arguments);
  if (!client.ok()) {
    print_error(client.status());
    return kExitUsage;
  }
  const bool one = arguments.verb == "get";
  std::vector<std::string> headers;
  if (one && !arguments.json) headers.emplace_back("Accept: application/yaml");
  const auto reply = client->request(
      "GET", one ? "/v1/pipelines/" + percent_encode(arguments.target) : "/v1/pipelines", headers);
  if (!reply.ok()) {
    print_error(reply.status());
    return kExitFailed;
  }
  if (reply->status != 200) return report(*reply);
  if (one || arguments.json) {
    print(reply->body + (arguments.json ? "\n" : ""));
    return kExitDone;
  }
  const auto page = parse_json(reply->body);
  const Value* all = page.ok() ? page->find("pipelines") : nullptr;
  if (all == nullptr || all->kind() != Value::Kind::kList) return report(*reply);
  for (const Value& pipeline : all->as_list()) {
    print(fmt::format("{:<20} {}\n", text_at(pipeline, "name"), text_at(pipeline, "description")));
  }
  return kExitDone;
}

}  // namespace millrace
