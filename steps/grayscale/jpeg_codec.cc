#include "steps/grayscale/jpeg_codec.h"

extern "C" {
#include <jerror.h>
}

namespace millrace {
namespace {

JpegCodec* codec_of(j_common_ptr info) {
  return static_cast<JpegCodec*>(info->client_data);
}

Fault fault_of(int code) {
  switch (code) {
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY:
    case JWRN_JPEG_EOF:
      return Fault::kTruncated;
    case JERR_OUT_OF_MEMORY:
      return Fault::kTooLarge;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_SOF_UNSUPPORTED:
      return Fault::kUnsupported;
    default:
      return Fault::kCorrupt;
  }
}

[[noreturn]] void on_error(j_common_ptr info) {
  JpegCodec* codec = codec_of(info);
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  codec->problem.fault = fault_of(info->err->msg_code);
  const bool large = codec->problem.fault == Fault::kTooLarge;
  codec->problem.message = std::string("the JPEG cannot be decoded: ") + text +
                           (large ? "; send a smaller image" : "; send the original again");
  codec->leave();
}

// Stray bytes, odd version numbers and the like are how cameras write; missing picture data is not.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL:
      on_error(info);
    default:
      info->err->num_warnings += 1;
  }
}

void on_output_message(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  const jpeg_progress_mgr* monitor = info->progress;
  const long limit = monitor->pass_limit > 0 ? monitor->pass_limit : 1;
  const long done = monitor->pass_counter < limit ? monitor->pass_counter : limit;
  JpegCodec* codec = codec_of(info);
  if (!codec->job->progress(static_cast<uint32_t>(done * 900 / limit))) codec->leave();
}

void reset_buffer(j_compress_ptr target) {
  target->dest->next_output_byte = codec_of(reinterpret_cast<j_common_ptr>(target))->buffer;
  target->dest->free_in_buffer = sizeof(JpegCodec::buffer);
}

boolean flush_buffer(j_compress_ptr target) {
  JpegCodec* codec = codec_of(reinterpret_cast<j_common_ptr>(target));
  if (!codec->job->write(codec->buffer, sizeof codec->buffer)) codec->leave();
  reset_buffer(target);
  return TRUE;
}

void flush_rest(j_compress_ptr target) {
  JpegCodec* codec = codec_of(reinterpret_cast<j_common_ptr>(target));
  const size_t size = sizeof codec->buffer - target->dest->free_in_buffer;
  if (!codec->job->write(codec->buffer, size)) codec->leave();
}

}  // namespace

JpegCodec::JpegCodec(Job* job_of_step)
    : job(job_of_step), errors(), monitor(), destination(), source(), target() {
  source.err = target.err = jpeg_std_error(&errors);
  errors.error_exit = on_error;
  errors.emit_message = on_message;
  errors.output_message = on_output_message;
  monitor.progress_monitor = on_progress;
  destination.init_destination = reset_buffer;
  destination.empty_output_buffer = flush_buffer;
  destination.term_destination = flush_rest;
  source.client_data = target.client_data = this;
}

// Structs that were never created have a null memory manager, which jpeg_destroy() passes over.
JpegCodec::~JpegCodec() {
  jpeg_destroy_compress(&target);
  jpeg_destroy_decompress(&source);
}

Problem JpegCodec::guarded(void (*body)(JpegCodec*)) {
  problem = {};
  if (setjmp(jump) == 0) body(this);
  return problem;
}

}  // namespace millrace
