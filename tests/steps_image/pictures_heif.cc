// AVIF and HEIC for tests: coded and decoded by libheif, which the steps do not read with; the
// container around what was coded is made here.
#include <libheif/heif.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {
namespace {

template <typename Object>
using Owned = std::unique_ptr<Object, void (*)(Object*)>;

void must(const heif_error& error) {
  if (error.code == heif_error_Ok) return;
  std::fprintf(stderr, "libheif: %s\n", error.message);
  std::abort();
}

std::string number(uint64_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
  return out;
}

std::string box(const std::string& type, const std::string& payload) {
  return number(payload.size() + 8, 4) + type + payload;
}

std::string full_box(const std::string& type, const std::string& payload, uint32_t head = 0) {
  return box(type, number(head, 4) + payload);
}

// ---- coding

// What an encoder made of a picture: its bytes, and what a decoder is configured with.
struct Coded {
  std::string config, data;
};

heif_error append(heif_context*, const void* data, size_t size, void* file) {
  static_cast<std::string*>(file)->append(static_cast<const char*>(data), size);
  return {heif_error_Ok, heif_suberror_Unspecified, ""};
}

// The box of this type, wherever it is; with its header.
std::string find_box(const std::string& file, const std::string& type) {
  const size_t at = file.find(type);
  if (at == std::string::npos || at < 4) return "";
  size_t size = 0;
  for (size_t i = at - 4; i < at; ++i) size = size << 8 | static_cast<uint8_t>(file[i]);
  return file.substr(at - 4, size);
}

// Gray or RGB.
Owned<heif_image> to_image(const Picture& picture, int bits) {
  const bool gray = picture.bands == 1, wide = bits > 8;
  heif_image* made = nullptr;
  const auto width = static_cast<int>(picture.width), height = static_cast<int>(picture.height);
  const heif_chroma chroma = gray   ? heif_chroma_monochrome
                             : wide ? heif_chroma_interleaved_RRGGBB_LE
                                    : heif_chroma_interleaved_RGB;
  must(heif_image_create(width, height, gray ? heif_colorspace_monochrome : heif_colorspace_RGB,
                         chroma, &made));
  Owned<heif_image> image(made, [](heif_image* one) { heif_image_release(one); });
  const heif_channel channel = gray ? heif_channel_Y : heif_channel_interleaved;
  must(heif_image_add_plane(made, channel, width, height, bits));
  int stride = 0;
  uint8_t* plane = heif_image_get_plane(made, channel, &stride);
  const size_t count = picture.width * static_cast<size_t>(picture.bands);
  for (size_t y = 0; y < picture.height; ++y) {
    for (size_t i = 0; i < count; ++i) {
      const uint16_t sample = picture.samples[y * count + i];
      uint8_t* out = plane + y * static_cast<size_t>(stride) + i * (wide ? 2 : 1);
      const int value = wide ? sample >> (16 - bits) : sample;
      out[0] = static_cast<uint8_t>(value);
      if (wide) out[1] = static_cast<uint8_t>(value >> 8);
    }
  }
  return image;
}

Owned<heif_color_profile_nclx> nclx_of(const HeifStyle& style) {
  Owned<heif_color_profile_nclx> nclx(heif_nclx_color_profile_alloc(),
                                      heif_nclx_color_profile_free);
  nclx->color_primaries = static_cast<heif_color_primaries>(style.primaries);
  nclx->transfer_characteristics = static_cast<heif_transfer_characteristics>(style.transfer);
  nclx->matrix_coefficients =
      static_cast<heif_matrix_coefficients>(style.quality == 0 ? 0 : style.matrix);
  nclx->full_range_flag = style.full_range ? 1 : 0;
  return nclx;
}

Coded code(const Picture& picture, const HeifStyle& style) {
  const Owned<heif_image> image = to_image(picture, style.bits);
  const Owned<heif_context> context(heif_context_alloc(), heif_context_free);
  heif_encoder* made = nullptr;
  must(heif_context_get_encoder_for_format(
      context.get(), style.hevc ? heif_compression_HEVC : heif_compression_AV1, &made));
  const Owned<heif_encoder> encoder(made, heif_encoder_release);
  must(heif_encoder_set_lossless(made, style.quality == 0 ? 1 : 0));
  if (style.quality > 0) must(heif_encoder_set_lossy_quality(made, style.quality));
  const bool gray = picture.bands == 1;
  heif_encoder_set_parameter_string(made, "chroma",
                                    style.quality == 0 && !gray ? "444" : style.chroma);
  if (!style.hevc) {
    must(heif_encoder_set_parameter_integer(made, "speed", 8));
    must(heif_encoder_set_parameter_integer(made, "threads", 1));
  } else {
    heif_encoder_set_parameter_string(made, "preset", "ultrafast");
  }
  const Owned<heif_color_profile_nclx> nclx = nclx_of(style);
  const Owned<heif_encoding_options> options(heif_encoding_options_alloc(),
                                             heif_encoding_options_free);
  if (!gray) options->output_nclx_profile = nclx.get();
  must(heif_image_set_nclx_color_profile(image.get(), nclx.get()));
  must(heif_context_encode_image(context.get(), image.get(), made, options.get(), nullptr));
  std::string file;
  heif_writer writer = {1, append};
  must(heif_context_write(context.get(), &writer, &file));
  return {find_box(file, style.hevc ? "hvcC" : "av1C"), find_box(file, "mdat").substr(8)};
}

// ---- the container

struct Item {
  std::string type, data, content_type;
  std::vector<std::string> properties;
};

class Builder {
 public:
  explicit Builder(const HeifStyle& style) : style_(style) {}

