// bind_inputs: what somebody gave, against what the pipeline declared.
#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/pipeline/graph.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// "image/png" is accepted by "image/png" and "image/*".
bool accepts(const std::vector<std::string>& accepted, std::string_view media_type) {
  return std::any_of(accepted.begin(), accepted.end(), [&](const std::string& pattern) {
    if (!pattern.ends_with("/*")) return media_type == pattern;
    return media_type.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  });
}

// Fills number and message when the blob is not acceptable.
void check_blob(const Graph& graph, const InputDecl& input, const BlobRef& blob,
                InputProblem* problem) {
  CHECK(blob.content != nullptr);
  if (input.max_bytes > 0 && blob.content->size_bytes > static_cast<uint64_t>(input.max_bytes)) {
    problem->number = errors::kBodyTooLarge;
    problem->message =
        fmt::format("upload is {} bytes, input '{}' of pipeline '{}' takes at most {} ({})",
                    blob.content->size_bytes, input.name, graph.name, input.max_bytes,
                    format_size(input.max_bytes));
  } else if (input.type.kind == Kind::kImage && !blob.media_type.starts_with("image/")) {
    problem->number = errors::kNotAnImage;
    problem->message =
        fmt::format("input '{}' of pipeline '{}' takes an image, these bytes are {}", input.name,
                    graph.name, blob.media_type.empty() ? "none that is known" : blob.media_type);
  } else if (!input.media.empty() && !accepts(input.media, blob.media_type)) {
    problem->number = errors::kNotAnImage;
    problem->message = fmt::format("input '{}' of pipeline '{}' takes {}, these bytes are {}",
                                   input.name, graph.name, joined(input.media),
                                   blob.media_type.empty() ? "of no known type" : blob.media_type);
  }
}

std::string check_range(const InputDecl& input, const Value& value) {
  const auto shown = [&](int64_t number) {
    const Value view = value_for_view(input.type, Value(number));
    return view.kind() == Value::Kind::kString ? view.as_string() : std::to_string(number);
  };
  if (value.kind() == Value::Kind::kInt) {
    const int64_t number = value.as_int();
    if (input.min && number < *input.min)
      return fmt::format("{} is less than {}", shown(number), shown(*input.min));
    if (input.max && number > *input.max)
      return fmt::format("{} is more than {}", shown(number), shown(*input.max));
  } else if (value.kind() == Value::Kind::kDouble) {
    const double number = value.as_double();
    if (input.min_float && number < *input.min_float)
      return fmt::format("{} is less than {}", number, *input.min_float);
    if (input.max_float && number > *input.max_float)
      return fmt::format("{} is more than {}", number, *input.max_float);
  }
  return {};
}

// What somebody gives must be an address by itself; a bare path is for our own answers only.
bool is_bare_path(const InputDecl& input, const Value& value) {
  return input.type.kind == Kind::kUrl && value.kind() == Value::Kind::kString &&
         value.as_string().starts_with('/');
}

// The bound value; null and a problem when it does not fit.
Value bind_one(const Graph& graph, const InputDecl& input, const Value& given,
               std::vector<InputProblem>* problems) {
  InputProblem problem{0, input.name, {}};
  const bool blob_given = given.kind() == Value::Kind::kBlob;
  auto value = value_from_json(input.type, given);
  if (!value.ok()) {
    problem.number = errors::kInputWrongType;
    problem.message = fmt::format("input '{}' of pipeline '{}' ({}): {}", input.name, graph.name,
                                  input.type.text(), value.status().message());
  } else if (blob_given) {
    check_blob(graph, input, given.as_blob(), &problem);
  } else if (is_bare_path(input, *value)) {
    problem.number = errors::kInputWrongType;
    problem.message = fmt::format(
        "input '{}' of pipeline '{}': '{}' is no absolute address; write https://HOST/…",
        input.name, graph.name, value->as_string());
  } else if (std::string range = check_range(input, *value); !range.empty()) {
    problem.number = errors::kInputWrongType;
    problem.message = fmt::format("input '{}' of pipeline '{}': {}", input.name, graph.name, range);
  }
  if (problem.number == 0) return *std::move(value);
  problems->push_back(std::move(problem));
  return {};
}

}  // namespace

std::vector<Value> bind_inputs(const Graph& graph, const Value::Map& given,
                               std::vector<InputProblem>* problems) {
  std::vector<Value> bound(graph.inputs.size());
  size_t known = 0;
  for (size_t i = 0; i < graph.inputs.size(); i++) {
    const InputDecl& input = graph.inputs[i];
    const auto found = given.find(input.name);
    if (found != given.end()) known++;
    if (found != given.end() && !found->second.is_null()) {
      bound[i] = bind_one(graph, input, found->second, problems);
    } else if (input.has_default) {
      bound[i] = input.default_value;
    } else if (found != given.end() && input.type.kind == Kind::kJson) {
      continue;  // null is a json value
    } else if (!input.type.optional) {
      problems->push_back({errors::kInputMissing, input.name,
                           fmt::format("pipeline '{}' needs the input '{}' ({})", graph.name,
                                       input.name, input.type.text())});
    }
  }
  if (known == given.size()) return bound;
  std::vector<std::string_view> names;
  for (const InputDecl& input : graph.inputs) names.push_back(input.name);
  for (const auto& [name, unused] : given) {
    if (graph.input_index(name) >= 0) continue;
    const std::string hint = did_you_mean(name, names);
    problems->push_back({errors::kInputUnknown, name,
                         fmt::format("pipeline '{}' has no input '{}'{}{}", graph.name, name,
                                     hint.empty() ? "" : "; ", hint)});
  }
  return bound;
}

}  // namespace millrace
