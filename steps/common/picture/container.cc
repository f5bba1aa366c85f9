#include "steps/common/picture/container.h"

#include <algorithm>

#include "steps/common/crc32.h"
#include "steps/common/exif.h"
#include "steps/common/picture/heif_notes.h"
#include "steps/common/picture/resolution.h"
#include "steps/common/tiff_file.h"
#include "steps/common/webp_file.h"

namespace millrace {
namespace {

constexpr std::string_view kExifMark("Exif\0\0", 6), kIccMark("ICC_PROFILE\0", 12);
constexpr std::string_view kXmpMark("http://ns.adobe.com/xap/1.0/\0", 29);
constexpr std::string_view kPngXmp("XML:com.adobe.xmp\0\0\0\0\0", 22);
constexpr size_t kSegmentMax = 65533, kIccPart = 65519;

void append_be32(std::string* out, uint64_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

// ---- JPEG

void append_segment(std::string* out, uint8_t marker, std::string_view mark,
                    std::string_view payload) {
  const size_t size = mark.size() + payload.size();
  if (payload.empty() || size > kSegmentMax) return;  // what does not fit cannot be carried
  *out += '\xff';
  *out += static_cast<char>(marker);
  *out += static_cast<char>((size + 2) >> 8);
  *out += static_cast<char>(size + 2);
  *out += mark;
  *out += payload;
}

std::string jpeg_extras(const Extras& extras, bool has_profile) {
  std::string out;
  append_segment(&out, 0xE1, kExifMark, extras.exif);
  append_segment(&out, 0xE1, kXmpMark, extras.xmp);
  append_segment(&out, 0xED, "", extras.iptc);
  const size_t parts = (extras.icc.size() + kIccPart - 1) / kIccPart;
  for (size_t i = 0; i < parts && parts <= 255 && !has_profile; ++i) {
    std::string mark(kIccMark);
    mark += static_cast<char>(i + 1);
    mark += static_cast<char>(parts);
    append_segment(&out, 0xE2, mark, std::string_view(extras.icc).substr(i * kIccPart, kIccPart));
  }
  return out;
}

// Behind the end marker that belongs to the scan at `at`: phones put videos and further pictures
// there, with metadata of their own.
uint64_t jpeg_end(ByteView bytes, uint64_t at) {
  while (bytes.has(at, 2)) {
    const uint8_t marker = bytes.u8(at + 1);
    if (bytes.u8(at) != 0xFF || marker == 0xFF || marker == 0 ||
        (marker >= 0xD0 && marker <= 0xD7)) {
      at += bytes.u8(at) == 0xFF && marker != 0xFF ? 2 : 1;  // picture data
    } else if (marker == 0xD9) {
      return at + 2;
    } else {
      at += 2 + uint64_t{bytes.be16(at + 2)};
    }
  }
  return bytes.size;
}

// Whether a frame header's components are what a JFIF segment makes decoders take them for.
bool is_jfif_frame(ByteView bytes, uint64_t at) {
  const uint8_t count = bytes.u8(at + 9);
  return count == 1 ||
         (count == 3 && bytes.u8(at + 10) == 1 && bytes.u8(at + 13) == 2 && bytes.u8(at + 16) == 3);
}

// The JFIF segment, which may not be there, with the resolution where EXIF does not say it.
std::string jfif_segment(std::string before, const Extras& extras, bool may_be_new) {
  const int dots = dots_per_inch(extras.per_mm);
  const bool told = read_exif(view_of(extras.exif)).per_mm > 0;
  if (dots == 0 || told || jfif_density(before) == dots) return before;
  return before.empty() && !may_be_new ? "" : with_density(std::move(before), dots);
}

// Ours stand behind JFIF's segment, or first. All other APPn but Adobe's and profiles go, and
// comments.
std::string replace_jpeg(std::string_view file, const Extras& extras) {
  const ByteView bytes = view_of(file);
  std::string before, kept;
  bool has_profile = false, other_colours = false, jfif_frame = false;
  uint64_t at = 2;
  for (;;) {
    while (bytes.u8(at) == 0xFF && bytes.u8(at + 1) == 0xFF) at += 1;  // fill bytes
    const uint8_t marker = bytes.u8(at + 1);
    const uint64_t size = 2 + uint64_t{bytes.be16(at + 2)};
    if (bytes.u8(at) != 0xFF || marker == 0xDA || !bytes.has(at, size)) break;
    const std::string_view segment = file.substr(at, size);
    const bool application = marker >= 0xE0 && marker <= 0xEF;
    if (marker == 0xEE) other_colours = bytes.u8(at + 15) != 1;  // Adobe's transform: not YCbCr
    if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
      jfif_frame = is_jfif_frame(bytes, at);
    }
    if (marker == 0xE0 && bytes.is(at + 4, "JFIF") && before.empty()) {
      before = segment;
    } else if (marker == 0xE2 && bytes.is(at + 4, kIccMark)) {
      has_profile = true;
      kept += segment;
    } else if ((!application || marker == 0xEE) && marker != 0xFE) {
      kept += segment;
    }
    at += size;
  }
  std::string out("\xff\xd8", 2);
  out += jfif_segment(before, extras, jfif_frame && !other_colours);
  out += jpeg_extras(extras, has_profile);
  out += kept;
  at = std::min<uint64_t>(at, file.size());
  out += file.substr(at, jpeg_end(bytes, at) - at);
  return out;
}

// ---- PNG

void append_png_chunk(std::string* out, std::string_view name, std::string_view data) {
  append_be32(out, data.size());
  const size_t at = out->size();
  out->append(name);
  out->append(data);
  append_be32(out, crc32(reinterpret_cast<const uint8_t*>(out->data()) + at, out->size() - at));
}

// A zlib stream that stores its bytes: profiles are small, and this needs no library.
std::string stored_zlib(std::string_view data) {
  std::string out("\x78\x01", 2);
  uint32_t a = 1, b = 0;
  for (const char c : data) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  for (size_t at = 0; at < data.size();) {
    const size_t size = std::min<size_t>(65535, data.size() - at);
    out += static_cast<char>(at + size == data.size() ? 1 : 0);
    for (const size_t value : {size, ~size}) {
      out += static_cast<char>(value);
      out += static_cast<char>(value >> 8);
    }
    out += data.substr(at, size);
    at += size;
  }
  append_be32(&out, uint64_t{b} << 16 | a);
  return out;
}

void append_png_extras(std::string* out, const Extras& extras, bool has_profile) {
  if (!extras.icc.empty() && !has_profile) {
    append_png_chunk(out, "iCCP", std::string("profile\0\0", 9) + stored_zlib(extras.icc));
  }
  if (!extras.exif.empty()) append_png_chunk(out, "eXIf", extras.exif);
  if (!extras.xmp.empty()) append_png_chunk(out, "iTXt", std::string(kPngXmp) + extras.xmp);
}

// Ours stand behind IHDR.
std::string replace_png(std::string_view file, const Extras& extras) {
  constexpr size_t kHeaderEnd = 8 + 12 + 13;
  const ByteView bytes = view_of(file);
  std::string kept;
  bool has_profile = false;
  for (uint64_t at = kHeaderEnd; bytes.has(at, 12);) {
    const uint64_t whole = 12 + uint64_t{bytes.be32(at)};
    const std::string_view name = file.substr(at + 4, 4);
    const bool drop = name == "eXIf" || name == "tEXt" || name == "zTXt" || name == "iTXt" ||
                      name == "tIME" || name == "dSIG" || name == "sPLT" || name == "hIST";
    has_profile = has_profile || name == "iCCP" || name == "cICP";
    if (!drop) kept += file.substr(at, whole);
    at += whole;
    if (name == "IEND") break;
  }
  std::string out(file.substr(0, kHeaderEnd));
  append_png_extras(&out, extras, has_profile);
  return out + kept;
}

// ---- WebP

bool webp_has_alpha(ByteView bytes, const WebpChunk& chunk) {
  return chunk.is("ALPH") || (chunk.is("VP8L") && (bytes.u8(chunk.data.at + 4) & 0x10));
}

std::string replace_webp(std::string_view file, const Extras& extras, uint32_t width,
                         uint32_t height) {
  constexpr uint8_t kIcc = 0x20, kAlpha = 0x10, kExif = 0x08, kXmp = 0x04, kAnimation = 0x02;
  const ByteView bytes = view_of(file).sub({0, 8 + uint64_t{view_of(file).le32(4)}});
  std::string pictures, icc = extras.icc;
  uint8_t flags = 0;
  WebpChunk chunk;
  for (uint64_t at = 12; read_webp_chunk(bytes, &at, &chunk);) {
    const std::string_view data = file.substr(chunk.data.at, chunk.data.size);
    if (chunk.is("ICCP")) {
      icc = data;
    } else if (chunk.is("VP8X")) {
      flags |= bytes.u8(chunk.data.at) & (kAlpha | kAnimation);
    } else if (chunk.is("VP8 ") || chunk.is("VP8L") || chunk.is("ALPH") || chunk.is("ANIM") ||
               chunk.is("ANMF")) {
      if (webp_has_alpha(bytes, chunk)) flags |= kAlpha;
      append_webp_chunk(&pictures, std::string_view(chunk.name, 4), data);
    }
  }
  if (!icc.empty()) flags |= kIcc;
  if (!extras.exif.empty()) flags |= kExif;
  if (!extras.xmp.empty()) flags |= kXmp;
  std::string chunks;
  // A still without extras needs no extended header, unless its alpha stands in a chunk of its own.
  if ((flags & ~kAlpha) != 0 || pictures.compare(0, 4, "ALPH") == 0) {
    append_webp_chunk(&chunks, "VP8X", webp_canvas(flags, width, height));
  }
  if (!icc.empty()) append_webp_chunk(&chunks, "ICCP", icc);
  chunks += pictures;
  if (!extras.exif.empty()) append_webp_chunk(&chunks, "EXIF", extras.exif);
  if (!extras.xmp.empty()) append_webp_chunk(&chunks, "XMP ", extras.xmp);
  return webp_riff(chunks);
}

// ---- GIF

std::string replace_gif(std::string_view file) {
  const ByteView bytes = view_of(file);
  const auto table = [&](uint64_t flags_at) {
    return bytes.u8(flags_at) & 0x80 ? uint64_t{3} * (2u << (bytes.u8(flags_at) & 7)) : 0;
  };
  const auto sub_blocks_end = [&](uint64_t at) {
    while (bytes.has(at, 1) && bytes.u8(at) != 0) at += 1 + uint64_t{bytes.u8(at)};
    return at + 1;
  };
  uint64_t at = 13 + table(10);
  std::string out(file.substr(0, at));
  while (bytes.has(at, 1)) {
    const uint8_t block = bytes.u8(at);
    uint64_t end = at + 1;
    bool keep = true;
    if (block == 0x21) {
      const uint8_t label = bytes.u8(at + 1);
      keep = label == 0xF9 || label == 0x01 ||
             (label == 0xFF && (bytes.is(at + 3, "NETSCAPE2.0") ||
                                bytes.is(at + 3, "ANIMEXTS1.0") || bytes.is(at + 3, "ICCRGBG1")));
      end = sub_blocks_end(at + 2);
    } else if (block == 0x2C) {
      end = sub_blocks_end(at + 10 + table(at + 9) + 1);
    }
    if (keep) out += file.substr(at, end - at);
    at = end;
    if (block == 0x3B) break;
  }
  return out;
}

// ---- selection

std::string bytes_of(ByteView file, Span span) {
  const ByteView part = file.sub(span);
  return {reinterpret_cast<const char*>(part.data), part.size};
}

std::string find_xmp(const PictureJob& job) {
  const ByteView file = job.file;
  if (job.header.format == ImageFormat::kJpeg) {
    for (const JpegSegment& segment : job.header.jpeg_segments) {
      if (segment.marker == 0xE1 && file.is(segment.payload.at, kXmpMark)) {
        return bytes_of(file, segment.payload).substr(kXmpMark.size());
      }
    }
  } else if (job.header.format == ImageFormat::kPng) {
    for (uint64_t at = 8; file.has(at, 12) && !file.is(at + 4, "IEND");) {
      const uint64_t size = file.be32(at);
      if (file.is(at + 4, "iTXt") && file.is(at + 8, kPngXmp) && size >= kPngXmp.size()) {
        return bytes_of(file, {at + 8, size}).substr(kPngXmp.size());
      }
      at += 12 + size;
    }
  } else if (job.header.format == ImageFormat::kWebp) {
    WebpChunk chunk;
    for (uint64_t at = 12; read_webp_chunk(file, &at, &chunk);) {
      if (chunk.is("XMP ")) return bytes_of(file, chunk.data);
    }
  } else if (is_heif(job.header.format)) {
    return find_heif_xmp(file);
  }
  return "";
}

// A TIFF's own directory is what an EXIF block is in other files.
Extras select_tiff(const PictureJob& job, Metadata policy) {
  Extras extras;
  if (policy == Metadata::kStrip) return extras;
  ExifFacts facts = read_exif(job.file);
  facts.orientation = 1;
  extras.exif = build_exif(facts);
  const TiffReader reader(job.file);
  std::vector<TiffEntry> entries;
  uint64_t next = 0;
  if (policy == Metadata::kKeep && reader.ok() &&
      reader.directory(reader.first_directory(), 4096, &entries, &next)) {
    if (const TiffEntry* xmp = find_tag(entries, 700)) extras.xmp = reader.little_bytes(*xmp);
  }
  return extras;
}

std::string find_iptc(const PictureJob& job) {
  for (const JpegSegment& segment : job.header.jpeg_segments) {
    if (segment.marker == 0xED) return bytes_of(job.file, segment.payload);
  }
  return "";
}

// An XMP packet repeats the orientation as text.
std::string edit_xmp(std::string xmp, int orientation, bool location) {
  if (!location && xmp.find("GPS") != xmp.npos) return "";  // not taken apart: all or nothing
  for (const std::string_view name :
       {"tiff:Orientation=\"", "tiff:Orientation='", "<tiff:Orientation>"}) {
    const size_t at = xmp.find(name);
    const size_t digit = at + name.size();
    if (at != xmp.npos && digit < xmp.size() && xmp[digit] >= '1' && xmp[digit] <= '8') {
      xmp[digit] = static_cast<char>('0' + orientation);
    }
  }
  return xmp;
}

}  // namespace

std::string replace_metadata(ImageFormat format, std::string_view file, const Extras& extras) {
  switch (format) {
    case ImageFormat::kJpeg:
      return replace_jpeg(file, extras);
    case ImageFormat::kPng:
      return replace_png(file, extras);
    case ImageFormat::kWebp: {
      ImageHeader header;
      ProbeLimits limits;
      limits.pixels_max = UINT64_MAX;
      if (probe_image(view_of(file), limits, &header)) return std::string(file);
      return replace_webp(file, extras, header.width, header.height);
    }
    case ImageFormat::kGif:
      return replace_gif(file);
    case ImageFormat::kAvif:
    case ImageFormat::kHeic:
      return replace_heif(file, extras);
    default:
      return std::string(file);
  }
}

std::string png_chunks(const Extras& extras) {
  std::string chunks;
  append_png_extras(&chunks, extras, false);
  return chunks;
}

std::string edit_exif(ByteView block, int orientation, bool location) {
  constexpr uint16_t kOrientation = 274, kGps = 34853;
  std::string out(reinterpret_cast<const char*>(block.data), block.size);
  const TiffReader reader(block);
  std::vector<TiffEntry> entries, places;
  uint64_t next = 0, unused = 0;
  const uint64_t first = reader.ok() ? reader.first_directory() : 0;
  if (!reader.ok() || !reader.directory(first, 4096, &entries, &next)) return out;
  for (const uint64_t directory : {first, next}) {  // the picture's, and its thumbnail's
    std::vector<TiffEntry> some;
    if (directory == 0 || !reader.directory(directory, 4096, &some, &unused)) continue;
    const TiffEntry* entry = find_tag(some, kOrientation);
    if (entry == nullptr || !entry->inside || entry->type != 3) continue;
    out[entry->at + (reader.little() ? 0 : 1)] = static_cast<char>(orientation);
    out[entry->at + (reader.little() ? 1 : 0)] = 0;
  }
  const TiffEntry* gps = find_tag(entries, kGps);
  const bool classic = block.u8(2) == 42 || block.u8(3) == 42;
  if (location || gps == nullptr || !classic) return out;
  const uint64_t directory = reader.value(*gps);
  if (reader.directory(directory, 4096, &places, &unused)) {
    for (const TiffEntry& entry : places) {
      const uint64_t size = entry.count * tiff_type_size(entry.type);
      if (entry.inside && entry.at + size <= out.size()) out.replace(entry.at, size, size, '\0');
    }
  }
  // The entry goes: those behind it move up, and the count falls by one. (Classic TIFF only: EXIF.)
  const size_t count = entries.size();
  const size_t index = static_cast<size_t>(gps - entries.data());
  const size_t at = first + 2 + index * 12, end = first + 2 + count * 12;
  if (end + 4 > out.size()) return out;
  std::copy(out.begin() + static_cast<ptrdiff_t>(at + 12),
            out.begin() + static_cast<ptrdiff_t>(end + 4),
            out.begin() + static_cast<ptrdiff_t>(at));
  std::fill_n(out.begin() + static_cast<ptrdiff_t>(end - 8), 12, '\0');
  out[first + (reader.little() ? 0 : 1)] = static_cast<char>(count - 1);
  out[first + (reader.little() ? 1 : 0)] = static_cast<char>((count - 1) >> 8);
  return out;
}

Extras select_extras(const PictureJob& job, Metadata policy, int orientation, bool location) {
  if (job.header.format == ImageFormat::kTiff) return select_tiff(job, policy);
  Extras extras;
  extras.per_mm = stated_per_mm(job);
  const ByteView block = job.file.sub(job.header.exif);
  if (policy == Metadata::kKeep) {
    if (job.header.exif.size > 0) extras.exif = edit_exif(block, orientation, location);
    extras.xmp = edit_xmp(find_xmp(job), orientation, location);
    if (location) extras.iptc = find_iptc(job);
    return extras;
  }
  ExifFacts facts;
  if (job.header.exif.size > 0 && policy == Metadata::kSafe) facts = read_exif(block);
  facts.orientation = orientation;
  extras.exif = build_exif(facts);
  return extras;
}

}  // namespace millrace