  uint32_t add(Item item) {
    items_.push_back(std::move(item));
    return static_cast<uint32_t>(items_.size());
  }
  void refer(const std::string& type, uint32_t from, const std::vector<uint32_t>& to) {
    std::string payload = number(from, 2) + number(to.size(), 2);
    for (const uint32_t one : to) payload += number(one, 2);
    references_ += box(type, payload);
  }

  std::string file(uint32_t primary) const {
    const std::string brand = style_.brand.empty() ? (style_.hevc ? "heic" : "avif") : style_.brand;
    const std::string head = box("ftyp", brand + number(0, 4) + brand + "mif1miaf");
    // The places depend on the size of `meta`, which does not depend on them.
    const size_t size = meta(primary, 0).size();
    std::string data;
    for (const Item& item : items_) data += item.data;
    if (style_.in_idat) return head + meta(primary, 0);
    return head + meta(primary, head.size() + size + 8) + box("mdat", data);
  }

 private:
  std::string meta(uint32_t primary, uint64_t start) const {
    std::string infos, places, idat;
    for (size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      std::string info = number(i + 1, 2) + number(0, 2) + item.type + std::string(1, '\0');
      if (item.type == "mime") info += item.content_type + std::string(1, '\0');
      infos += full_box("infe", info, 2u << 24);
      const uint64_t size = item.data.size(), half = style_.split ? size / 2 : size;
      places += number(i + 1, 2) + number(style_.in_idat ? 1 : 0, 2) + number(0, 2) +
                number(half < size ? 2 : 1, 2) + number(start, 4) + number(half, 4);
      if (half < size) places += number(start + half, 4) + number(size - half, 4);
      start += size;
      idat += item.data;
    }
    std::string payload =
        full_box("hdlr", number(0, 4) + "pict" + std::string(13, '\0')) +
        full_box("pitm", number(primary, 2)) + full_box("iinf", number(items_.size(), 2) + infos) +
        full_box("iloc", number(0x4400, 2) + number(items_.size(), 2) + places, 1u << 24);
    if (!references_.empty()) payload += full_box("iref", references_);
    payload += box("iprp", properties());
    if (style_.in_idat) payload += box("idat", idat);
    return full_box("meta", payload);
  }

  std::string properties() const {
    std::string container, associations;
    uint64_t count = 0;
    for (size_t i = 0; i < items_.size(); ++i) {
      associations += number(i + 1, 2) + number(items_[i].properties.size(), 1);
      for (const std::string& property : items_[i].properties) {
        container += property;
        associations += number(0x8000 | ++count, 2);
      }
    }
    return box("ipco", container) + full_box("ipma", number(items_.size(), 4) + associations, 1);
  }

