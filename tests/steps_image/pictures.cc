// Pictures by formula, and JPEG.
#include "tests/steps_image/pictures.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
extern "C" {
#include <jpeglib.h>
}

namespace millrace::testing {

Picture make_picture(uint32_t width, uint32_t height, int bands, int bits,
                     const std::function<int(int, int, int)>& sample) {
  Picture picture{width, height, bands, bits, {}};
  picture.samples.reserve(size_t{width} * height * static_cast<size_t>(bands));
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      for (int band = 0; band < bands; ++band) {
        picture.samples.push_back(
            static_cast<uint16_t>(sample(static_cast<int>(x), static_cast<int>(y), band)));
      }
    }
  }
  return picture;
}

Picture gradient(uint32_t width, uint32_t height, int bands, int bits) {
  const int top = bits == 16 ? 65535 : 255;
  const int w = static_cast<int>(width), h = static_cast<int>(height);
  return make_picture(width, height, bands, bits, [=](int x, int y, int band) {
    const bool alpha = (bands == 4 && band == 3) || (bands == 2 && band == 1);
    if (alpha) return (x + y) * top / (w + h);
    if (band == 0) return x * top / (w > 1 ? w - 1 : 1);
    if (band == 1) return y * top / (h > 1 ? h - 1 : 1);
    return (x * 7 + y * 13) * top / 255 % (top + 1);
  });
}

Picture flat(uint8_t red, uint8_t green, uint8_t blue, uint32_t side) {
  return make_picture(side, side, 3, 8, [=](int, int, int band) {
    return band == 0 ? red : band == 1 ? green : blue;
  });
}

namespace {

void throw_error(j_common_ptr info) {
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  fprintf(stderr, "libjpeg in a test: %s\n", text);
  abort();  // the tests' own files must be good
}

void add_icc(jpeg_compress_struct* jpeg, const std::string& icc) {
  if (!icc.empty()) {
    jpeg_write_icc_profile(jpeg, reinterpret_cast<const JOCTET*>(icc.data()),
                           static_cast<unsigned>(icc.size()));
  }
}

void set_up(jpeg_compress_struct* jpeg, const Picture& picture, const JpegStyle& style) {
  jpeg->image_width = picture.width;
  jpeg->image_height = picture.height;
  jpeg->input_components = picture.bands;
  jpeg->in_color_space = style.cmyk || style.ycck ? JCS_CMYK
                         : picture.bands == 1     ? JCS_GRAYSCALE
                                                  : JCS_RGB;
  jpeg_set_defaults(jpeg);
  if (style.rgb) jpeg_set_colorspace(jpeg, JCS_RGB);
  if (style.ycck) jpeg_set_colorspace(jpeg, JCS_YCCK);
  jpeg_set_quality(jpeg, style.quality, TRUE);
  if (picture.bands == 3 && !style.rgb) {
    jpeg->comp_info[0].h_samp_factor = style.luma_h;
    jpeg->comp_info[0].v_samp_factor = style.luma_v;
  }
  jpeg->restart_interval = static_cast<unsigned>(style.restart);
  jpeg->arith_code = style.arithmetic ? TRUE : FALSE;
  if (style.progressive) jpeg_simple_progression(jpeg);
  if (style.dots_per_inch > 0) {
    jpeg->density_unit = 1;
    jpeg->X_density = jpeg->Y_density = static_cast<UINT16>(style.dots_per_inch);
  }
}

}  // namespace

std::string encode_jpeg(const Picture& picture, const JpegStyle& style) {
  jpeg_compress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = throw_error;
  jpeg_create_compress(&jpeg);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &data, &size);
  set_up(&jpeg, picture, style);
  jpeg_start_compress(&jpeg, TRUE);
  if (!style.exif.empty()) {
    const std::string block = std::string("Exif\0\0", 6) + style.exif;
    jpeg_write_marker(&jpeg, 0xE1, reinterpret_cast<const JOCTET*>(block.data()),
                      static_cast<unsigned>(block.size()));
  }
  add_icc(&jpeg, style.icc);
  for (const auto& [marker, text] : style.markers) {
    jpeg_write_marker(&jpeg, marker, reinterpret_cast<const JOCTET*>(text.data()),
                      static_cast<unsigned>(text.size()));
  }
  const size_t row_samples = size_t{picture.width} * static_cast<size_t>(picture.bands);
  std::vector<JSAMPLE> row(row_samples);
  for (uint32_t y = 0; y < picture.height; ++y) {
    for (size_t i = 0; i < row_samples; ++i) {
      row[i] = static_cast<JSAMPLE>(picture.samples[y * row_samples + i]);
    }
    JSAMPROW rows[1] = {row.data()};
    jpeg_write_scanlines(&jpeg, rows, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string bytes(reinterpret_cast<char*>(data), size);
  jpeg_destroy_compress(&jpeg);
  free(data);
  return bytes;
}

Picture decode_jpeg(const std::string& bytes, int space) {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = throw_error;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = static_cast<J_COLOR_SPACE>(space);
  jpeg_start_decompress(&jpeg);
  Picture picture{jpeg.output_width, jpeg.output_height, jpeg.output_components, 8, {}};
  std::vector<JSAMPLE> row(size_t{jpeg.output_width} * static_cast<size_t>(jpeg.output_components));
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW rows[1] = {row.data()};
    jpeg_read_scanlines(&jpeg, rows, 1);
    picture.samples.insert(picture.samples.end(), row.begin(), row.end());
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return picture;
}

JpegFacts jpeg_facts(const std::string& bytes) {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = throw_error;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  for (int marker = 0xE0; marker <= 0xEF; ++marker) jpeg_save_markers(&jpeg, marker, 0xFFFF);
  jpeg_save_markers(&jpeg, JPEG_COM, 0xFFFF);
  jpeg_read_header(&jpeg, TRUE);
  JpegFacts facts;
  facts.components = jpeg.num_components;
  facts.width = static_cast<int>(jpeg.image_width);
  facts.height = static_cast<int>(jpeg.image_height);
  facts.progressive = jpeg.progressive_mode;
  facts.arithmetic = jpeg.arith_code;
  for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
    facts.markers.emplace_back(
        marker->marker, std::string(reinterpret_cast<char*>(marker->data), marker->data_length));
  }
  jvirt_barray_ptr* arrays = jpeg_read_coefficients(&jpeg);
  const jpeg_component_info& luma = jpeg.comp_info[0];
  std::memcpy(facts.quantisation, luma.quant_table->quantval, sizeof facts.quantisation);
  for (JDIMENSION y = 0; y < luma.height_in_blocks; ++y) {
    JBLOCKARRAY row =
        jpeg.mem->access_virt_barray(reinterpret_cast<j_common_ptr>(&jpeg), arrays[0], y, 1, FALSE);
    for (JDIMENSION x = 0; x < luma.width_in_blocks; ++x) {
      facts.luma_coefficients.insert(facts.luma_coefficients.end(), row[0][x], row[0][x] + 64);
    }
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return facts;
}

}  // namespace millrace::testing
