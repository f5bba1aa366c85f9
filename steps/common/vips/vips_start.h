// Starting libvips in a plugin: everything that could read or write a format is blocked, then a
// short named list is opened.
//
// Debian's libvips loads PDF, SVG, Matlab, FITS and all that ImageMagick knows, and picks the
// loader by the bytes: a list of file types is no defence. So nothing here ever lets libvips
// choose: steps recognise the format themselves and call the one loader by name.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace millrace {

// For mr_plugin.load: initialises libvips (once per process, whoever comes first), blocks, opens
// the list, switches the cache and the worker pool down, and proves by looking at every class that
// exactly the list is open. Runs no operation: a child forked after one would hang at its first.
// [the process's only thread] Returns 0; else -1 and a sentence in `error`.
int start_vips(char* error, size_t error_size);

// The loaders and savers that are open now, by class name, sorted. [any]
std::vector<std::string> open_vips_codecs();

// The list that start_vips() opens, sorted.
std::vector<std::string> allowed_vips_codecs();

// What libvips last complained about, on one line, and clears its (global) buffer.
std::string take_vips_error();

}  // namespace millrace
