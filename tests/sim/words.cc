#include "tests/sim/words.h"

#include "engine/base/limits.h"
#include "tests/sim/checkers.h"
#include "tests/sim/machine.h"

namespace millrace::sim {

std::string upload_bytes(const Graph& graph, int variant) {
  return fmt::format("upload of {} {}", graph.name, variant);
}

std::string input_words(const Graph& graph, int variant) {
  std::string words;
  const std::string bytes = upload_bytes(graph, variant);
  for (const InputDecl& input : graph.inputs) {
    if (input.type.is_blob()) {
      if (input.type.optional && variant == 0) {
        words += " -";
      } else {
        words += " " + blob_word(bytes);
      }
    } else if (input.type.kind == Type::Kind::kBool) {
      words += " " + json_word(variant % 2 == 0);
    } else {
      // A list of 0 to 3 elements: expressions fail on the long ones.
      words += " " + json_word(Value(Value::List(static_cast<size_t>(variant), Value(1))));
    }
  }
  return words;
}

std::string output_words(const StartStep& start) {
  const StepNode& node = start.graph->steps[static_cast<size_t>(start.step)];
  const std::string given = given_text(start.with);
  const std::string made = sha256(node.id + given).hex();
  std::string data = " -";
  if (start.with[0].kind() == Value::Kind::kBlob) {
    data = made[0] < '6' ? " f0" : " " + blob_word(node.id + made);
  }
  size_t bytes = 0;
  if (node.id.starts_with("big")) bytes = 20'000;
  if (node.id.starts_with("huge")) bytes = kInlineJsonBytesMax + 100;
  if (node.id.starts_with("fat")) bytes = 15'900;
  if (node.id == "some") bytes = 10'000;  // fills what is left almost
  return data + " " + (bytes > 0 ? long_word(bytes, made[1]) : json_word(made));
}

std::string salt_words(const Salt& salt) {
  return hex({reinterpret_cast<const char*>(salt.data()), salt.size()});
}

}  // namespace millrace::sim
