#include "steps/common/heif_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "steps/common/hevc_units.h"

namespace millrace {
namespace {

constexpr uint32_t kPaddingMax = 64;  // what a codec's blocks add to a side

// A quarter turn or a mirror as a matrix on (x, y), y downwards.
using Turn = std::array<int, 4>;
constexpr Turn kTurns[] = {{1, 0, 0, 1}, {-1, 0, 0, 1}, {-1, 0, 0, -1}, {1, 0, 0, -1},
                           {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, -1, 0}, {0, 1, -1, 0}};

int orientation_of(const Turn& turn) {
  return static_cast<int>(std::find(std::begin(kTurns), std::end(kTurns), turn) -
                          std::begin(kTurns)) +
         1;
}

Turn then(const Turn& first, const Turn& second) {
  return {second[0] * first[0] + second[1] * first[2], second[0] * first[1] + second[1] * first[3],
          second[2] * first[0] + second[3] * first[2], second[2] * first[1] + second[3] * first[3]};
}

// What an item's properties say.
struct Traits {
  uint32_t width = 0, height = 0;
  Span av1, hevc, clap, icc;
  bool has_colour = false;
  HeifColour colour;
  Turn turn = kTurns[0];
};

Problem unsupported(const std::string& what) {
  return {Fault::kUnsupported,
          fmt::format("the file is an AVIF or HEIC {}, which is not read; save it anew, or send "
                      "JPEG or PNG",
                      what)};
}

class PictureFinder {
 public:
  PictureFinder(ByteView file, const ProbeLimits& limits, ImageHeader* header, HeifPicture* picture)
      : file_(file), limits_(limits), header_(header), picture_(picture) {}

  Problem run() {
    const Problem cut = read_heif_meta(file_, &meta_);
    if (cut && (cut.fault != Fault::kTruncated || !meta_.found)) return cut;
    if (!meta_.found) return unsupported("sequence without a still picture");
    Traits traits;
    if (Problem problem = find_layer(meta_.primary, &traits, &picture_->colour)) return problem;
    if (Problem problem = find_alpha()) return problem;
    if (Problem problem = place(traits)) return problem;
    find_notes();
    fill_header();
    // What a decoder must never see comes first: of a cut file, too, which may be accepted.
    Problem damage = cut;
    for (const HeifLayer* layer : {&picture_->colour, &picture_->alpha}) {
      const Problem problem = check_bytes(*layer);
      if (problem.fault == Fault::kUnsupported) return problem;
      if (!damage) damage = problem;
    }
    return damage;
  }

 private:
  // ---- one item

  Problem read_traits(const HeifItem& item, Traits* traits) {
    for (const HeifAssociation& association : item.properties) {
      if (association.property >= meta_.properties.size()) {
        return corrupt("file", "an item has a property that is not there");
      }
      const HeifBox& box = meta_.properties[association.property];
      if (Problem problem = read_property(box, association.essential, traits)) return problem;
    }
    return {};
  }

  Problem read_property(const HeifBox& box, bool essential, Traits* traits) {
    const uint64_t at = box.data.at;
    const ByteView data = file_.sub(box.data);
    if (box.type == "ispe") {
      traits->width = data.be32(4);
      traits->height = data.be32(8);
    } else if (box.type == "av1C") {
      traits->av1 = box.data;
    } else if (box.type == "hvcC") {
      traits->hevc = box.data;
    } else if (box.type == "colr" && data.is(0, "nclx")) {
      traits->has_colour = data.size >= 11;
      traits->colour = {static_cast<int>(data.be16(4)), static_cast<int>(data.be16(6)),
                        static_cast<int>(data.be16(8)), (data.u8(10) & 0x80) != 0};
    } else if (box.type == "colr" && (data.is(0, "prof") || data.is(0, "rICC"))) {
      traits->icc = {at + 4, box.data.size - 4};
    } else if (box.type == "clap") {
      if (traits->turn != kTurns[0]) return unsupported("picture that is cut after it is turned");
      traits->clap = box.data;
    } else if (box.type == "irot") {
      for (int i = data.u8(0) & 3; i > 0; --i) traits->turn = then(traits->turn, kTurns[7]);
    } else if (box.type == "imir") {
      traits->turn = then(traits->turn, kTurns[(data.u8(0) & 1) != 0 ? 1 : 3]);
    } else if (box.type == "lsel" ? data.be16(0) != 0xFFFF : box.type == "a1op" && data.u8(0)) {
      return unsupported("picture of several layers");
    } else if (essential && !is_known(box.type)) {
      return unsupported(fmt::format("picture with the property '{}'", box.type));
    }
    return {};
  }

