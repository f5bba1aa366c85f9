#include "server/cli/client.h"

#include <fmt/core.h>

#include <memory>

#include "engine/base/errors.h"
#include "s3/curl.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr size_t kEventBytesMax = 64 << 20;

struct Transfer {
  HttpReply reply;
  const std::function<bool(std::string_view)>* piece = nullptr;
};

size_t on_body(char* data, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  const std::string_view text(data, size * count);
  if (transfer->piece != nullptr && transfer->reply.status == 200) {
    return (*transfer->piece)(text) ? text.size() : 0;
  }
  transfer->reply.body += text;
  return text.size();
}

size_t on_header(char* data, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  std::string_view line(data, size * count);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    const size_t space = line.find(' ');
    transfer->reply.headers.clear();
    if (space != std::string_view::npos) {
      transfer->reply.status = std::atoi(std::string(line.substr(space + 1, 3)).c_str());
    }
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    transfer->reply.headers[to_lower(line.substr(0, colon))] =
        std::string(trim_space(line.substr(colon + 1)));
  }
  return size * count;
}

using s3::Curl;
using Handle = std::unique_ptr<CURL, decltype(Curl::easy_cleanup)>;
using Lines = std::unique_ptr<curl_slist, decltype(Curl::slist_free_all)>;
using Mime = std::unique_ptr<curl_mime, decltype(Curl::mime_free)>;

void append_line(const Curl& lib, Lines* lines, const std::string& line) {
  curl_slist* longer = lib.slist_append(lines->get(), line.c_str());
  if (longer != nullptr) {
    (void)lines->release();
    lines->reset(longer);
  }
}

void fill_form(const Curl& lib, curl_mime* mime, const std::vector<FormField>& form) {
  for (const FormField& field : form) {
    curl_mimepart* part = lib.mime_addpart(mime);
    lib.mime_name(part, field.name.c_str());
    if (field.file.empty()) {
      lib.mime_data(part, field.text.data(), field.text.size());
    } else {
      lib.mime_filedata(part, field.file.c_str());
      lib.mime_type(part, "application/octet-stream");  // the server looks at the bytes
    }
  }
}

}  // namespace

HttpClient::HttpClient(std::string server, std::string token)
    : server_(std::move(server)), token_(std::move(token)) {
  while (!server_.empty() && server_.back() == '/') server_.pop_back();
}

Result<HttpReply> HttpClient::request(const std::string& method, const std::string& path,
                                      const std::vector<std::string>& headers,
                                      const std::vector<FormField>* form) {
  return perform(method, path, headers, form, nullptr);
}

Result<HttpReply> HttpClient::follow(const std::string& path,
                                     const std::function<bool(std::string_view)>& event) {
  std::string pending;
  const std::function<bool(std::string_view)> cut = [&](std::string_view piece) {
    pending += piece;
    for (size_t end = pending.find("\n\n"); end != std::string::npos; end = pending.find("\n\n")) {
      const std::string group = pending.substr(0, end);
      pending.erase(0, end + 2);
      // Our servers write the data of an event on one line.
      const size_t data = group.find("data: ");
      if (data == std::string::npos) continue;
      if (!event(std::string_view(group).substr(data + 6))) return false;
    }
    return pending.size() < kEventBytesMax;
  };
  return perform("GET", path, {}, nullptr, &cut);
}

Result<HttpReply> HttpClient::perform(const std::string& method, const std::string& path,
                                      const std::vector<std::string>& headers,
                                      const std::vector<FormField>* form,
                                      const std::function<bool(std::string_view)>* piece) {
  if (s3::load_curl() == nullptr) {
    return Status::unavailable(errors::kServerUnreachable, s3::curl_problem());
  }
  const Curl& lib = *s3::load_curl();
  const Handle handle(lib.easy_init(), lib.easy_cleanup);
  CURL* curl = handle.get();
  if (curl == nullptr)
    return Status::unavailable(errors::kServerUnreachable, "libcurl did not start");
  Transfer transfer;
  transfer.piece = piece;
  Lines lines(nullptr, lib.slist_free_all);
  for (const std::string& line : headers) append_line(lib, &lines, line);
  append_line(lib, &lines, "Expect:");  // a round trip less
  if (!token_.empty()) append_line(lib, &lines, "Authorization: Bearer " + token_);
  const std::string url = server_ + path;
  char message[CURL_ERROR_SIZE] = {};
  lib.easy_setopt(curl, CURLOPT_URL, url.c_str());
  lib.easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  lib.easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  lib.easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
  lib.easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  lib.easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  lib.easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  lib.easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  lib.easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  lib.easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  Mime mime(nullptr, lib.mime_free);
  if (form != nullptr) {
    mime.reset(lib.mime_init(curl));
    fill_form(lib, mime.get(), *form);
    lib.easy_setopt(curl, CURLOPT_MIMEPOST, mime.get());
    lib.easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  } else if (method == "POST") {
    lib.easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    append_line(lib, &lines, "Content-Type:");  // there is none to name
  }
  lib.easy_setopt(curl, CURLOPT_HTTPHEADER, lines.get());
  const CURLcode code = lib.easy_perform(curl);
  const bool stopped = code == CURLE_WRITE_ERROR && piece != nullptr;
  if (code != CURLE_OK && !stopped) {
    return Status::unavailable(
        errors::kServerUnreachable,
        fmt::format("{}: {}", server_, *message != '\0' ? message : lib.easy_strerror(code)));
  }
  return std::move(transfer.reply);
}

}  // namespace millrace