  const HeifStyle& style_;
  std::vector<Item> items_;
  std::string references_;
};

std::string size_box(uint32_t width, uint32_t height) {
  return full_box("ispe", number(width, 4) + number(height, 4));
}

Picture part_of(const Picture& picture, uint32_t left, uint32_t top, uint32_t width,
                uint32_t height, int first, int bands) {
  Picture part = make_picture(width, height, bands, picture.bits, [&](int x, int y, int band) {
    return int{picture.at(std::min(left + static_cast<uint32_t>(x), picture.width - 1),
                          std::min(top + static_cast<uint32_t>(y), picture.height - 1),
                          first + band)};
  });
  return part;
}

std::vector<std::string> seen_properties(const Picture& picture, const HeifStyle& style) {
  std::vector<std::string> list;
  if (style.crop > 0) {
    // The middle of what stays lies half of what goes to the left of the picture's middle.
    const std::string less =
        number(static_cast<uint32_t>(-static_cast<int32_t>(style.crop)), 4) + number(2, 4);
    list.push_back(box("clap", number(picture.width - style.crop, 4) + number(1, 4) +
                                   number(picture.height - style.crop, 4) + number(1, 4) + less +
                                   less));
  }
  // Quarters against the clock, then a mirror of left and right.
  constexpr struct {
    int quarters;
    bool mirror;
  } kTurns[] = {{0, false}, {0, true},  {2, false}, {2, true},
                {3, true},  {3, false}, {1, true},  {1, false}};
  const auto& turn = kTurns[style.orientation - 1];
  if (turn.quarters > 0)
    list.push_back(box("irot", number(static_cast<uint64_t>(turn.quarters), 1)));
  if (turn.mirror) list.push_back(box("imir", number(1, 1)));
  return list;
}

// The bands from `first` on, as one item or a grid of them.
uint32_t add_layer(Builder* builder, const Picture& picture, const HeifStyle& style, int first,
                   int bands, const std::vector<std::string>& more) {
  const std::string type = style.hevc ? "hvc1" : "av01";
  const auto side = [](uint32_t whole, uint32_t parts) {
    return parts == 1 ? whole : (whole + parts - 1) / parts + ((whole + parts - 1) / parts) % 2;
  };
  const uint32_t width = side(picture.width, style.columns),
                 height = side(picture.height, style.rows);
  std::vector<uint32_t> tiles;
  const bool grid = style.columns * style.rows > 1;
  for (uint32_t i = 0; i < style.columns * style.rows; ++i) {
    const Coded coded = code(part_of(picture, i % style.columns * width, i / style.columns * height,
                                     width, height, first, bands),
                             style);
    Item item = {type, coded.data, "", {coded.config, size_box(width, height)}};
    if (!grid || (style.alpha_of_tiles && first > 0)) {
      item.properties.insert(item.properties.end(), more.begin(), more.end());
    }
    tiles.push_back(builder->add(std::move(item)));
  }
  if (!grid) return tiles[0];
  Item whole = {"grid",
                std::string(2, '\0') + number(style.rows - 1, 1) + number(style.columns - 1, 1) +
                    number(picture.width, 2) + number(picture.height, 2),
                "",
                {size_box(picture.width, picture.height)}};
  whole.properties.insert(whole.properties.end(), more.begin(), more.end());
  const uint32_t id = builder->add(std::move(whole));
  builder->refer("dimg", id, tiles);
  return id;
}

}  // namespace

