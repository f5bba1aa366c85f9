#include "steps/metadata/metadata_json.h"

#include <fmt/core.h>

#include <cmath>
#include <string_view>

#include "steps/common/picture/container.h"
#include "steps/common/picture/profile.h"
#include "steps/common/tiff_file.h"

namespace millrace {
namespace {

constexpr size_t kTextMax = 1024;  // bytes of one value that are told

// Text of a file may be anything: what is no ASCII letter becomes '?', unless it is valid UTF-8.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size() && i < kTextMax; ++i) {
    const auto c = static_cast<uint8_t>(text[i]);
    const size_t more = c >= 0xF0 && c < 0xF5 ? 3 : c >= 0xE0 ? 2 : 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += text[i];
    } else if (c < 0x20) {
      out += fmt::format("\\u{:04x}", c);
    } else if (c < 0x80) {
      out += text[i];
    } else {
      bool valid = c >= 0xC2 && c < 0xF5 && i + more < text.size();
      for (size_t k = 1; valid && k <= more; ++k) {
        valid = (static_cast<uint8_t>(text[i + k]) & 0xC0) == 0x80;
      }
      const auto second = valid ? static_cast<uint8_t>(text[i + 1]) : uint8_t{0};
      valid = valid && !(c == 0xE0 && second < 0xA0) && !(c == 0xED && second >= 0xA0) &&
              !(c == 0xF0 && second < 0x90) && !(c == 0xF4 && second >= 0x90);
      out += valid ? text.substr(i, more + 1) : std::string("?");
      if (valid) i += more;
    }
  }
  return out + "\"";
}

class Writer {
 public:
  void text(std::string_view name, const std::string& value) {
    if (!value.empty()) raw(name, quoted(value));
  }
  void number(std::string_view name, int64_t value) { raw(name, fmt::format("{}", value)); }
  void real(std::string_view name, double value) {
    if (std::isfinite(value)) raw(name, fmt::format("{:.8g}", value));
  }
  void flag(std::string_view name, bool value) { raw(name, value ? "true" : "false"); }
  void raw(std::string_view name, const std::string& value) {
    json_ += fmt::format("{}\"{}\":{}", json_.size() > 1 ? "," : "", name, value);
  }
  std::string take() { return json_ + "}"; }
  bool empty() const { return json_.size() == 1; }

 private:
  std::string json_ = "{";
};

class ExifTeller {
 public:
  explicit ExifTeller(ByteView block) : reader_(block) {
    uint64_t next = 0;
    if (!reader_.ok() || !reader_.directory(reader_.first_directory(), 4096, &main_, &next)) return;
    follow(34665, &shot_);
    follow(34853, &place_);
  }

  std::string facts() const {
    Writer json;
    for (const auto& [tag, name] :
         {std::pair(271, "make"), std::pair(272, "model"), std::pair(305, "software"),
          std::pair(306, "date_time"), std::pair(315, "artist"), std::pair(33432, "copyright")}) {
      json.text(name, text(main_, tag));
    }
    for (const auto& [tag, name] :
         {std::pair(36867, "date_time_original"), std::pair(36881, "offset_time_original"),
          std::pair(42036, "lens_model")}) {
      json.text(name, text(shot_, tag));
    }
    for (const auto& [tag, name] : {std::pair(33434, "exposure_time"), std::pair(33437, "f_number"),
                                    std::pair(37386, "focal_length")}) {
      if (find(shot_, tag) != nullptr) json.real(name, rational(shot_, tag, 0));
    }
    for (const auto& [tag, name] : {std::pair(34855, "iso"), std::pair(37385, "flash"),
                                    std::pair(41989, "focal_length_35mm")}) {
      if (const TiffEntry* entry = find(shot_, tag)) {
        json.number(name, static_cast<int64_t>(reader_.value(*entry)));
      }
    }
    return json.empty() ? "" : json.take();
  }

