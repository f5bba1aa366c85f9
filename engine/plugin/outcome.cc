#include "engine/plugin/outcome.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

namespace millrace {
namespace {

constexpr size_t kNoteBytesMax = 200;
constexpr uint64_t kPixelsSaidMax = uint64_t{1} << 53;  // every reader of JSON takes it
constexpr int64_t kRetryAfterMsMax = 7 * 86'400'000LL;

bool is_media_type(std::string_view text) {
  return !text.empty() && text.size() <= 255 && text.find('/') != std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

Bytes take_bytes(std::string bytes, const std::shared_ptr<ByteBudget>& budget) {
  if (budget == nullptr) return Bytes::of(std::move(bytes));
  budget->charge(bytes.size());
  return charged_bytes(std::move(bytes), budget);
}

// The value of one blob output, or why there is none.
Result<Value> output_value(const PortDecl& port, const StepDecl& decl,
                           const std::vector<Value>& with, CallOutput* output,
                           const std::shared_ptr<ByteBudget>& budget) {
  const auto refuse = [&](const std::string& why) {
    return Status::invalid(errors::kOutputInvalid, fmt::format("output '{}' {}", port.name, why));
  };
  if (output->forward < 0 && !output->piece.set) {
    if (port.type.optional) return Value();
    return refuse("was not written");
  }
  if (output->described && !is_media_type(output->media_type)) {
    return refuse("has a media type that is none");
  }
  BlobRef blob;
  if (output->forward >= 0) {
    const auto input = static_cast<size_t>(output->forward);
    if (input >= decl.inputs.size() || input >= with.size() ||
        with[input].kind() != Value::Kind::kBlob) {
      return refuse("forwards an input that is absent");
    }
    blob = with[input].as_blob();
  } else {
    blob.content = std::make_shared<BlobContent>();
    blob.content->size_bytes = output->piece.bytes.size();
    blob.content->bytes = take_bytes(std::move(output->piece.bytes), budget);
    blob.media_type = "application/octet-stream";
  }
  if (output->described) {
    blob.media_type = std::move(output->media_type);
    blob.width = output->width;
    blob.height = output->height;
    blob.pixels = std::min(output->pixels, kPixelsSaidMax);
  }
  return Value(std::move(blob));
}

Result<Value> text_value(const PortDecl& port, CallResult* result) {
  const auto refuse = [&](const std::string& why) {
    return Status::invalid(errors::kOutputInvalid, fmt::format("result '{}' {}", port.name, why));
  };
  std::string& text = result->piece.bytes;
  if (result->kind == MR_VALUE_JSON) {
    auto json = parse_json(text);
    if (!json.ok()) return refuse("is not JSON: " + json.status().message());
    auto value = value_from_json(port.type, *json);
    if (!value.ok()) return refuse("is not " + port.type.text() + ": " + value.status().message());
    return value;
  }
  if (!is_utf8(text)) return refuse("is not UTF-8");
  if (port.type.kind == Type::Kind::kEnum &&
      std::find(port.type.names.begin(), port.type.names.end(), text) == port.type.names.end()) {
    return refuse(
        fmt::format("is \"{}\", which is not one of {}", clean_text(text, 64), port.type.text()));
  }
  return Value(std::move(text));
}

Result<Value> result_value(const PortDecl& port, CallResult* result) {
  using Kind = Type::Kind;
  const auto refuse = [&](const std::string& why) {
    return Status::invalid(errors::kOutputInvalid, fmt::format("result '{}' {}", port.name, why));
  };
  const Kind kind = port.type.kind;
  const bool text = kind == Kind::kString || kind == Kind::kUrl || kind == Kind::kEnum;
  const bool json = kind == Kind::kJson || kind == Kind::kList || kind == Kind::kMap;
  switch (result->kind) {
    case MR_VALUE_ABSENT:
      if (port.type.optional) return Value();
      return refuse("was not set");
    case MR_VALUE_BOOL:
      if (kind != Kind::kBool || result->i < 0 || result->i > 1) return refuse("is not a bool");
      return Value(result->i == 1);
    case MR_VALUE_INT:
      if (kind != Kind::kInt && kind != Kind::kDuration && kind != Kind::kSize) break;
      if ((port.min != 0 || port.max != 0) && (result->i < port.min || result->i > port.max)) {
        return refuse(fmt::format("is {}, outside {} to {}", result->i, port.min, port.max));
      }
      return Value(result->i);
    case MR_VALUE_FLOAT:
      if (kind != Kind::kFloat || !std::isfinite(result->d)) break;
      return Value(result->d);
    case MR_VALUE_STRING:
      if (!text) break;
      return text_value(port, result);
    case MR_VALUE_JSON:
      if (!json) break;
      return text_value(port, result);
    default:
      break;
  }
  return refuse("is not of its declared type " + port.type.text());
}

StepOutcome failure_of(const StepDecl& decl, const CallEnd& end) {
  const auto reason = std::find_if(decl.reasons.begin(), decl.reasons.end(),
                                   [&](const ReasonDecl& r) { return r.name == end.reason; });
  if (reason == decl.reasons.end()) {
    return invalid_result(decl, "failed with a reason that it does not declare");
  }
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kFailed;
  outcome.number = reason->no_space ? errors::kNoSpace : errors::kStepFailed;
  outcome.reason = end.reason;
  outcome.message = clean_text(end.message, kErrorMessageBytesMax);
  outcome.transient = reason->transient;
  outcome.retry_after_ms = std::clamp<int64_t>(end.retry_after_ms, 0, kRetryAfterMsMax);
  return outcome;
}

StepOutcome success_of(const StepDecl& decl, const std::vector<Value>& with, CallEnd* end,
                       const std::shared_ptr<ByteBudget>& budget) {
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kSucceeded;
  end->outputs.resize(decl.outputs.size());
  end->results.resize(decl.results.size());
  outcome.outputs.reserve(decl.outputs.size() + decl.results.size());
  for (size_t i = 0; i < decl.outputs.size(); i++) {
    auto value = output_value(decl.outputs[i], decl, with, &end->outputs[i], budget);
    if (!value.ok()) return invalid_result(decl, value.status().message());
    outcome.outputs.push_back(std::move(value).value());
  }
  for (size_t i = 0; i < decl.results.size(); i++) {
    auto value = result_value(decl.results[i], &end->results[i]);
    if (!value.ok()) return invalid_result(decl, value.status().message());
    outcome.outputs.push_back(std::move(value).value());
  }
  return outcome;
}

}  // namespace

StepOutcome outcome_of(const StepDecl& decl, const std::vector<Value>& with, CallEnd end,
                       const std::shared_ptr<ByteBudget>& budget) {
  StepOutcome outcome;
  if (end.invalid) {
    outcome = invalid_result(decl, end.message);
  } else if (end.status == MR_OK) {
    outcome = success_of(decl, with, &end, budget);
  } else if (end.status == MR_FAILED) {
    outcome = failure_of(decl, end);
  } else {
    outcome.kind = StepOutcome::Kind::kStopped;
    outcome.number = errors::kStepStopped;
    outcome.reason = "stopped";
    outcome.message = "the step was asked to stop, and did";
  }
  outcome.note = clean_text(end.note, kNoteBytesMax);
  return outcome;
}

StepOutcome invalid_result(const StepDecl& decl, const std::string& message) {
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kFailed;
  outcome.number = errors::kOutputInvalid;
  outcome.reason = "invalid_result";
  outcome.message =
      clean_text(fmt::format("step '{}' of plugin {}: {}", decl.name, decl.plugin, message),
                 kErrorMessageBytesMax);
  return outcome;
}

std::string clean_text(std::string_view text, size_t bytes_max) {
  std::string clean;
  clean.reserve(std::min(text.size(), bytes_max));
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const size_t bytes = std::max<size_t>(length, 1);
    if (clean.size() + bytes > bytes_max) break;
    if (length == 0) {
      clean += '?';
    } else {
      clean.append(text.substr(0, length));
    }
    text.remove_prefix(bytes);
  }
  return clean;
}

}  // namespace millrace