  static bool is_known(std::string_view type) {
    constexpr std::string_view kHarmless[] = {"auxC", "pixi", "pasp", "clli", "mdcv",
                                              "lsel", "a1op", "a1lx", "colr", "amve",
                                              "cclv", "udes", "rloc"};
    return std::find(std::begin(kHarmless), std::end(kHarmless), type) != std::end(kHarmless);
  }

  // ---- one layer

  Problem find_layer(uint32_t id, Traits* traits, HeifLayer* layer) {
    const HeifItem* item = meta_.item(id);
    if (item == nullptr) return corrupt("file", fmt::format("its picture {} is not there", id));
    if (Problem problem = read_traits(*item, traits)) return problem;
    if (item->type == "grid") return find_grid(id, *item, *traits, layer);
    if (Problem problem = add_tile(*item, *traits, layer)) return problem;
    layer->width = layer->tile_width;
    layer->height = layer->tile_height;
    return {};
  }

  Problem find_grid(uint32_t id, const HeifItem& item, const Traits& traits, HeifLayer* layer) {
    std::string store;
    for (const Span& span : item.data) {
      if (!file_.has(span.at, span.size)) return truncated("file", "inside its grid", file_);
    }
    const ByteView grid = heif_bytes(file_, item.data, &store);
    const bool wide = (grid.u8(1) & 1) != 0;
    if (item.elsewhere || grid.size < (wide ? 12 : 8)) return corrupt("file", "its grid is empty");
    layer->rows = grid.u8(2) + 1u;
    layer->columns = grid.u8(3) + 1u;
    layer->width = wide ? grid.be32(4) : grid.be16(4);
    layer->height = wide ? grid.be32(8) : grid.be16(6);
    if (traits.width != layer->width || traits.height != layer->height) {
      return corrupt("file", fmt::format("its grid is {}x{}, its picture {}x{}", layer->width,
                                         layer->height, traits.width, traits.height));
    }
    for (const HeifReference& reference : meta_.references) {
      if (reference.type != "dimg" || reference.from != id) continue;
      for (const uint32_t one : reference.to) {
        if (Problem problem = add_grid_tile(one, layer)) return problem;
      }
    }
    return check_grid(*layer);
  }

  Problem add_grid_tile(uint32_t id, HeifLayer* layer) {
    const HeifItem* tile = meta_.item(id);
    Traits own;
    if (tile == nullptr) return corrupt("file", fmt::format("its tile {} is not there", id));
    if (Problem problem = read_traits(*tile, &own)) return problem;
    if (own.turn != kTurns[0] || own.clap.size > 0) return unsupported("grid of turned tiles");
    return add_tile(*tile, own, layer);
  }

  // The last tiles may hang over, and no tile may lie outside: what is decoded is near what is
  // seen.
  static Problem check_grid(const HeifLayer& layer) {
    const uint64_t columns = layer.columns, rows = layer.rows;
    if (layer.tiles.size() != columns * rows) {
      return corrupt(
          "file", fmt::format("its grid of {}x{} has {} tiles", columns, rows, layer.tiles.size()));
    }
    const bool across =
        (columns - 1) * layer.tile_width < layer.width && columns * layer.tile_width >= layer.width;
    const bool down =
        (rows - 1) * layer.tile_height < layer.height && rows * layer.tile_height >= layer.height;
    const bool odd = (columns > 1 && layer.tile_width % 2 != 0 && layer.chroma != 3) ||
                     (rows > 1 && layer.tile_height % 2 != 0 && layer.chroma == 1);
    if (across && down && !(odd && layer.chroma != 0)) return {};
    return corrupt("file",
                   fmt::format("its {}x{} tiles of {}x{} do not make {}x{}", columns, rows,
                               layer.tile_width, layer.tile_height, layer.width, layer.height));
  }

