#include "bench/limits_image.h"

#include <vips/vips.h>

#include <cstdio>
#include <cstdlib>
#include <vector>
extern "C" {
#include <jpeglib.h>
}

namespace millrace {
namespace {

constexpr int kQuality = 80;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "limit: %s\n", what);
  std::exit(1);
}

void on_error(j_common_ptr info) {
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  die(text);
}

// Both structs, opened on a photograph and a growing buffer.
struct Transcoder {
  jpeg_error_mgr errors = {};
  jpeg_decompress_struct source = {};
  jpeg_compress_struct target = {};
  unsigned char* out = nullptr;
  unsigned long size = 0;

  explicit Transcoder(const std::string& photo) {
    source.err = target.err = jpeg_std_error(&errors);
    errors.error_exit = on_error;
    jpeg_create_decompress(&source);
    jpeg_create_compress(&target);
    jpeg_mem_src(&source, reinterpret_cast<const unsigned char*>(photo.data()), photo.size());
    jpeg_read_header(&source, TRUE);
    jpeg_mem_dest(&target, &out, &size);
  }
  ~Transcoder() {
    jpeg_destroy_compress(&target);
    jpeg_destroy_decompress(&source);
    std::free(out);
  }
};

}  // namespace

void limit_coefficient_transform(const std::string& photo) {
  Transcoder jpeg(photo);
  jvirt_barray_ptr* coefficients = jpeg_read_coefficients(&jpeg.source);
  jpeg_copy_critical_parameters(&jpeg.source, &jpeg.target);
  jpeg_set_colorspace(&jpeg.target, JCS_GRAYSCALE);
  jpeg_write_coefficients(&jpeg.target, coefficients);
  jpeg_finish_compress(&jpeg.target);
  jpeg_finish_decompress(&jpeg.source);
}

void limit_luma_plane(const std::string& photo) {
  Transcoder jpeg(photo);
  jpeg.source.out_color_space = JCS_GRAYSCALE;
  jpeg_start_decompress(&jpeg.source);
  jpeg.target.image_width = jpeg.source.output_width;
  jpeg.target.image_height = jpeg.source.output_height;
  jpeg.target.input_components = 1;
  jpeg.target.in_color_space = JCS_GRAYSCALE;
  jpeg_set_defaults(&jpeg.target);
  jpeg_set_quality(&jpeg.target, kQuality, TRUE);
  jpeg_start_compress(&jpeg.target, TRUE);
  std::vector<JSAMPLE> row(jpeg.source.output_width);
  JSAMPROW rows[1] = {row.data()};
  while (jpeg.source.output_scanline < jpeg.source.output_height) {
    jpeg_read_scanlines(&jpeg.source, rows, 1);
    jpeg_write_scanlines(&jpeg.target, rows, 1);
  }
  jpeg_finish_compress(&jpeg.target);
  jpeg_finish_decompress(&jpeg.source);
}

void limit_vips_gray(const std::string& photo) {
  static const bool started = [] {
    if (vips_init("limit") != 0) die("libvips does not start");
    vips_cache_set_max(0);
    vips_concurrency_set(1);
    return true;
  }();
  (void)started;
  VipsImage *in = nullptr, *gray = nullptr;
  void* out = nullptr;
  size_t size = 0;
  const bool ok =
      vips_jpegload_buffer(const_cast<char*>(photo.data()), photo.size(), &in, "access",
                           VIPS_ACCESS_SEQUENTIAL, nullptr) == 0 &&
      vips_colourspace(in, &gray, VIPS_INTERPRETATION_B_W, nullptr) == 0 &&
      vips_jpegsave_buffer(gray, &out, &size, "Q", kQuality, "strip", TRUE, nullptr) == 0;
  if (!ok) die(vips_error_buffer());
  g_free(out);
  g_object_unref(gray);
  g_object_unref(in);
}

}  // namespace millrace
