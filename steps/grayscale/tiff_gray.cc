// TIFF to gray, page by page: each page through libvips into a small TIFF of its own, then all of
// them into one file whose directories are written here. So pages may differ in size, depth and
// orientation.
#include <algorithm>

#include "steps/common/tiff_file.h"
#include "steps/grayscale/vips_gray.h"

namespace millrace {
namespace {

constexpr uint16_t kSubfileType = 254, kCompression = 259, kOrientation = 274, kPageNumber = 297,
                   kArtist = 315, kBits = 258, kSamples = 277, kCopyright = 33432,
                   kExifDirectory = 34665, kGpsDirectory = 34853;
constexpr uint64_t kValueMax = 16 << 20;  // bytes of one value that `keep` carries over

// Tags that describe the samples or the file: the new page has its own.
bool is_structural(uint16_t tag) {
  constexpr uint16_t kTags[] = {
      255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 282,  283,
      284, 288, 289, 290, 291, 292, 293, 296, 301, 317, 318, 319, 320, 321, 322, 323, 324,  325,
      326, 327, 328, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 343, 344, 345,  346,
      347, 351, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 559, 34675};
  return std::find(std::begin(kTags), std::end(kTags), tag) != std::end(kTags) || tag >= 50706;
}

class TiffRewriter {
 public:
  explicit TiffRewriter(Job* job) : job_(job), source_(job->file) {}

  Problem run() {
    int page = 0;
    for (uint64_t at = source_.first_directory(); at != 0 && !job_->cancelled; ++page) {
      uint64_t next = 0;
      if (!source_.directory(at, 4096, &entries_, &next)) return corrupt("TIFF", "a page vanished");
      if (Problem problem = add_page(page)) return problem;
      at = next;
    }
    if (!job_->cancelled) job_->write(writer_.take());
    return {};
  }

 private:
  uint64_t value(uint16_t tag, uint64_t otherwise) const {
    const TiffEntry* entry = find_tag(entries_, tag);
    return entry != nullptr && entry->inside ? source_.value(*entry) : otherwise;
  }

  Problem add_page(int page) {
    GrayPicture gray;
    std::string tiff;
    const bool bilevel = value(kBits, 1) == 1 && value(kSamples, 1) == 1 && value(262, 1) <= 1;
    if (Problem problem = vips_gray(job_, ImageFormat::kTiff, job_->file, page, {}, &gray))
      return problem;
    if (Problem problem = save_tiff(job_, gray, value(kCompression, 1), bilevel, &tiff))
      return problem;
    if (writer_.size() + tiff.size() > 0xF0000000u) {
      return {Fault::kTooLarge, "the gray TIFF would have more than 4 GiB; send fewer pages"};
    }
    return splice(tiff);
  }

  // Moves the one page of `tiff` into the output.
  Problem splice(const std::string& tiff) {
    std::vector<TiffValue> values;
    if (!move_first_page(tiff, &writer_, &values)) return corrupt("TIFF", "no strips were written");
    add_metadata(&values);
    writer_.add_page(std::move(values));
    return {};
  }

  void copy_entry(const TiffEntry& entry, std::vector<TiffValue>* values) const {
    if (!entry.inside || entry.count * tiff_type_size(entry.type) > kValueMax || entry.type > 13)
      return;
    const bool taken = std::any_of(values->begin(), values->end(),
                                   [&](const TiffValue& value) { return value.tag == entry.tag; });
    if (taken) return;
    values->push_back(
        {entry.tag, entry.type, static_cast<uint32_t>(entry.count), source_.little_bytes(entry)});
  }

  // The directory that EXIF or GPS facts stand in, one level deep.
  void copy_directory(const TiffEntry& pointer, std::vector<TiffValue>* values) {
    std::vector<TiffEntry> entries;
    uint64_t next = 0;
    if (!source_.directory(source_.value(pointer), 4096, &entries, &next)) return;
    std::vector<TiffValue> copied;
    for (const TiffEntry& entry : entries) {
      if (entry.tag != 40965)
        copy_entry(entry, &copied);  // interoperability: a directory of its own
    }
    if (!copied.empty()) {
      values->push_back(tiff_long(pointer.tag, writer_.append_directory(std::move(copied))));
    }
  }

  void add_metadata(std::vector<TiffValue>* values) {
    const Metadata metadata = job_->options.metadata;
    for (const TiffEntry& entry : entries_) {
      const uint16_t tag = entry.tag;
      const bool always = tag == kOrientation || tag == kSubfileType || tag == kPageNumber;
      const bool author = tag == kArtist || tag == kCopyright;
      if (always || (author && metadata != Metadata::kStrip)) {
        copy_entry(entry, values);
      } else if (metadata == Metadata::kKeep && (tag == kExifDirectory || tag == kGpsDirectory)) {
        copy_directory(entry, values);
      } else if (metadata == Metadata::kKeep && !is_structural(tag)) {
        copy_entry(entry, values);
      }
    }
  }

  Job* job_;
  TiffReader source_;
  std::vector<TiffEntry> entries_;  // of the source's current page
  TiffWriter writer_;
};

}  // namespace

Problem gray_tiff(Job* job) {
  return TiffRewriter(job).run();
}

}  // namespace millrace