  Problem add_tile(const HeifItem& item, const Traits& traits, HeifLayer* layer) {
    const bool av1 = item.type == "av01", hevc = item.type == "hvc1";
    if (!av1 && !hevc) return unsupported(fmt::format("with a picture of kind '{}'", item.type));
    const Span span = av1 ? traits.av1 : traits.hevc;
    const ByteView config = file_.sub(span);
    if (config.size < (av1 ? 4u : 23u) || traits.width == 0 || traits.height == 0) {
      return corrupt("file", "its picture says neither how large it is nor how it is coded");
    }
    if (item.elsewhere || item.data.empty()) return unsupported("without its bytes in the file");
    const int bits = av1 ? ((config.u8(2) & 0x40) == 0   ? 8
                            : (config.u8(2) & 0x20) != 0 ? 12
                                                         : 10)
                         : static_cast<int>(config.u8(17) & 7) + 8;
    const int chroma = av1 ? av1_chroma(config.u8(2)) : config.u8(16) & 3;
    if ((bits != 8 && bits != 10 && bits != 12) || (hevc && (config.u8(18) & 7) + 8 != bits)) {
      return unsupported(fmt::format("of {} bits a sample", bits));
    }
    spans_ += item.data.size();  // an item may be the tile again and again
    if (spans_ > kHeifEntriesMax) return unsupported("picture in very many pieces");
    const HeifCodec codec = av1 ? HeifCodec::kAv1 : HeifCodec::kHevc;
    if (layer->tiles.empty()) {
      layer->codec = codec;
      layer->tile_width = traits.width;
      layer->tile_height = traits.height;
      layer->bits = bits;
      layer->chroma = chroma;
    } else if (codec != layer->codec || traits.width != layer->tile_width ||
               traits.height != layer->tile_height || bits != layer->bits ||
               chroma != layer->chroma) {
      return unsupported("grid of unequal tiles");
    }
    layer->tiles.push_back({span, item.data});
    return {};
  }

  static int av1_chroma(uint8_t flags) {
    if ((flags & 0x10) != 0) return 0;
    if ((flags & 0x08) == 0) return 3;
    return (flags & 0x04) != 0 ? 1 : 2;
  }

  // ---- the picture

  Problem find_alpha() {
    std::map<uint32_t, uint32_t> alphas;  // by what they belong to
    for (const HeifReference& reference : meta_.references) {
      if (reference.type == "prem" && reference.from == meta_.primary) {
        picture_->premultiplied = true;
      }
      if (reference.type != "auxl" || !is_alpha(reference.from)) continue;
      for (const uint32_t id : reference.to) alphas.insert({id, reference.from});
    }
    HeifLayer* alpha = &picture_->alpha;
    const auto whole = alphas.find(meta_.primary);
    Traits traits;
    if (Problem problem = whole != alphas.end() ? find_layer(whole->second, &traits, alpha)
                                                : find_alpha_of_tiles(alphas)) {
      return problem;
    }
    picture_->has_alpha = !alpha->tiles.empty();
    const HeifLayer& colour = picture_->colour;
    if (picture_->has_alpha && (alpha->width != colour.width || alpha->height != colour.height)) {
      return unsupported("picture whose alpha has another size");
    }
    return {};
  }

  // Whether it is an auxiliary picture of that kind: not of depth, nor of gain.
  bool is_alpha(uint32_t id) const {
    const HeifItem* item = meta_.item(id);
    if (item == nullptr) return false;
    for (const HeifAssociation& association : item->properties) {
      if (association.property >= meta_.properties.size()) continue;
      const HeifBox& box = meta_.properties[association.property];
      const ByteView data = file_.sub(box.data);
      if (box.type != "auxC" || data.size < 4) continue;
      std::string_view kind(reinterpret_cast<const char*>(data.data) + 4, data.size - 4);
      kind = kind.substr(0, kind.find('\0'));
      return kind == "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" ||
             kind == "urn:mpeg:hevc:2015:auxid:1";
    }
    return false;
  }

