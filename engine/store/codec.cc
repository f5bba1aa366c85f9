#include "engine/store/codec.h"

#include <bson/bson.h>

#include <cstdlib>

#include "engine/base/crc32c.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

// ---- writing

void put_bytes(bson_t* doc, const char* name, const uint8_t* data, size_t size) {
  CHECK(bson_append_binary(doc, name, 1, BSON_SUBTYPE_BINARY, data, static_cast<uint32_t>(size)));
}

template <size_t N>
void put_bytes(bson_t* doc, const char* name, const std::array<uint8_t, N>& bytes) {
  put_bytes(doc, name, bytes.data(), N);
}

void put_text(bson_t* doc, const char* name, std::string_view text) {
  CHECK(bson_append_utf8(doc, name, 1, text.data(), static_cast<int>(text.size())));
}

void put_optional(bson_t* doc, const char* name, std::string_view text) {
  if (!text.empty()) put_text(doc, name, text);
}

void put_optional(bson_t* doc, const char* name, int64_t number) {
  if (number != 0) CHECK(bson_append_int64(doc, name, 1, number));
}

void put_optional(bson_t* doc, const char* name, const std::optional<Digest>& digest) {
  if (digest) put_bytes(doc, name, digest->bytes);
}

void put_flag(bson_t* doc, const char* name, bool flag) {
  if (flag) CHECK(bson_append_bool(doc, name, 1, true));
}

// Names of array elements: "0", "1", …
class ArrayIndex {
 public:
  const char* next() {
    length_ = bson_uint32_to_string(at_++, &name_, text_, sizeof text_);
    return name_;
  }
  int length() const { return static_cast<int>(length_); }

 private:
  uint32_t at_ = 0;
  size_t length_ = 0;
  const char* name_ = nullptr;
  char text_[16];
};

void put_error(bson_t* doc, const std::optional<JobError>& error) {
  if (!error) return;
  bson_t child;
  CHECK(bson_append_document_begin(doc, "e", 1, &child));
  if (error->number != 0) CHECK(bson_append_int32(&child, "n", 1, error->number));
  put_optional(&child, "r", error->reason);
  put_optional(&child, "m", error->message);
  put_optional(&child, "s", error->step);
  put_optional(&child, "a", int64_t{error->attempt});
  CHECK(bson_append_document_end(doc, &child));
}

void put_tries(bson_t* doc, const std::vector<Try>& tries) {
  if (tries.empty()) return;
  bson_t list, child;
  ArrayIndex index;
  CHECK(bson_append_array_begin(doc, "T", 1, &list));
  for (const Try& attempt : tries) {
    const char* name = index.next();
    CHECK(bson_append_document_begin(&list, name, index.length(), &child));
    put_optional(&child, "a", int64_t{attempt.attempt});
    put_optional(&child, "b", attempt.started_at);
    put_optional(&child, "z", attempt.finished_at);
    put_optional(&child, "r", attempt.reason);
    put_optional(&child, "n", attempt.note);
    CHECK(bson_append_document_end(&list, &child));
  }
  CHECK(bson_append_array_end(doc, &list));
}

void put_step(bson_t* doc, const StepRecord& step) {
  CHECK_MSG(step.state != StepState::kRunning, "running is not storable");
  if (step.state != StepState::kPending) {
    CHECK(bson_append_int32(doc, "t", 1, static_cast<int>(step.state)));
  }
  put_optional(doc, "a", int64_t{step.attempts});
  put_optional(doc, "g", int64_t{step.generation});
  put_optional(doc, "n", int64_t{step.deaths});
  put_flag(doc, "j", step.intent);
  put_optional(doc, "b", step.started_at);
  put_optional(doc, "z", step.finished_at);
  put_optional(doc, "h", step.retry_at);
  put_optional(doc, "f", step.frozen);
  put_optional(doc, "u", step.outputs);
  put_optional(doc, "U", step.spilled);
  put_error(doc, step.error);
  put_tries(doc, step.tries);
}

