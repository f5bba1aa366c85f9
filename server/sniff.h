// Sniffing: what bytes are, by their first few. Never what a name or a header says.
#pragma once

#include <string_view>

namespace millrace {

// The media type of the image that `data` begins like; empty when it begins like none. Looks at
// magic bytes only: damage is found by whoever reads the image. [any]
std::string_view sniff_image(std::string_view data);

// Whether browsers may show it in a page of ours: a raster image they decode themselves. [any]
bool is_raster_image(std::string_view media_type);

// The usual extension without a dot; empty when none is known. [any]
std::string_view extension_of(std::string_view media_type);

}  // namespace millrace
