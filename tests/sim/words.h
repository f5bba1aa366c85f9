// What clients send and what steps make, as words of a trace line. It depends only on what they are
// given, as a good client's and a good step's should.
#pragma once

#include <string>

#include "engine/core/core.h"

namespace millrace::sim {

std::string upload_bytes(const Graph& graph, int variant);
// Each input of the pipeline, led by a space.
std::string input_words(const Graph& graph, int variant);
// Each output of a step that succeeds, led by a space.
std::string output_words(const StartStep& start);
std::string salt_words(const Salt& salt);

}  // namespace millrace::sim
