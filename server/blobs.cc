// POST /v1/blobs, PUT and GET /v1/blobs/{digest}
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "server/api.h"
#include "server/sniff.h"
#include "server/upload.h"

namespace millrace {
namespace {

std::string type_of_bytes(const Bytes& bytes) {
  const std::string_view sniffed = sniff_image(bytes.view());
  return std::string(sniffed.empty() ? std::string_view("application/octet-stream") : sniffed);
}

void put(App& app, Exchange& exchange, Bytes bytes, int status) {
  const std::string media_type = type_of_bytes(bytes);
  const uint64_t size = bytes.size();
  const ExchangeRef ref = exchange.ref();
  app.runtime().put_blob(
      std::move(bytes), [&app, ref, media_type, size, status](Result<Digest> digest) {
        Exchange* waiting = ref.get();
        if (waiting == nullptr) return;
        if (!digest.ok()) {
          waiting->respond(digest.status());
          return;
        }
        BlobRef blob;
        blob.content = std::make_shared<BlobContent>();
        blob.content->digest = *digest;
        blob.content->size_bytes = size;
        blob.media_type = media_type;
        std::string json;
        append_blob_json(blob, app.config().public_url, &json);
        Response response = Response::json(status, std::move(json));
        response.header("Location", app.config().url_of("/v1/blobs/" + digest->text()));
        response.header("ETag", "\"" + digest->text() + "\"");
        waiting->respond(std::move(response));
      });
}

std::optional<Digest> digest_of(Exchange& exchange, int number) {
  const std::string& text = exchange.request.params[0];
  auto digest = Digest::parse(text);
  if (!digest) {
    exchange.respond(Status(
        number == errors::kBlobUnknown ? Code::kNotFound : Code::kInvalid, number,
        fmt::format("'{}' is no digest: a blob is named 'sha256:' and 64 lower-case hexadecimal "
                    "digits",
                    text.substr(0, 100))));
  }
  return digest;
}

}  // namespace

void begin_blob(App& app, Exchange& exchange) {
  exchange.sink =
      std::make_unique<Upload>(&app.runtime(), &exchange.charge, exchange.request.content_length);
}

void answer_post_blob(App& app, Exchange& exchange) {
  const std::shared_ptr<Upload> upload(static_cast<Upload*>(exchange.sink.release()));
  upload->finish([&app, ref = exchange.ref(), upload](const Status& status) {
    Exchange* waiting = ref.get();
    if (waiting == nullptr) return;
    if (!status.ok()) {
      waiting->respond(status);
      return;
    }
    put(app, *waiting, upload->take(), 201);
  });
}

void begin_put_blob(App& app, Exchange& exchange) {
  if (!digest_of(exchange, errors::kQueryInvalid)) return;
  // Whatever its size: bytes on their way to a file are hashed, and not on the loop.
  exchange.sink = std::make_unique<Upload>(&app.runtime(), &exchange.charge,
                                           exchange.request.content_length, 0);
}

void answer_put_blob(App& app, Exchange& exchange) {
  const std::shared_ptr<Upload> upload(static_cast<Upload*>(exchange.sink.release()));
  upload->finish([&app, ref = exchange.ref(), upload](const Status& status) {
    Exchange* waiting = ref.get();
    if (waiting == nullptr) return;
    if (!status.ok()) {
      waiting->respond(status);
    } else if (*upload->digest() != Digest::parse(waiting->request.params[0])) {
      waiting->respond(
          Status::invalid(errors::kDigestMismatch,
                          fmt::format("the bytes have the digest {}", upload->digest()->text())));
    } else {
      put(app, *waiting, upload->take(), 200);
    }
  });
}

void answer_blob(App& app, Exchange& exchange) {
  const auto digest = digest_of(exchange, errors::kBlobUnknown);
  if (!digest) return;
  const ExchangeRef ref = exchange.ref();
  app.runtime().read_blob(*digest, [&app, ref, digest = *digest](Result<Bytes> bytes) {
    Exchange* waiting = ref.get();
    if (waiting == nullptr) return;
    if (!bytes.ok()) {
      waiting->respond(bytes.status());
      return;
    }
    Stored stored;
    stored.media_type = type_of_bytes(*bytes);
    stored.etag = "\"" + digest.text() + "\"";
    stored.immutable = true;
    const std::string_view extension = extension_of(stored.media_type);
    stored.file_name = digest.hex().substr(0, 16);
    if (!extension.empty()) stored.file_name += "." + std::string(extension);
    respond_bytes(app, *waiting, stored, std::move(*bytes));
  });
}

}  // namespace millrace
