#include "steps/common/jpeg_pixels/jpeg_reader.h"

extern "C" {
#include <jerror.h>
}

namespace millrace {
namespace {

void nothing(j_decompress_ptr) {}

// All bytes are there from the beginning: whoever asks for more is behind their end.
boolean refuse_end(j_decompress_ptr source) {
  ERREXIT(source, JERR_INPUT_EOF);
  return FALSE;
}

boolean make_end(j_decompress_ptr source) {
  static const JOCTET end[2] = {0xFF, JPEG_EOI};
  WARNMS(source, JWRN_JPEG_EOF);
  source->src->next_input_byte = end;
  source->src->bytes_in_buffer = sizeof end;
  return TRUE;
}

void skip(j_decompress_ptr source, long bytes) {
  jpeg_source_mgr* input = source->src;
  auto left = static_cast<size_t>(bytes > 0 ? bytes : 0);
  while (left > input->bytes_in_buffer) {
    left -= input->bytes_in_buffer;
    input->fill_input_buffer(source);
  }
  input->next_input_byte += left;
  input->bytes_in_buffer -= left;
}

}  // namespace

JpegReader::JpegReader(ByteView file, int shrink, bool strict)
    : input_(), source_(), shrink_(shrink) {
  source_.err = &errors_.manager;
  source_.client_data = &errors_;
  input_.next_input_byte = file.data;
  input_.bytes_in_buffer = file.size;
  input_.init_source = nothing;
  input_.fill_input_buffer = strict ? refuse_end : make_end;
  input_.skip_input_data = skip;
  input_.resync_to_restart = jpeg_resync_to_restart;
  input_.term_source = nothing;
}

// A struct that was never created has a null memory manager, which jpeg_destroy() passes over.
JpegReader::~JpegReader() {
  jpeg_destroy_decompress(&source_);
}

bool JpegReader::start() {
  return errors_.guarded([this] {
    jpeg_create_decompress(&source_);
    source_.src = &input_;
    jpeg_read_header(&source_, TRUE);
    source_.scale_num = 1;
    source_.scale_denom = static_cast<unsigned>(shrink_);
    jpeg_start_decompress(&source_);
  });
}

bool JpegReader::read(uint8_t* const* rows, int count) {
  return errors_.guarded([this, rows, count] {
    auto* next = const_cast<JSAMPARRAY>(rows);
    for (auto left = static_cast<JDIMENSION>(count); left > 0;) {
      const JDIMENSION got = jpeg_read_scanlines(&source_, next, left);
      next += got;
      left -= got;
    }
  });
}

}  // namespace millrace
