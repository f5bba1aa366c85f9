// A job as the API shows it. Knows the contract's field names, nothing of HTTP.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/value.h"
#include "engine/core/event.h"

namespace millrace {

// Appends the job as one JSON object. `graph` may be null: then steps are left out, because their
// names are not known. URLs of blobs begin with `public_url` (which may be empty). [loop]
void append_job_json(const JobView& view, const Graph* graph, const std::string& public_url,
                     std::string* out);

// {"blob":"sha256:…","size":N,"media_type":"…","url":"…"} with width and height when known. [any]
void append_blob_json(const BlobRef& blob, const std::string& public_url, std::string* out);
void append_blob_json(const Digest& digest, uint64_t size, std::string_view media_type,
                      const std::string& public_url, std::string* out);

// A value as users see it: blobs as above, durations and sizes with their unit, secrets hidden.
// `type` may be null. [any]
std::string value_json(const Value& value, const Type* type, const std::string& public_url);

// A hash of what is shown, for ETag: "REV-HASH" with its quotes. [any]
std::string job_etag(const JobView& view, std::string_view json);

}  // namespace millrace
