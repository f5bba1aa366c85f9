#include "steps/common/jpeg_pixels/jpeg_writer.h"

#include <new>

extern "C" {
#include <jerror.h>
}

namespace millrace {
namespace {

constexpr int kWholeColoursQuality = 90;  // from here on colours are as fine as light

// Nothing may be thrown through libjpeg.
bool append(std::string* file, const JOCTET* bytes, size_t size) {
  try {
    file->append(reinterpret_cast<const char*>(bytes), size);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

JpegWriter::JpegWriter(const JpegShape& shape, std::string* file) : target_(), shape_(shape) {
  target_.err = &errors_.manager;
  target_.client_data = &errors_;
  output_.init_destination = begin_buffer;
  output_.empty_output_buffer = flush_buffer;
  output_.term_destination = flush_rest;
  output_.file = file;
}

// A struct that was never created has a null memory manager, which jpeg_destroy() passes over.
JpegWriter::~JpegWriter() {
  jpeg_destroy_compress(&target_);
}

void JpegWriter::begin_buffer(j_compress_ptr target) {
  auto* output = static_cast<Output*>(target->dest);
  output->next_output_byte = output->buffer;
  output->free_in_buffer = sizeof output->buffer;
}

boolean JpegWriter::flush_buffer(j_compress_ptr target) {
  auto* output = static_cast<Output*>(target->dest);
  if (!append(output->file, output->buffer, sizeof output->buffer)) {
    ERREXIT1(target, JERR_OUT_OF_MEMORY, 0);
  }
  begin_buffer(target);
  return TRUE;
}

void JpegWriter::flush_rest(j_compress_ptr target) {
  auto* output = static_cast<Output*>(target->dest);
  if (!append(output->file, output->buffer, sizeof output->buffer - output->free_in_buffer)) {
    ERREXIT1(target, JERR_OUT_OF_MEMORY, 0);
  }
}

bool JpegWriter::guarded(void (*body)(JpegWriter*)) {
  if (setjmp(errors_.jump) != 0) return false;
  body(this);
  return true;
}

bool JpegWriter::start() {
  return guarded([](JpegWriter* self) {
    jpeg_compress_struct* target = &self->target_;
    const JpegShape& shape = self->shape_;
    jpeg_create_compress(target);
    target->dest = &self->output_;
    target->image_width = static_cast<JDIMENSION>(shape.width);
    target->image_height = static_cast<JDIMENSION>(shape.height);
    target->input_components = shape.bands;
    target->in_color_space = shape.bands == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(target);
    target->optimize_coding = TRUE;
    jpeg_set_quality(target, shape.quality, TRUE);
    if (shape.progressive) jpeg_simple_progression(target);
    for (int i = 0; i < shape.bands && shape.quality >= kWholeColoursQuality; ++i) {
      target->comp_info[i].h_samp_factor = 1;
      target->comp_info[i].v_samp_factor = 1;
    }
    target->write_JFIF_header = FALSE;  // EXIF says the same, and readers want one of them
    jpeg_start_compress(target, TRUE);
  });
}

bool JpegWriter::add(const uint8_t* const* rows, int count) {
  rows_ = rows;
  count_ = count;
  return guarded([](JpegWriter* self) {
    auto* next = const_cast<JSAMPARRAY>(self->rows_);
    jpeg_write_scanlines(&self->target_, next, static_cast<JDIMENSION>(self->count_));
  });
}

bool JpegWriter::finish() {
  return guarded([](JpegWriter* self) { jpeg_finish_compress(&self->target_); });
}

}  // namespace millrace
