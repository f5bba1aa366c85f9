// The JSON Schema of pipeline files, for editors. Generated from a catalogue, so that `with` knows
// every step's ports.
//
// It says less than parse_pipeline (no references, no expressions); what it refuses, parse_pipeline
// refuses too.
#pragma once

#include "engine/base/value.h"
#include "engine/pipeline/catalogue.h"

namespace millrace {

Value pipeline_json_schema(const Catalogue& catalogue);  // JSON Schema draft 2020-12. [any]

}  // namespace millrace