std::string encode_heif(const Picture& picture, const HeifStyle& style) {
  Builder builder(style);
  std::vector<std::string> more = seen_properties(picture, style);
  const int colours = picture.bands < 3 ? 1 : 3;
  if (style.say_colour) {
    more.push_back(
        box("colr",
            "nclx" + number(static_cast<uint64_t>(style.primaries), 2) +
                number(static_cast<uint64_t>(style.transfer), 2) +
                number(style.quality == 0 && colours == 3 ? 0 : static_cast<uint64_t>(style.matrix),
                       2) +
                number(style.full_range ? 0x80 : 0, 1)));
  }
  if (!style.icc.empty()) more.push_back(box("colr", "prof" + style.icc));
  const uint32_t primary = add_layer(&builder, picture, style, 0, colours, more);
  if (picture.bands % 2 == 0) {
    std::vector<std::string> kind = seen_properties(picture, style);
    kind.push_back(full_box(
        "auxC", std::string("urn:mpeg:mpegB:cicp:systems:auxiliary:alpha") + std::string(1, '\0')));
    HeifStyle plain = style;
    plain.full_range = true;
    const uint32_t alpha = add_layer(&builder, picture, plain, colours, 1, kind);
    if (style.alpha_of_tiles) {  // tiles stand before their grid
      for (uint32_t i = 1; i <= style.columns * style.rows; ++i) {
        builder.refer("auxl", alpha - i, {primary - i});
      }
    } else {
      builder.refer("auxl", alpha, {primary});
    }
    if (style.premultiplied) builder.refer("prem", primary, {alpha});
  }
  if (!style.exif.empty()) {
    const uint32_t exif =
        builder.add({"Exif", number(6, 4) + std::string("Exif\0\0", 6) + style.exif, "", {}});
    builder.refer("cdsc", exif, {primary});
  }
  if (!style.xmp.empty()) {
    const uint32_t xmp = builder.add({"mime", style.xmp, "application/rdf+xml", {}});
    builder.refer("cdsc", xmp, {primary});
  }
  return builder.file(primary);
}

Picture decode_heif(const std::string& bytes) {
  Picture picture;
  const Owned<heif_context> context(heif_context_alloc(), heif_context_free);
  heif_image_handle* found = nullptr;
  heif_image* made = nullptr;
  heif_error error = heif_context_read_from_memory_without_copy(context.get(), bytes.data(),
                                                                bytes.size(), nullptr);
  if (error.code == heif_error_Ok) {
    error = heif_context_get_primary_image_handle(context.get(), &found);
  }
  const Owned<heif_image_handle> handle(
      found, [](heif_image_handle* one) { heif_image_handle_release(one); });
  const bool alpha = found != nullptr && heif_image_handle_has_alpha_channel(found) != 0;
  const int bits = found == nullptr ? 8 : heif_image_handle_get_luma_bits_per_pixel(found);
  const bool wide = bits > 8;
  const heif_chroma chroma =
      wide ? (alpha ? heif_chroma_interleaved_RRGGBBAA_LE : heif_chroma_interleaved_RRGGBB_LE)
           : (alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB);
  if (error.code == heif_error_Ok) {
    error = heif_decode_image(found, &made, heif_colorspace_RGB, chroma, nullptr);
  }
  const Owned<heif_image> image(made, [](heif_image* one) { heif_image_release(one); });
  if (error.code != heif_error_Ok) {
    std::fprintf(stderr, "libheif: %s\n", error.message);
    return picture;
  }
  picture.bands = alpha ? 4 : 3;
  picture.bits = wide ? 16 : 8;
  picture.width = static_cast<uint32_t>(heif_image_get_primary_width(made));
  picture.height = static_cast<uint32_t>(heif_image_get_primary_height(made));
  int stride = 0;
  const uint8_t* plane = heif_image_get_plane_readonly(made, heif_channel_interleaved, &stride);
  const size_t count = picture.width * static_cast<size_t>(picture.bands);
  for (size_t y = 0; y < picture.height; ++y) {
    const uint8_t* row = plane + y * static_cast<size_t>(stride);
    for (size_t i = 0; i < count; ++i) {
      const int sample = wide ? row[2 * i] | row[2 * i + 1] << 8 : row[i];
      const int top = (1 << bits) - 1;
      picture.samples.push_back(
          static_cast<uint16_t>(wide ? (sample * 65535 + top / 2) / top : sample));
    }
  }
  return picture;
}

}  // namespace millrace::testing
