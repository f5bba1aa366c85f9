// Submission: what comes as text, fields and labels.
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "engine/pipeline/text.h"
#include "server/submission.h"

namespace millrace {

void Submission::add_text_inputs(const std::vector<Field>& fields) {
  std::map<std::string, std::vector<const std::string*>> by_name;
  for (const Field& field : fields) by_name[field.name].push_back(&field.text);
  for (const auto& [name, texts] : by_name) {
    const int index = graph_->input_index(name);
    if (index < 0) {
      given_[name] = *texts[0];  // bind_inputs reports it, with the nearest spelling
      continue;
    }
    const Type& type = graph_->inputs[static_cast<size_t>(index)].type;
    const bool list = type.kind == Type::Kind::kList && type.element != nullptr;
    if (texts.size() > 1 && !list) {
      problem(errors::kInputWrongType,
              fmt::format("input '{}' was given {} times and is no list", name, texts.size()),
              pointer_of(name));
      continue;
    }
    // One field of a list is its only element, unless it is the whole list as JSON.
    const bool whole = !list || (texts.size() == 1 && texts[0]->starts_with("["));
    Value::List values;
    for (const std::string* text : texts) {
      if (const Status status = check_marks(*text); !status.ok()) {
        problem(status.number(), fmt::format("input '{}': {}", name, status.message()),
                pointer_of(name));
        values.clear();
        break;
      }
      auto value = value_from_text(whole ? type : *type.element, *text);
      if (!value.ok()) {
        problem(errors::kInputWrongType,
                fmt::format("input '{}': {}", name, value.status().message()), pointer_of(name));
        values.clear();
        break;
      }
      values.push_back(value_for_view(whole ? type : *type.element, *value));
    }
    if (values.empty()) continue;
    given_[name] = whole ? std::move(values[0]) : Value(std::move(values));
  }
}

void Submission::add_label_text(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    problem(errors::kLabelInvalid, fmt::format("the label '{}' is not KEY:VALUE", text), "/labels");
    return;
  }
  add_label(text.substr(0, colon), text.substr(colon + 1));
}

void Submission::add_label(std::string_view key, std::string_view text) {
  bool good = !key.empty() && key.size() <= kLabelKeyBytesMax &&
              text.size() <= kLabelValueBytesMax && is_utf8(text);
  for (char c : key) {
    good = good && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '.' || c == '_' || c == '-' || c == '/');
  }
  for (char c : text) good = good && static_cast<uint8_t>(c) >= 0x20 && c != 0x7f;
  const std::string pointer = "/labels/" + std::string(key.substr(0, kLabelKeyBytesMax));
  if (!good) {
    problem(errors::kLabelInvalid,
            fmt::format("a label's key is 1 to {} letters, digits, '.', '_', '-' or '/', its value "
                        "at most {} bytes without control characters",
                        kLabelKeyBytesMax, kLabelValueBytesMax),
            pointer);
    return;
  }
  if (labels_.size() == static_cast<size_t>(kLabelsMax)) {
    problem(errors::kLabelInvalid, fmt::format("there are more than {} labels", kLabelsMax),
            pointer);
    return;
  }
  if (!labels_.emplace(key, text).second) {
    problem(errors::kLabelInvalid, fmt::format("the label '{}' was given twice", key), pointer);
  }
}

}  // namespace millrace