  bool has_location() const { return find(place_, 2) != nullptr && find(place_, 4) != nullptr; }

  std::string location() const {
    Writer json;
    const double south = text(place_, 1) == "S" ? -1 : 1, west = text(place_, 3) == "W" ? -1 : 1;
    json.real("latitude", south * degrees(2));
    json.real("longitude", west * degrees(4));
    if (find(place_, 6) != nullptr) {
      const TiffEntry* below = find(place_, 5);
      const double sign = below != nullptr && reader_.value(*below) == 1 ? -1 : 1;
      json.real("altitude", sign * rational(place_, 6, 0));
    }
    return json.take();
  }

 private:
  using Entries = std::vector<TiffEntry>;

  void follow(uint16_t tag, Entries* entries) {
    uint64_t next = 0;
    const TiffEntry* pointer = find_tag(main_, tag);
    if (pointer != nullptr) reader_.directory(reader_.value(*pointer), 4096, entries, &next);
  }
  const TiffEntry* find(const Entries& entries, int tag) const {
    return find_tag(entries, static_cast<uint16_t>(tag));
  }
  std::string text(const Entries& entries, int tag) const {
    const TiffEntry* entry = find(entries, tag);
    return entry == nullptr ? "" : reader_.text(*entry, kTextMax);
  }
  double rational(const Entries& entries, int tag, uint64_t index) const {
    const TiffEntry* entry = find(entries, tag);
    if (entry == nullptr || !entry->inside || (entry->type != 5 && entry->type != 10) ||
        index >= entry->count) {
      return std::nan("");
    }
    const ByteView file = reader_.file();
    const uint64_t at = entry->at + index * 8;
    const uint32_t over = reader_.little() ? file.le32(at) : file.be32(at);
    const uint32_t under = reader_.little() ? file.le32(at + 4) : file.be32(at + 4);
    if (entry->type == 10)
      return static_cast<int32_t>(over) / static_cast<double>(static_cast<int32_t>(under));
    return over / static_cast<double>(under);
  }
  double degrees(int tag) const {
    return rational(place_, tag, 0) + rational(place_, tag, 1) / 60 +
           rational(place_, tag, 2) / 3600;
  }

  TiffReader reader_;
  Entries main_, shot_, place_;
};

}  // namespace

std::string metadata_json(const PictureJob& job, bool location) {
  const ImageHeader& header = job.header;
  const bool swapped = header.orientation >= 5;
  Writer json;
  json.text("media_type", media_type_of(header.format));
  json.number("bytes", static_cast<int64_t>(job.file.size));
  json.number("width", swapped ? header.height : header.width);
  json.number("height", swapped ? header.width : header.height);
  json.number("orientation", header.orientation);
  json.number("pages", header.pages);
  json.flag("animated", header.animated);
  json.text("colour", colour_name(header.colour));
  json.number("bits", header.bits);
  json.flag("alpha", header.alpha);
  if (header.format == ImageFormat::kJpeg) json.flag("progressive", header.jpeg_process == 2);
  if (header.format == ImageFormat::kWebp) json.flag("lossless", header.webp_lossless);
  const bool tiff = header.format == ImageFormat::kTiff;
  const ExifTeller exif(tiff ? job.file : job.file.sub(header.exif));
  if (const std::string facts = exif.facts(); !facts.empty()) json.raw("exif", facts);
  json.flag("has_location", exif.has_location());
  if (location && exif.has_location()) json.raw("location", exif.location());
  const Extras extras = select_extras(job, Metadata::kKeep, header.orientation);
  json.flag("xmp", !extras.xmp.empty());
  json.flag("iptc", !extras.iptc.empty());
  const ProfileFacts profile = read_profile(job);
  if (!profile.space.empty()) {
    Writer icc;
    icc.text("space", profile.space);
    icc.text("description", profile.description);
    icc.number("bytes", profile.bytes);
    json.raw("profile", icc.take());
  }
  return json.take();
}

}  // namespace millrace
