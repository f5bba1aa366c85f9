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

bool JpegWriter::start() {
  return errors_.guarded([this] {
    jpeg_create_compress(&target_);
    target_.dest = &output_;
    target_.image_width = static_cast<JDIMENSION>(shape_.width);
    target_.image_height = static_cast<JDIMENSION>(shape_.height);
    target_.input_components = shape_.bands;
    target_.in_color_space = shape_.bands == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&target_);
    target_.optimize_coding = TRUE;
    jpeg_set_quality(&target_, shape_.quality, TRUE);
    if (shape_.progressive) jpeg_simple_progression(&target_);
    for (int i = 0; i < shape_.bands && shape_.quality >= kWholeColoursQuality; ++i) {
      target_.comp_info[i].h_samp_factor = 1;
      target_.comp_info[i].v_samp_factor = 1;
    }
    target_.write_JFIF_header = FALSE;  // EXIF says the same, and readers want one of them
    jpeg_start_compress(&target_, TRUE);
  });
}

bool JpegWriter::add(const uint8_t* const* rows, int count) {
  return errors_.guarded([this, rows, count] {
    auto* next = const_cast<JSAMPARRAY>(rows);
    jpeg_write_scanlines(&target_, next, static_cast<JDIMENSION>(count));
  });
}

bool JpegWriter::finish() {
  return errors_.guarded([this] { jpeg_finish_compress(&target_); });
}

}  // namespace millrace
