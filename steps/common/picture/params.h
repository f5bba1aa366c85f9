// Params: the checked parameters of one operation, whether a pipeline gave them to a step of its
// own or a list of operations gave them as JSON.
//
// The declaration (mr_port) is the only source of names, types, defaults and bounds in both cases.
// A name that was not declared is a bug of the plugin.
#pragma once

#include <string>
#include <vector>

#include "engine/abi/step.h"
#include "steps/common/image_header.h"
#include "steps/common/image_step.h"

namespace millrace {

struct ParamValue {
  uint32_t kind = MR_VALUE_ABSENT;
  int64_t i = 0;
  double d = 0;
  std::string text;
  bool given = false;  // not a default
};

class Params {
 public:
  // Every value absent or its declared default.
  explicit Params(Ports ports);
  // What the host passed for these ports, which it has checked; `values` is the first of them.
  Params(Ports ports, const mr_value* values);

  bool has(const char* name) const { return find(name).kind != MR_VALUE_ABSENT; }
  bool given(const char* name) const { return find(name).given; }
  int64_t integer(const char* name, int64_t otherwise = 0) const;
  double number(const char* name, double otherwise = 0) const;
  bool flag(const char* name, bool otherwise = false) const;
  std::string text(const char* name, const char* otherwise = "") const;

  // Sets a value that came as JSON, checked against type and bounds. BadParameter: says what is
  // taken. `kind` is an MR_VALUE_…; `where` begins the sentence, such as "operations[2] (resize)".
  Problem set(const std::string& where, const std::string& name, ParamValue value);

 private:
  const ParamValue& find(const char* name) const;
  Ports ports_;
  std::vector<ParamValue> values_;
};

// #rgb or #rrggbb. False: it is neither.
bool parse_colour(const std::string& text, uint8_t colour[3]);

Problem bad_parameter(std::string message);

}  // namespace millrace