  // Some writers give each tile an alpha of its own, and the grid none.
  Problem find_alpha_of_tiles(const std::map<uint32_t, uint32_t>& alphas) {
    const HeifLayer& colour = picture_->colour;
    if (alphas.empty() || meta_.item(meta_.primary)->type != "grid") return {};
    HeifLayer* alpha = &picture_->alpha;
    for (const HeifReference& reference : meta_.references) {
      if (reference.type != "dimg" || reference.from != meta_.primary) continue;
      for (const uint32_t id : reference.to) {
        const auto own = alphas.find(id);
        if (own == alphas.end()) continue;
        if (Problem problem = add_grid_tile(own->second, alpha)) return problem;
      }
    }
    if (alpha->tiles.empty()) return {};
    if (alpha->tiles.size() != colour.tiles.size()) {
      return unsupported("grid of which some tiles have alpha and some have none");
    }
    alpha->columns = colour.columns;
    alpha->rows = colour.rows;
    alpha->width = colour.width;
    alpha->height = colour.height;
    return check_grid(*alpha);
  }

  // Limits, then what of the tiles is seen, and which way up.
  Problem place(const Traits& traits) {
    const HeifLayer& layer = picture_->colour;
    if (Problem problem = count_page(layer.width, layer.height, limits_, header_)) return problem;
    for (const HeifLayer* one : {&picture_->colour, &picture_->alpha}) {
      const uint64_t coded =
          uint64_t{one->columns} * one->tile_width * (uint64_t{one->rows} * one->tile_height);
      header_->pixels = std::max(header_->pixels, coded);
    }
    if (header_->pixels > limits_.pixels_max) {
      return {Fault::kTooManyPixels,
              fmt::format("the image is coded in tiles of {} pixels together, at most {} are "
                          "allowed (limits.pixels); send a smaller one",
                          header_->pixels, limits_.pixels_max)};
    }
    picture_->crop = {0, 0, layer.width, layer.height};
    picture_->orientation = orientation_of(traits.turn);
    picture_->icc = traits.icc;
    picture_->has_colour = traits.has_colour;
    picture_->meaning = traits.colour;
    return traits.clap.size > 0 ? read_crop(file_.sub(traits.clap)) : Problem{};
  }

  // A clean aperture: fractions for the size, and for how far its middle is from the picture's.
  Problem read_crop(ByteView clap) {
    const auto fraction = [&](uint64_t at, bool with_sign) {
      const uint32_t over = clap.be32(at);
      return (with_sign ? static_cast<double>(static_cast<int32_t>(over)) : over) /
             static_cast<double>(clap.be32(at + 4));
    };
    HeifCrop* crop = &picture_->crop;
    const double width = std::round(fraction(0, false)), height = std::round(fraction(8, false));
    const double left = std::round((crop->width - width) / 2 + fraction(16, true)),
                 top = std::round((crop->height - height) / 2 + fraction(24, true));
    const bool inside = width >= 1 && height >= 1 && left >= 0 && top >= 0 &&
                        left + width <= crop->width && top + height <= crop->height;
    if (!inside) return corrupt("file", "its clean aperture is not inside its picture");
    *crop = {static_cast<uint32_t>(left), static_cast<uint32_t>(top), static_cast<uint32_t>(width),
             static_cast<uint32_t>(height)};
    return {};
  }

  void find_notes() {
    for (const auto& [id, item] : meta_.items) {
      const bool exif = item.type == "Exif", mime = item.type == "mime";
      if ((!exif && !mime && item.type != "uri ") || item.elsewhere) continue;
      const bool whole = item.data.size() == 1 && file_.has(item.data[0].at, item.data[0].size);
      if (exif && whole && add_exif(item.data[0])) continue;
      if (mime && whole && item.content_type == "application/rdf+xml") {
        picture_->xmp.push_back(item.data[0]);
        continue;
      }
      picture_->notes.insert(picture_->notes.end(), item.data.begin(), item.data.end());
    }
    picture_->free_text = std::move(meta_.free_text);
    picture_->end = meta_.end;
  }

  bool add_exif(Span item) {
    const uint64_t skip = 4 + uint64_t{file_.be32(item.at)};
    if (item.size < 4 || skip > item.size) return false;
    picture_->exif.push_back({item.at + skip, item.size - skip});
    return true;
  }

