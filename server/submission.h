// Submission: one request to start a job, from its body to what the runtime is given.
//
// Reads a body in one of its forms (multipart, JSON, raw bytes), types every input by its
// declaration, looks at the magic bytes of images, and collects all problems with pointers. It
// knows nothing of answers. Thread: loop.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/runtime/runtime.h"
#include "server/http/exchange.h"
#include "server/http/problem.h"
#include "server/http/text.h"
#include "server/multipart.h"
#include "server/upload.h"

namespace millrace {

class Submission final : public BodySink {
 public:
  enum class Form : uint8_t { kMultipart, kJson, kRaw, kNothing };

  explicit Submission(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)) {}

  // Looks at the head: Content-Type, Idempotency-Key, the query. What it returns ends the request.
  // The runtime and the exchange outlive its body.
  Status begin(Exchange* exchange, Runtime* runtime);
  Status write(std::string_view data) override;
  bool ready() const override { return uploads_.empty() || uploads_.back()->ready(); }
  bool spill() override;
  // The body is complete; `done` hears, perhaps inside the call, when all uploads can be read, or
  // why not. Until then the Submission must live.
  void finish_uploads(std::function<void(const Status&)> done);
  // Then: inputs are typed, uploads become blobs.
  Status finish(Charge* charge);

  // Instead of begin() to finish(): inputs of the command line, as text and as whole files.
  struct Field {
    std::string name;
    std::string text;
  };
  void take(const std::vector<Field>& texts, std::vector<Field> files, Charge* charge);

  // Blobs that the request names by digest. Each is given by found() before submit_request().
  const std::vector<Digest>& wanted() const { return wanted_; }
  void found(const Digest& digest, const Result<Bytes>& bytes);

  // Binds the inputs. With problems(), the result is not to be used.
  SubmitRequest submit_request();
  const std::vector<ProblemItem>& problems() const { return problems_; }

 private:
  struct Place {  // where a blob that is not here yet will stand
    std::string input, pointer;
    std::vector<size_t> path;  // indices into lists
    Digest digest;
  };

  Status read_head(const Request& request);
  Result<uint64_t> begin_part(Part* part, uint64_t bytes_left);
  const std::shared_ptr<Upload>& add_upload(uint64_t bytes_expected);
  Status too_large(const Part& part, uint64_t limit) const;
  Status finish_multipart();
  Status finish_json(Charge* charge);
  void finish_raw();
  const InputDecl* blob_input(std::string_view name) const;  // null: no such input takes a file
  void take_file(const InputDecl& input, Bytes bytes, std::string_view declared);
  void add_text_inputs(const std::vector<Field>& fields);
  void add_label(std::string_view key, std::string_view text);
  void add_label_text(std::string_view text);
  void convert_blobs(const InputDecl& input, const Type& type, const std::string& pointer,
                     std::vector<size_t> path, Value* value, Charge* charge);
  bool convert_blob(const InputDecl& input, const std::string& pointer,
                    const std::vector<size_t>& path, Value* value, Charge* charge);
  BlobRef blob_of(const InputDecl& input, const std::string& pointer, Bytes bytes,
                  std::string_view declared);
  void check_blob(const InputDecl& input, const Type& type, const std::string& pointer,
                  const BlobRef& blob);
  Status take_inputs(Value::Map inputs);
  void problem(int number, std::string detail, std::string pointer);
  const InputDecl* raw_input() const;  // the one required blob input; null: none or several

  std::shared_ptr<const Graph> graph_;
  Runtime* runtime_ = nullptr;
  Charge* charge_ = nullptr;
  Form form_ = Form::kNothing;
  bool spilling_ = false;
  std::string key_, declared_type_, body_;
  QueryParams query_;
  std::unique_ptr<MultipartReader> multipart_;
  std::vector<std::shared_ptr<Upload>> uploads_;  // in the order of their parts
  uint64_t raw_limit_ = 0, body_bytes_max_ = 0;
  Value::Map given_;
  std::map<std::string, std::string> labels_;
  std::vector<ProblemItem> problems_;
  std::vector<Digest> wanted_;
  std::vector<Place> places_;
};

// E017 when the text has more values than any job holds: asked before it is read as JSON. [any]
Status check_marks(std::string_view json);
std::string pointer_of(std::string_view input);  // JSON pointer into the request. [any]

}  // namespace millrace
