// POST /v1/blobs, PUT and GET /v1/blobs/{digest}
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "server/api.h"
#include "server/sniff.h"

namespace millrace {
namespace {

// Collects the body and hashes it as it comes, so that no turn of the loop hashes much at once.
class HashingSink final : public BodySink {
 public:
  explicit HashingSink(const Digest& wanted) : wanted_(wanted) {}
  Status write(std::string_view data) override {
    hash_.update(data);
    body_ += data;
    return {};
  }
  void reserve(uint64_t size) { body_.reserve(static_cast<size_t>(size)); }
  const Digest& wanted() const { return wanted_; }
  Digest finish() { return hash_.finish(); }
  std::string take() { return std::move(body_); }

 private:
  Digest wanted_;
  Sha256 hash_;
  std::string body_;
};

std::string type_of_bytes(const Bytes& bytes) {
  const std::string_view sniffed = sniff_image(bytes.view());
  return std::string(sniffed.empty() ? std::string_view("application/octet-stream") : sniffed);
}

void put(App& app, Exchange& exchange, std::string body, int status) {
  Bytes bytes = exchange.charge.detach(std::move(body));
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

void begin_blob(App&, Exchange&) {}

void answer_post_blob(App& app, Exchange& exchange) {
  put(app, exchange, std::move(exchange.request.body), 201);
}

void begin_put_blob(App&, Exchange& exchange) {
  const auto digest = digest_of(exchange, errors::kQueryInvalid);
  if (!digest) return;
  auto sink = std::make_unique<HashingSink>(*digest);
  if (exchange.request.content_length <= exchange.body_bytes_max) {
    sink->reserve(exchange.request.content_length);
  }
  exchange.sink = std::move(sink);
}

void answer_put_blob(App& app, Exchange& exchange) {
  const std::unique_ptr<HashingSink> sink(static_cast<HashingSink*>(exchange.sink.release()));
  const Digest digest = sink->finish();
  if (digest != sink->wanted()) {
    exchange.respond(Status::invalid(errors::kDigestMismatch,
                                     fmt::format("the bytes have the digest {}", digest.text())));
    return;
  }
  put(app, exchange, sink->take(), 200);
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
