#include "server/submission.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "engine/pipeline/text.h"
#include "server/sniff.h"

namespace millrace {
namespace {

constexpr std::string_view kLabelField = "label.";
constexpr uint64_t kSpillBytesMin = 16 * 1024;

bool is_blob_like(const Type& type) {
  if (type.is_blob()) return true;
  return (type.kind == Type::Kind::kList || type.kind == Type::Kind::kMap) &&
         type.element != nullptr && is_blob_like(*type.element);
}

const Type& blob_type(const Type& type) {
  return type.is_blob() || type.element == nullptr ? type : blob_type(*type.element);
}

Status check_key(const Request& request, std::string* key) {
  const auto header = request.header("idempotency-key");
  if (!header) return {};
  bool good = !header->empty() && header->size() <= kIdempotencyKeyBytesMax &&
              request.header_count("idempotency-key") == 1;
  for (char c : *header) good = good && c > ' ' && c <= '~';
  if (!good) {
    return Status::invalid(errors::kIdempotencyKeyInvalid,
                           fmt::format("the Idempotency-Key must be one header of 1 to {} visible "
                                       "ASCII characters without spaces",
                                       kIdempotencyKeyBytesMax));
  }
  *key = *header;
  return {};
}

Status body_too_large(const Graph& graph, std::string_view input, uint64_t size, uint64_t limit) {
  return Status::invalid(
      errors::kBodyTooLarge,
      fmt::format("upload is {} bytes{}, input '{}' of pipeline '{}' takes at most {} ({})", size,
                  size > limit ? "" : " or more", input, graph.name, limit,
                  format_size(static_cast<int64_t>(limit))));
}

uint64_t limit_of_input(const InputDecl& input, uint64_t body_bytes_max) {
  if (input.max_bytes <= 0) return body_bytes_max;
  return std::min(static_cast<uint64_t>(input.max_bytes), body_bytes_max);
}

Value* at_path(Value* value, const std::vector<size_t>& path) {
  for (size_t index : path) value = &value->as_list()[index];
  return value;
}

}  // namespace

std::string pointer_of(std::string_view input) {
  std::string out = "/inputs/";
  for (char c : input) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

const InputDecl* Submission::raw_input() const {
  const InputDecl* found = nullptr;
  for (const InputDecl& input : graph_->inputs) {
    if (!input.type.is_blob() || input.type.optional || input.has_default) continue;
    if (found != nullptr) return nullptr;
    found = &input;
  }
  return found;
}

Status Submission::begin(Exchange* exchange, Runtime* runtime) {
  runtime_ = runtime;
  charge_ = &exchange->charge;
  body_bytes_max_ = exchange->body_bytes_max;
  const Request& request = exchange->request;
  RETURN_IF_ERROR(check_key(request, &key_));
  auto query = parse_query(request.query);
  if (!query) {
    return Status::invalid(errors::kQueryInvalid,
                           "the query does not parse: an escape is broken, or it is not UTF-8");
  }
  query_ = std::move(*query);
  return read_head(request);
}

Status Submission::read_head(const Request& request) {
  const auto content_type = request.header("content-type");
  declared_type_ = content_type ? media_type_of(*content_type) : "";
  if (declared_type_ == "multipart/form-data") {
    const auto boundary = header_param(*content_type, "boundary");
    if (!boundary || boundary->empty() || boundary->size() > 70) {
      return Status::invalid(errors::kBrokenMultipart,
                             "the Content-Type names no boundary of 1 to 70 characters");
    }
    form_ = Form::kMultipart;
    multipart_ = std::make_unique<MultipartReader>(*boundary);
    multipart_->body_bytes = request.content_length;
    multipart_->limit_of = [this](Part* part, uint64_t bytes_left) {
      return begin_part(part, bytes_left);
    };
    multipart_->too_large = [this](const Part& part, uint64_t limit) {
      return too_large(part, limit);
    };
    return {};
  }
  if (declared_type_ == "application/json") {
    form_ = Form::kJson;
    return {};
  }
  const bool form = declared_type_ == "application/x-www-form-urlencoded";
  if (!request.has_body() && (!content_type || form)) return {};  // kNothing
  const InputDecl* input = raw_input();
  if (input == nullptr || form || (content_type && declared_type_.empty())) {
    return Status::invalid(
        errors::kMediaTypeUnsupported,
        form ? "a form is sent as multipart/form-data (curl -F); for raw bytes name their type, or "
               "application/octet-stream (curl -H 'Content-Type: application/octet-stream')"
             : fmt::format("'{}' is not taken here: send multipart/form-data or application/json; "
                           "raw bytes only where the pipeline has exactly one required blob input",
                           content_type.value_or("")));
  }
  form_ = Form::kRaw;
  raw_limit_ = limit_of_input(*input, body_bytes_max_);
  if (request.content_length > raw_limit_) {
    return body_too_large(*graph_, input->name, request.content_length, raw_limit_);
  }
  add_upload(request.content_length);
  return {};
}

Status Submission::write(std::string_view data) {
  if (form_ == Form::kMultipart) return multipart_->feed(data);
  if (form_ != Form::kRaw) {
    body_ += data;
    return {};
  }
  const uint64_t size = uploads_[0]->size() + data.size();
  if (size > raw_limit_) return body_too_large(*graph_, raw_input()->name, size, raw_limit_);
  return uploads_[0]->write(data);
}

const std::shared_ptr<Upload>& Submission::add_upload(uint64_t bytes_expected) {
  uploads_.push_back(std::make_shared<Upload>(runtime_, charge_, bytes_expected));
  if (spilling_) uploads_.back()->spill();
  return uploads_.back();
}

// Text stays in memory, and small parts do while others come: a file for each would be too many.
bool Submission::spill() {
  spilling_ = form_ == Form::kRaw || form_ == Form::kMultipart;
  for (const auto& upload : uploads_) {
    if (upload == uploads_.back() || upload->size() >= kSpillBytesMin) upload->spill();
  }
  if (form_ != Form::kMultipart) return spilling_;
  return !multipart_->parts().empty() && multipart_->parts().back().sink != nullptr;
}

const InputDecl* Submission::blob_input(std::string_view name) const {
  const int index = graph_->input_index(name);
  if (index < 0) return nullptr;
  const InputDecl& input = graph_->inputs[static_cast<size_t>(index)];
  return is_blob_like(input.type) ? &input : nullptr;
}

Result<uint64_t> Submission::begin_part(Part* part, uint64_t bytes_left) {
  if (const InputDecl* input = blob_input(part->name)) {
    part->sink = add_upload(bytes_left);
    return limit_of_input(*input, body_bytes_max_);
  }
  const int index = graph_->input_index(part->name);
  if (index < 0) return body_bytes_max_;
  return limit_of_input(graph_->inputs[static_cast<size_t>(index)], body_bytes_max_);
}

Status Submission::too_large(const Part& part, uint64_t limit) const {
  return body_too_large(*graph_, part.name, limit, limit);
}

void Submission::finish_uploads(std::function<void(const Status&)> done) {
  struct Waiting {
    size_t left;
    Status status;
    std::function<void(const Status&)> done;
  };
  // One more than there are: `done` is not called before all were asked.
  const auto waiting =
      std::make_shared<Waiting>(Waiting{uploads_.size() + 1, Status(), std::move(done)});
  const auto one_done = [waiting](const Status& status) {
    if (!status.ok()) waiting->status = status;
    if (--waiting->left == 0) waiting->done(waiting->status);
  };
  const auto uploads = uploads_;
  for (const auto& upload : uploads) upload->finish(one_done);
  one_done({});
}

Status Submission::finish(Charge* charge) {
  std::vector<Field> fields;
  for (const auto& [name, text] : query_) {
    if (name == "label") {
      add_label_text(text);
    } else if (form_ == Form::kMultipart || form_ == Form::kJson) {
      problem(errors::kInputUnknown,
              fmt::format("the query parameter '{}' is not taken with a {} body: only 'label' is",
                          name, form_ == Form::kJson ? "JSON" : "multipart"),
              "");
    } else {
      fields.push_back({name, text});
    }
  }
  switch (form_) {
    case Form::kMultipart:
      RETURN_IF_ERROR(finish_multipart());
      break;
    case Form::kJson:
      RETURN_IF_ERROR(finish_json(charge));
      break;
    case Form::kRaw:
      finish_raw();
      break;
    case Form::kNothing:
      break;
  }
  add_text_inputs(fields);
  return {};
}

void Submission::take_file(const InputDecl& input, Bytes bytes, std::string_view declared) {
  const std::string& name = input.name;
  const std::string pointer = pointer_of(name);
  Value value = blob_of(input, pointer, std::move(bytes), declared);
  if (!input.type.is_blob()) {
    Value& list = given_[name];
    if (list.is_null()) list = Value::List{};
    list.as_list().push_back(std::move(value));
    return;
  }
  if (given_.contains(name)) {
    problem(errors::kInputWrongType, fmt::format("input '{}' was sent twice", name), pointer);
  }
  given_[name] = std::move(value);
}

Status Submission::finish_multipart() {
  RETURN_IF_ERROR(multipart_->finish());
  std::vector<Field> fields;
  size_t uploads = 0;
  for (Part& part : multipart_->parts()) {
    if (part.sink != nullptr) {
      take_file(*blob_input(part.name), uploads_[uploads++]->take(), part.media_type);
    } else if (!is_utf8(part.data)) {
      const bool label = part.name.starts_with(kLabelField);
      if (!label && graph_->input_index(part.name) < 0) {
        fields.push_back({std::move(part.name), ""});  // told as any other name that is unknown
        continue;
      }
      problem(label ? errors::kInputUnknown : errors::kInputWrongType,
              fmt::format("the field '{}' is not UTF-8 text", part.name), pointer_of(part.name));
    } else if (part.name.starts_with(kLabelField)) {
      add_label(std::string_view(part.name).substr(kLabelField.size()), part.data);
    } else {
      fields.push_back({std::move(part.name), std::move(part.data)});
    }
  }
  multipart_.reset();
  add_text_inputs(fields);
  return {};
}

void Submission::take(const std::vector<Field>& texts, std::vector<Field> files, Charge* charge) {
  body_bytes_max_ = static_cast<uint64_t>(kBlobBytesMax);
  std::vector<Field> all = texts;
  for (Field& file : files) {
    if (const InputDecl* input = blob_input(file.name)) {
      take_file(*input, charge->detach(std::move(file.text)), "");
    } else {
      all.push_back(std::move(file));
    }
  }
  add_text_inputs(all);
}

Status Submission::finish_json(Charge* charge) {
  RETURN_IF_ERROR(check_marks(body_));
  auto parsed = parse_json(body_.empty() ? std::string_view("{}") : std::string_view(body_));
  if (!parsed.ok()) return parsed.status();
  body_ = std::string();
  if (parsed->kind() != Value::Kind::kMap) {
    return Status::invalid(errors::kBrokenJson,
                           "the body must be an object: {\"inputs\":{…},\"labels\":{…}}");
  }
  for (auto& [name, member] : parsed->as_map()) {
    if (name != "inputs" && name != "labels") {
      problem(errors::kInputUnknown,
              fmt::format("the body has no member '{}', only 'inputs' and 'labels'", name),
              "/" + name);
    } else if (member.kind() != Value::Kind::kMap) {
      problem(errors::kInputWrongType, fmt::format("'{}' must be an object", name), "/" + name);
    } else if (name == "inputs") {
      RETURN_IF_ERROR(take_inputs(std::move(member.as_map())));
    } else {
      for (const auto& [key, text] : member.as_map()) {
        if (text.kind() == Value::Kind::kString) {
          add_label(key, text.as_string());
        } else {
          problem(errors::kLabelInvalid, fmt::format("the label '{}' is not a text", key),
                  "/labels/" + key);
        }
      }
    }
  }
  for (const InputDecl& input : graph_->inputs) {
    const auto found = given_.find(input.name);
    if (found == given_.end() || !is_blob_like(input.type)) continue;
    convert_blobs(input, input.type, pointer_of(input.name), {}, &found->second, charge);
  }
  return {};
}

void Submission::finish_raw() {
  const InputDecl* input = raw_input();
  CHECK(input != nullptr);
  given_[input->name] =
      blob_of(*input, pointer_of(input->name), uploads_[0]->take(), declared_type_);
}

void Submission::convert_blobs(const InputDecl& input, const Type& type, const std::string& pointer,
                               std::vector<size_t> path, Value* value, Charge* charge) {
  if (type.is_blob()) {
    convert_blob(input, pointer, path, value, charge);
    return;
  }
  if (type.kind == Type::Kind::kList && value->kind() == Value::Kind::kList) {
    path.push_back(0);
    for (size_t i = 0; i < value->as_list().size(); i++) {
      path.back() = i;
      convert_blobs(input, *type.element, fmt::format("{}/{}", pointer, i), path,
                    &value->as_list()[i], charge);
    }
  }
}

// {"blob":"sha256:…"} or {"base64":"…","media_type":"…"}; anything else is left for bind_inputs to
// refuse.
bool Submission::convert_blob(const InputDecl& input, const std::string& pointer,
                              const std::vector<size_t>& path, Value* value, Charge* charge) {
  const Value* name = value->find("blob");
  const Value* text = value->find("base64");
  if (name != nullptr && name->kind() == Value::Kind::kString) {
    const auto digest = Digest::parse(name->as_string());
    if (!digest) {
      problem(errors::kInputWrongType, "a blob is named 'sha256:' and 64 hexadecimal digits",
              pointer + "/blob");
      return false;
    }
    places_.push_back({input.name, pointer, path, *digest});
    if (std::find(wanted_.begin(), wanted_.end(), *digest) == wanted_.end()) {
      wanted_.push_back(*digest);
    }
    return true;
  }
  if (text == nullptr || text->kind() != Value::Kind::kString) return false;
  auto bytes = base64_decode(text->as_string());
  if (!bytes) {
    problem(errors::kInputWrongType, "the text is not base64 (RFC 4648, padded)",
            pointer + "/base64");
    return false;
  }
  const Value* declared = value->find("media_type");
  const std::string type = declared != nullptr && declared->kind() == Value::Kind::kString
                               ? media_type_of(declared->as_string())
                               : "";
  *value = blob_of(input, pointer, charge->detach(std::move(*bytes)), type);
  return true;
}

BlobRef Submission::blob_of(const InputDecl& input, const std::string& pointer, Bytes bytes,
                            std::string_view declared) {
  BlobRef blob;
  blob.content = std::make_shared<BlobContent>();
  blob.content->size_bytes = bytes.size();
  const std::string_view sniffed = sniff_image(bytes.view());
  blob.media_type = !sniffed.empty()   ? sniffed
                    : declared.empty() ? std::string_view("application/octet-stream")
                                       : declared;
  // What claims to be an image and is none must not be shown as one later.
  if (sniffed.empty() && declared.starts_with("image/"))
    blob.media_type = "application/octet-stream";
  blob.content->bytes = std::move(bytes);
  check_blob(input, blob_type(input.type), pointer, blob);
  return blob;
}

void Submission::check_blob(const InputDecl& input, const Type& type, const std::string& pointer,
                            const BlobRef& blob) {
  const uint64_t limit = limit_of_input(input, body_bytes_max_);
  if (blob.content->size_bytes > limit) {
    problem(errors::kBodyTooLarge,
            body_too_large(*graph_, input.name, blob.content->size_bytes, limit).message(),
            pointer);
    return;
  }
  const bool image = !sniff_image(blob.content->bytes.view()).empty();
  std::string accepted;
  for (const std::string& media : input.media) accepted += (accepted.empty() ? "" : ", ") + media;
  if (type.kind == Type::Kind::kImage && !image) {
    problem(errors::kNotAnImage,
            fmt::format("the {} bytes for input '{}' do not begin like any image{}{}",
                        blob.content->size_bytes, input.name, accepted.empty() ? "" : "; it takes ",
                        accepted),
            pointer);
    return;
  }
  if (input.media.empty()) return;
  for (const std::string& media : input.media) {
    if (media == blob.media_type) return;
  }
  problem(errors::kNotAnImage,
          fmt::format("the bytes for input '{}' are {}; it takes {}", input.name, blob.media_type,
                      accepted),
          pointer);
}

void Submission::found(const Digest& digest, const Result<Bytes>& bytes) {
  std::shared_ptr<BlobContent> content;
  if (bytes.ok()) {
    content = std::make_shared<BlobContent>();
    content->bytes = *bytes;
    content->size_bytes = bytes->size();
    // The core puts them again, which keeps them from a sweep until a record names them.
  }
  for (const Place& place : places_) {
    if (place.digest != digest) continue;
    if (!bytes.ok()) {
      problem(errors::kBlobUnknown,
              bytes.status().number() == errors::kBlobUnknown
                  ? fmt::format("no blob {} is stored here; upload its bytes first", digest.text())
                  : bytes.status().message(),
              place.pointer + "/blob");
      continue;
    }
    const int index = graph_->input_index(place.input);
    CHECK(index >= 0);
    const InputDecl& input = graph_->inputs[static_cast<size_t>(index)];
    const std::string_view sniffed = sniff_image(content->bytes.view());
    BlobRef blob;
    blob.content = content;
    blob.media_type = sniffed.empty() ? std::string_view("application/octet-stream") : sniffed;
    check_blob(input, blob_type(input.type), place.pointer, blob);
    *at_path(&given_[place.input], place.path) = std::move(blob);
  }
}

SubmitRequest Submission::submit_request() {
  SubmitRequest request;
  std::vector<InputProblem> found;
  request.inputs = bind_inputs(*graph_, given_, &found);
  for (InputProblem& one : found) {
    const std::string pointer = pointer_of(one.input);
    bool known = false;  // an input that is broken already is not reported as missing too
    for (const ProblemItem& other : problems_) {
      known = known || other.pointer == pointer || other.pointer.starts_with(pointer + "/");
    }
    if (!known) problem(one.number, std::move(one.message), pointer);
  }
  request.graph = graph_;
  request.idempotency_key = std::move(key_);
  request.labels = std::move(labels_);
  return request;
}

}  // namespace millrace