  void fill_header() {
    const HeifLayer& layer = picture_->colour;
    header_->format = layer.codec == HeifCodec::kAv1 ? ImageFormat::kAvif : ImageFormat::kHeic;
    header_->colour = layer.chroma == 0 ? ImageColour::kGray : ImageColour::kRgb;
    header_->width = picture_->crop.width;
    header_->height = picture_->crop.height;
    header_->bits = layer.bits;
    header_->alpha = picture_->has_alpha;
    header_->orientation = picture_->orientation;
    if (!picture_->exif.empty()) header_->exif = picture_->exif[0];
    const int transfer = picture_->has_colour ? picture_->meaning.transfer : 2;
    header_->high_range = transfer == 16 || transfer == 18;
  }

  // ---- bytes

  // They are in the file, are not the same ones again and again, and make no larger picture.
  // Unsupported, which nobody can accept: the two last.
  Problem check_bytes(const HeifLayer& layer) {
    Problem damage;
    for (const HeifTile& tile : layer.tiles) {
      for (const Span& span : tile.data) {
        bytes_ += file_.sub(span).size;
        if (!file_.has(span.at, span.size)) {
          damage = truncated("file", "inside the data of its picture", file_);
        }
      }
      if (bytes_ > file_.size) return unsupported("picture whose tiles share their bytes");
      if (layer.codec != HeifCodec::kHevc) continue;  // its decoder takes a limit
      bool whole = true;
      if (!fits(tile, layer, &whole)) {
        return unsupported(fmt::format("with a tile of {}x{} that holds another size",
                                       layer.tile_width, layer.tile_height));
      }
      if (!whole && !damage) damage = corrupt("file", "a unit of its stream ends beyond it");
    }
    return damage;
  }

  bool fits(const HeifTile& tile, const HeifLayer& layer, bool* whole) const {
    const ByteView config = file_.sub(tile.config);
    std::string store;
    const ByteView bytes = heif_bytes(file_, tile.data, &store);
    bool fit = true;
    const auto visit = [&](ByteView unit) {
      HevcSize size;
      if (hevc_unit_type(unit) != kHevcSequenceSet || hevc_unit_layer(unit) > 0) return true;
      fit = read_hevc_size(unit, &size) && size.width <= layer.tile_width + kPaddingMax &&
            size.height <= layer.tile_height + kPaddingMax;
      return fit;
    };
    *whole = each_configured_unit(config, visit) &&
             each_hevc_unit(bytes, (config.u8(21) & 3) + 1u, visit);
    return fit;
  }

  ByteView file_;
  ProbeLimits limits_;
  ImageHeader* header_;
  HeifPicture* picture_;
  HeifMeta meta_;
  uint64_t bytes_ = 0, spans_ = 0;
};

}  // namespace

Problem read_heif(ByteView file, const ProbeLimits& limits, ImageHeader* header,
                  HeifPicture* picture) {
  return PictureFinder(file, limits, header, picture).run();
}

Problem read_heif(ByteView file, HeifPicture* picture) {
  ProbeLimits limits;
  ImageHeader header;
  limits.pixels_max = std::numeric_limits<uint64_t>::max();
  return read_heif(file, limits, &header, picture);
}

ByteView heif_bytes(ByteView file, const std::vector<Span>& spans, std::string* store) {
  if (spans.size() == 1) return file.sub(spans[0]);
  store->clear();
  for (const Span& span : spans) {
    const ByteView part = file.sub(span);
    store->append(reinterpret_cast<const char*>(part.data), part.size);
  }
  return view_of(*store);
}

bool has_heif_brand(ByteView file) {
  if (!file.is(4, "ftyp")) return false;
  const uint64_t end = std::min<uint64_t>(file.be32(0), 128);
  for (uint64_t at = 8; at + 4 <= end; at += 4) {
    if (at == 12) continue;  // the minor version
    for (const char* brand :
         {"avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "miaf"}) {
      if (file.is(at, brand)) return true;
    }
  }
  return false;
}

Problem parse_heif(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  HeifPicture picture;
  return read_heif(file, limits, header, &picture);
}

}  // namespace millrace