void put_lists(bson_t* doc, const JobRecord& record) {
  bson_t list, child;
  if (!record.labels.empty()) {
    ArrayIndex index;
    CHECK(bson_append_array_begin(doc, "l", 1, &list));
    for (const auto& [key, value] : record.labels) {
      for (const std::string* text : {&key, &value}) {
        const char* name = index.next();
        CHECK(bson_append_utf8(&list, name, index.length(), text->data(),
                               static_cast<int>(text->size())));
      }
    }
    CHECK(bson_append_array_end(doc, &list));
  }
  if (!record.steps.empty()) {
    ArrayIndex index;
    CHECK(bson_append_array_begin(doc, "S", 1, &list));
    for (const StepRecord& step : record.steps) {
      const char* name = index.next();
      CHECK(bson_append_document_begin(&list, name, index.length(), &child));
      put_step(&child, step);
      CHECK(bson_append_document_end(&list, &child));
    }
    CHECK(bson_append_array_end(doc, &list));
  }
  if (!record.plugins.empty()) {
    ArrayIndex index;
    CHECK(bson_append_array_begin(doc, "g", 1, &list));
    for (const auto& [type, major] : record.plugins) {
      const char* name = index.next();
      CHECK(bson_append_utf8(&list, name, index.length(), type.data(),
                             static_cast<int>(type.size())));
      name = index.next();
      CHECK(bson_append_int32(&list, name, index.length(), major));
    }
    CHECK(bson_append_array_end(doc, &list));
  }
}

// One behind the other in one binary.
void put_verbs(bson_t* doc, const std::vector<VerbId>& verbs) {
  if (verbs.empty()) return;
  std::vector<uint8_t> bytes;
  for (const VerbId& verb : verbs) bytes.insert(bytes.end(), verb.bytes.begin(), verb.bytes.end());
  put_bytes(doc, "v", bytes.data(), bytes.size());
}

void put_record(bson_t* doc, const JobRecord& record) {
  CHECK(record.steps.size() <= static_cast<size_t>(kStepsMax));
  CHECK(bson_append_int32(doc, "f", 1, kRecordFormat));
  CHECK(bson_append_int32(doc, "C", 1, 0));  // its place; see encode()
  put_bytes(doc, "k", record.key.bytes);
  CHECK(bson_append_int64(doc, "r", 1, static_cast<int64_t>(record.rev)));
  put_bytes(doc, "w", record.write_id);
  put_bytes(doc, "o", record.owner.bytes);
  put_bytes(doc, "s", record.salt);
  put_bytes(doc, "d", record.definition.bytes);
  put_text(doc, "p", record.pipeline);
  CHECK(bson_append_int32(doc, "t", 1, static_cast<int>(record.state)));
  put_text(doc, "i", record.inputs);
  put_bytes(doc, "q", record.request.bytes);
  put_lists(doc, record);
  put_optional(doc, "u", record.outputs);
  put_optional(doc, "U", record.outputs_spilled);
  put_error(doc, record.error);
  put_flag(doc, "y", record.keyed);
  put_flag(doc, "x", record.cancel_requested);
  put_verbs(doc, record.applied_verbs);
  put_optional(doc, "c", record.created_at);
  put_optional(doc, "b", record.started_at);
  put_optional(doc, "z", record.finished_at);
  put_optional(doc, "h", record.expire_at);
  put_optional(doc, "a", record.active_ms);
}

void* grow(void* memory, size_t bytes, void*) {
  void* grown = std::realloc(memory, bytes);
  CHECK(grown != nullptr);
  return grown;
}

}  // namespace

uint32_t record_checksum(std::string_view bytes) {
  CHECK(bytes.size() >= kRecordChecksumAt + kRecordChecksumBytes);
  return crc32c(bytes.substr(kRecordChecksumAt + kRecordChecksumBytes),
                crc32c(bytes.substr(0, kRecordChecksumAt)));
}

RecordEncoder::RecordEncoder() = default;

RecordEncoder::~RecordEncoder() {
  std::free(buffer_);
}

std::string_view RecordEncoder::encode(const JobRecord& record) {
  bson_writer_t* writer = bson_writer_new(&buffer_, &buffer_bytes_, 0, grow, nullptr);
  bson_t* doc = nullptr;
  CHECK(bson_writer_begin(writer, &doc));
  put_record(doc, record);
  bson_writer_end(writer);
  const size_t size = bson_writer_get_length(writer);
  bson_writer_destroy(writer);
  const uint32_t sum = record_checksum({reinterpret_cast<const char*>(buffer_), size});
  for (size_t i = 0; i < kRecordChecksumBytes; i++) {
    buffer_[kRecordChecksumAt + i] = static_cast<uint8_t>(sum >> (8 * i));
  }
  return {reinterpret_cast<const char*>(buffer_), size};
}

JobRecord tombstone_of(const JobRecord& record) {
  JobRecord rest;
  rest.key = record.key;
  rest.rev = record.rev;
  rest.write_id = record.write_id;
  rest.salt = record.salt;
  rest.pipeline = record.pipeline;
  rest.request = record.request;
  rest.state = record.state;
  rest.keyed = record.keyed;
  rest.created_at = record.created_at;
  rest.started_at = record.started_at;
  rest.finished_at = record.finished_at;
  rest.expire_at = record.expire_at;
  return rest;
}

}  // namespace millrace
