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

bool JpegReader::guarded(void (*body)(JpegReader*)) {
  if (setjmp(errors_.jump) != 0) return false;
  body(this);
  return true;
}

bool JpegReader::start() {
  return guarded([](JpegReader* self) {
    jpeg_decompress_struct* source = &self->source_;
    jpeg_create_decompress(source);
    source->src = &self->input_;
    jpeg_read_header(source, TRUE);
    source->scale_num = 1;
    source->scale_denom = static_cast<unsigned>(self->shrink_);
    jpeg_start_decompress(source);
  });
}

bool JpegReader::read(uint8_t* const* rows, int count) {
  rows_ = rows;
  count_ = count;
  return guarded([](JpegReader* self) {
    auto* next = const_cast<JSAMPARRAY>(self->rows_);
    for (auto left = static_cast<JDIMENSION>(self->count_); left > 0;) {
      const JDIMENSION got = jpeg_read_scanlines(&self->source_, next, left);
      next += got;
      left -= got;
    }
  });
}

}  // namespace millrace
