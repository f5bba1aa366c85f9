// The reading half of the codec: any bytes may come in.
#include <bson/bson.h>
#include <fmt/core.h>

#include <utility>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/codec.h"

namespace millrace {
namespace {

// Each returns false for what is no such element

bool get(const bson_iter_t* at, std::string* text) {
  if (!BSON_ITER_HOLDS_UTF8(at)) return false;
  uint32_t length = 0;
  const char* data = bson_iter_utf8(at, &length);
  text->assign(data, length);
  return true;
}

bool get(const bson_iter_t* at, int64_t* number) {
  if (!BSON_ITER_HOLDS_INT64(at)) return false;
  *number = bson_iter_int64(at);
  return true;
}

bool get(const bson_iter_t* at, uint32_t* number) {
  int64_t wide = 0;
  if (!get(at, &wide) || wide < 0 || wide > UINT32_MAX) return false;
  *number = static_cast<uint32_t>(wide);
  return true;
}

bool get(const bson_iter_t* at, int* number) {
  if (!BSON_ITER_HOLDS_INT32(at)) return false;
  *number = bson_iter_int32(at);
  return true;
}

bool get(const bson_iter_t* at, bool* flag) {
  if (!BSON_ITER_HOLDS_BOOL(at)) return false;
  *flag = bson_iter_bool(at);
  return true;
}

template <size_t N>
bool get(const bson_iter_t* at, std::array<uint8_t, N>* bytes) {
  if (!BSON_ITER_HOLDS_BINARY(at)) return false;
  bson_subtype_t subtype{};
  uint32_t length = 0;
  const uint8_t* data = nullptr;
  bson_iter_binary(at, &subtype, &length, &data);
  if (data == nullptr || subtype != BSON_SUBTYPE_BINARY || length != N) return false;
  std::copy_n(data, N, bytes->data());
  return true;
}

bool get(const bson_iter_t* at, std::optional<Digest>* digest) {
  return get(at, &digest->emplace().bytes);
}

template <typename State>
bool get_state(const bson_iter_t* at, State* state) {
  int number = 0;
  if (!get(at, &number) || number < 0 || number > static_cast<int>(State::kCancelled)) return false;
  *state = static_cast<State>(number);
  return true;
}

// Calls read(iterator, name) for each element of the document or array at `at`; false as soon as
// one is not what it should be, or the bytes themselves are damaged.
template <typename Read>
bool each_element(bson_iter_t* at, const Read& read) {
  while (bson_iter_next(at)) {
    if (!read(at)) return false;
  }
  return at->err_off == 0;
}

template <typename Read>
bool each_child(const bson_iter_t* at, bool array, const Read& read) {
  if (array ? !BSON_ITER_HOLDS_ARRAY(at) : !BSON_ITER_HOLDS_DOCUMENT(at)) return false;
  bson_iter_t child;
  return bson_iter_recurse(at, &child) && each_element(&child, read);
}

// The one letter that names an element, 0 for any other name.
char letter(const bson_iter_t* at) {
  const char* key = bson_iter_key(at);
  return key[0] != '\0' && key[1] == '\0' ? key[0] : '\0';
}

bool get_error(const bson_iter_t* at, std::optional<JobError>* out) {
  JobError& error = out->emplace();
  return each_child(at, false, [&](const bson_iter_t* it) {
    switch (letter(it)) {
      case 'n':
        return get(it, &error.number);
      case 'r':
        return get(it, &error.reason);
      case 'm':
        return get(it, &error.message);
      case 's':
        return get(it, &error.step);
      case 'a':
        return get(it, &error.attempt);
      default:
        return false;
    }
  });
}

bool get_tries(const bson_iter_t* at, std::vector<Try>* tries) {
  return each_child(at, true, [&](const bson_iter_t* element) {
    Try& attempt = tries->emplace_back();
    return each_child(element, false, [&](const bson_iter_t* it) {
      switch (letter(it)) {
        case 'a':
          return get(it, &attempt.attempt);
        case 'b':
          return get(it, &attempt.started_at);
        case 'z':
          return get(it, &attempt.finished_at);
        case 'r':
          return get(it, &attempt.reason);
        case 'n':
          return get(it, &attempt.note);
        default:
          return false;
      }
    });
  });
}

bool get_step(const bson_iter_t* at, StepRecord* step) {
  return each_child(at, false, [&](const bson_iter_t* it) {
    switch (letter(it)) {
      case 't':
        return get_state(it, &step->state) && step->state != StepState::kRunning;
      case 'a':
        return get(it, &step->attempts);
      case 'g':
        return get(it, &step->generation);
      case 'n':
        return get(it, &step->deaths);
      case 'j':
        return get(it, &step->intent);
      case 'b':
        return get(it, &step->started_at);
      case 'z':
        return get(it, &step->finished_at);
      case 'h':
        return get(it, &step->retry_at);
      case 'f':
        return get(it, &step->frozen);
      case 'u':
        return get(it, &step->outputs);
      case 'U':
        return get(it, &step->spilled);
      case 'e':
        return get_error(it, &step->error);
      case 'T':
        return get_tries(it, &step->tries);
      default:
        return false;
    }
  });
}

bool get_labels(const bson_iter_t* at, std::map<std::string, std::string>* labels) {
  std::optional<std::string> key;
  const bool read = each_child(at, true, [&](const bson_iter_t* it) {
    std::string text;
    if (!get(it, &text)) return false;
    if (!key) {
      key = std::move(text);
      return true;
    }
    return labels->emplace(*std::exchange(key, std::nullopt), std::move(text)).second;
  });
  return read && !key;
}

bool get_plugins(const bson_iter_t* at, std::vector<std::pair<std::string, int>>* plugins) {
  bool name_next = true;
  const bool read = each_child(at, true, [&](const bson_iter_t* it) {
    name_next = !name_next;
    if (name_next) return get(it, &plugins->back().second);
    return get(it, &plugins->emplace_back().first);
  });
  return read && name_next;
}

bool get_verbs(const bson_iter_t* at, std::vector<VerbId>* verbs) {
  if (!BSON_ITER_HOLDS_BINARY(at)) return false;
  bson_subtype_t subtype{};
  uint32_t length = 0;
  const uint8_t* data = nullptr;
  bson_iter_binary(at, &subtype, &length, &data);
  constexpr uint32_t kEach = sizeof(VerbId);
  if (data == nullptr || subtype != BSON_SUBTYPE_BINARY || length == 0 || length % kEach != 0 ||
      length / kEach > static_cast<uint32_t>(kAppliedVerbsMax)) {
    return false;
  }
  for (uint32_t from = 0; from < length; from += kEach) {
    std::copy_n(data + from, kEach, verbs->emplace_back().bytes.data());
  }
  return true;
}

// The elements that every record has, as bits.
enum : uint32_t {
  kHasKey = 1 << 0,
  kHasRev = 1 << 1,
  kHasWriteId = 1 << 2,
  kHasOwner = 1 << 3,
  kHasSalt = 1 << 4,
  kHasDefinition = 1 << 5,
  kHasPipeline = 1 << 6,
  kHasState = 1 << 7,
  kHasInputs = 1 << 8,
  kHasRequest = 1 << 9,
  kHasAll = (1 << 10) - 1,
};

bool get_optional_field(const bson_iter_t* it, JobRecord* record) {
  switch (letter(it)) {
    case 'l':
      return get_labels(it, &record->labels);
    case 'S':
      return each_child(it, true, [&](const bson_iter_t* element) {
        return record->steps.size() < static_cast<size_t>(kStepsMax) &&
               get_step(element, &record->steps.emplace_back());
      });
    case 'u':
      return get(it, &record->outputs);
    case 'U':
      return get(it, &record->outputs_spilled);
    case 'e':
      return get_error(it, &record->error);
    case 'y':
      return get(it, &record->keyed);
    case 'x':
      return get(it, &record->cancel_requested);
    case 'v':
      return get_verbs(it, &record->applied_verbs);
    case 'c':
      return get(it, &record->created_at);
    case 'b':
      return get(it, &record->started_at);
    case 'z':
      return get(it, &record->finished_at);
    case 'h':
      return get(it, &record->expire_at);
    case 'a':
      return get(it, &record->active_ms);
    case 'g':
      return get_plugins(it, &record->plugins);
    default:
      return false;
  }
}

bool get_field(const bson_iter_t* it, JobRecord* record, uint32_t* has) {
  const auto required = [has](uint32_t bit, bool read) {
    *has |= bit;
    return read;
  };
  int64_t rev = 0;
  switch (letter(it)) {
    case 'f':
      return true;  // read first of all
    case 'k':
      return required(kHasKey, get(it, &record->key.bytes));
    case 'r':
      if (!get(it, &rev) || rev < 1) return false;
      record->rev = static_cast<uint64_t>(rev);
      return required(kHasRev, true);
    case 'w':
      return required(kHasWriteId, get(it, &record->write_id));
    case 'o':
      return required(kHasOwner, get(it, &record->owner.bytes));
    case 's':
      return required(kHasSalt, get(it, &record->salt));
    case 'd':
      return required(kHasDefinition, get(it, &record->definition.bytes));
    case 'p':
      return required(kHasPipeline, get(it, &record->pipeline));
    case 't':
      return required(kHasState, get_state(it, &record->state));
    case 'i':
      return required(kHasInputs, get(it, &record->inputs));
    case 'q':
      return required(kHasRequest, get(it, &record->request.bytes));
    default:
      return get_optional_field(it, record);
  }
}

// Of a document that begins with its format: whether the checksum stands behind it, and is right.
bool checksum_right(std::string_view bytes, bson_iter_t* at) {
  int stored = 0;
  if (!bson_iter_next(at) || letter(at) != 'C' || !get(at, &stored)) return false;
  return static_cast<uint32_t>(stored) == record_checksum(bytes);
}

Status damaged(std::string_view bytes, const char* what) {
  return Status::corrupt(
      errors::kStoreCorrupt,
      fmt::format("a stored record of {} bytes is damaged: {}; restore the store from a backup, or "
                  "delete this job",
                  bytes.size(), what));
}

}  // namespace

Result<JobRecord> decode_record(std::string_view bytes) {
  bson_t doc;
  bson_iter_t at;
  if (!bson_init_static(&doc, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) ||
      !bson_iter_init(&at, &doc)) {
    return damaged(bytes, "it is no BSON document");
  }
  int format = 0;
  if (!bson_iter_next(&at) || letter(&at) != 'f' || !get(&at, &format) || format < 1) {
    return damaged(bytes, "it does not begin with its format");
  }
  if (format > 1 && !checksum_right(bytes, &at)) {
    return damaged(bytes, "its checksum is another one");
  }
  if (format > kRecordFormat) {
    return Status::unavailable(
        errors::kStoreVersion,
        fmt::format("a stored record has format {}, this program reads up to {}; start the version "
                    "that wrote it, or a newer one",
                    format, kRecordFormat));
  }
  JobRecord record;
  uint32_t has = 0;
  const bool read =
      each_element(&at, [&](const bson_iter_t* it) { return get_field(it, &record, &has); });
  if (!read) return damaged(bytes, "an element is unknown, of another type, or cut short");
  if (has != kHasAll) return damaged(bytes, "an element is missing");
  // The checksum finds accidents only, and the first format had none.
  if (!blobs_have_digests(record)) return damaged(bytes, "a blob in it has no digest");
  if (record.steps.empty() && !is_final(record.state)) {
    return damaged(bytes, "it has not ended and has no steps");
  }
  return record;
}

}  // namespace millrace
