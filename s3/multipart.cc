// Objects in parts: begun, put part by part, completed; given up whatever goes wrong, so that no
// parts are paid for. What a crash leaves is for a lifecycle rule of the bucket.
#include <fmt/core.h>

#include "s3/client.h"
#include "s3/xml.h"

namespace millrace::s3 {
namespace {

std::string_view part_of(std::string_view bytes, size_t number) {
  return bytes.substr((number - 1) * kPartBytes, kPartBytes);
}

}  // namespace

Error Client::put_part(const Put& put, const std::string& upload, size_t number,
                       std::string* etag) {
  Call call;
  call.method = "PUT";
  call.key = location_.key(put.key);
  call.query = {{"partNumber", std::to_string(number)}, {"uploadId", upload}};
  call.body = part_of(put.bytes, number);
  call.payload_hash = sha256_hex(call.body);
  call.headers["x-amz-checksum-sha256"] = base64_of_hex(call.payload_hash);
  Answer answer;
  Error error = perform(call, &answer);
  if (error) return error;
  *etag = answer.headers["etag"];
  return {};
}

Error Client::put_parts(const Put& put) {
  Call begin;
  begin.method = "POST";
  begin.key = location_.key(put.key);
  begin.query = {{"uploads", ""}};
  begin.headers = put_headers(put);
  begin.headers["x-amz-checksum-algorithm"] = "SHA256";
  Answer answer;
  if (Error error = perform(begin, &answer)) return error;
  const std::string upload = XmlReader::text_of(answer.body, "UploadId");
  if (upload.empty()) {
    return {Failure::kInvalid, answer.status, "", "an upload in parts got no id"};
  }
  const size_t parts = (put.bytes.size() + kPartBytes - 1) / kPartBytes;
  std::string body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  Error error;
  for (size_t number = 1; number <= parts && !error; number++) {
    std::string etag;
    error = put_part(put, upload, number, &etag);
    body += fmt::format(
        "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag>"
        "<ChecksumSHA256>{}</ChecksumSHA256></Part>",
        number, etag, base64(sha256_bytes(part_of(put.bytes, number))));
  }
  if (!error) {
    Call complete;
    complete.method = "POST";
    complete.key = begin.key;
    complete.query = {{"uploadId", upload}};
    body += "</CompleteMultipartUpload>";
    complete.body = body;
    complete.payload_hash = sha256_hex(body);
    complete.headers["content-type"] = "application/xml";
    if (put.condition == Put::If::kAbsent) complete.headers["if-none-match"] = "*";
    if (put.condition == Put::If::kSame) complete.headers["if-match"] = put.etag;
    error = perform(complete, &answer);
    if (!error) return {};
    // An earlier attempt, whose answer was lost, may have completed it: the caller looks.
    if (error.code == "NoSuchUpload") error.failure = Failure::kPrecondition;
  }
  Call abort;
  abort.method = "DELETE";
  abort.key = begin.key;
  abort.query = {{"uploadId", upload}};
  abort.to_its_end = true;
  // Its failure changes nothing for the caller; an upload that was completed unheard is not found.
  static_cast<void>(perform(abort, &answer));
  return error;
}

}  // namespace millrace::s3
