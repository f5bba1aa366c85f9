#include "steps/optimize/quality_search.h"

#include <vips/vips.h>

#include <algorithm>
#include <cmath>

#include "steps/common/picture/operation.h"
#include "steps/common/picture/resolution.h"
#include "steps/common/picture/ssim.h"

namespace millrace {
namespace {

constexpr int kQualityLow = 20, kQualityHigh = 95;
constexpr int kTileSide =
    192;  // a whole number of a JPEG's blocks, so that they fall as they would
constexpr int kTilesAcross = 6, kTilesDown = 4;
constexpr int64_t kSampleFromPixels =
    int64_t{3} * kTileSide * kTileSide * kTilesAcross * kTilesDown;
constexpr int kWholeEncodingsMax = 3;
constexpr int kCloseEnough = 1;  // of a quality: what another encoding would gain is not worth it

// Where tile `index` of `count` along a side begins: in the middle of its share, on a block.
int tile_at(int side, int index, int count) {
  const int64_t middle = int64_t{side} * (2 * index + 1) / (2 * count);
  return std::clamp(static_cast<int>(middle) - kTileSide / 2, 0, side - kTileSide) / 16 * 16;
}

}  // namespace

Problem Reference::encode(const OutputOptions& options, std::string* file) {
  PictureFacts facts;
  facts.per_mm = stated_per_mm(*job_);
  return encode_picture(job_, options, facts, picture_.share(), file);
}

Problem Reference::judge(const std::string& file, double* likeness) {
  if (luma_.empty()) {
    if (Problem problem = read_luma(job_, picture_.share(), &luma_)) return problem;
    if (job_->cancelled) return {};
  }
  PictureJob other;
  other.call = job_->call;
  other.file = {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
  VipsPicture picture;
  std::vector<uint8_t> luma;
  Problem problem = open_picture(&other, &picture);
  if (!problem) problem = read_luma(&other, std::move(picture), &luma);
  job_->cancelled = job_->cancelled || other.cancelled;
  if (problem || job_->cancelled || luma.size() != luma_.size()) return problem;
  const int width = width_of(picture_), tiles = height_of(picture_) / tile_height_;
  const size_t tile = static_cast<size_t>(width) * static_cast<size_t>(tile_height_);
  double sum = 0;
  for (size_t at = 0; at < luma.size(); at += tile) {
    sum += ssim(luma_.data() + at, luma.data() + at, width, tile_height_);
  }
  *likeness = sum / tiles;
  return {};
}

Problem QualitySearch::prepare() {
  const VipsPicture& picture = whole_.picture();
  const int width = width_of(picture), height = height_of(picture);
  if (is_wide(picture) || width < kTileSide * kTilesAcross || height < kTileSide * kTilesDown ||
      int64_t{width} * height < kSampleFromPixels) {
    return {};
  }
  std::vector<uint8_t> all;
  for (int row = 0; row < kTilesDown; ++row) {
    for (int column = 0; column < kTilesAcross; ++column) {
      VipsImage* cut = nullptr;
      std::vector<uint8_t> samples;
      if (vips_crop(picture.get(), &cut, tile_at(width, column, kTilesAcross),
                    tile_at(height, row, kTilesDown), kTileSide, kTileSide, nullptr)) {
        return picture_problem(*job_, "cut");
      }
      if (Problem problem = read_samples(job_, VipsPicture(cut), &samples)) return problem;
      if (job_->cancelled) return {};
      all.insert(all.end(), samples.begin(), samples.end());
    }
  }
  VipsPicture sheet;
  if (Problem problem = picture_of(all, kTileSide, kTileSide * kTilesAcross * kTilesDown,
                                   bands_of(picture), &sheet)) {
    return problem;
  }
  sample_ = std::make_unique<Reference>(job_, std::move(sheet), kTileSide);
  return {};
}

OutputOptions QualitySearch::lossy(ImageFormat format, int quality) const {
  OutputOptions options = options_;
  options.format = format;
  options.quality = quality;
  options.lossless = 0;
  options.progressive = true;
  return options;
}

Problem QualitySearch::encode_sample(ImageFormat format, int quality, Trial* trial) {
  const auto key = std::pair(format, quality);
  if (const auto found = seen_.find(key); found != seen_.end()) {
    trial->likeness = found->second.likeness;
    return {};
  }
  if (Problem problem = sample_->encode(lossy(format, quality), &trial->file)) return problem;
  if (job_->cancelled) return {};
  if (Problem problem = sample_->judge(trial->file, &trial->likeness)) return problem;
  if (!job_->cancelled) seen_[key] = {trial->likeness, trial->file.size()};
  return {};
}

// By halving; one above the highest: none will do.
Problem QualitySearch::lowest_of_sample(ImageFormat format, double ssim, int* quality) {
  int low = kQualityLow, high = kQualityHigh;
  while (low <= high) {
    const int middle = (low + high) / 2;
    Trial trial;
    if (Problem problem = encode_sample(format, middle, &trial)) return problem;
    if (job_->cancelled) return {};
    if (trial.likeness >= ssim) {
      high = middle - 1;
    } else {
      low = middle + 1;
    }
  }
  *quality = low;
  return {};
}

Problem QualitySearch::sample_size(ImageFormat format, bool lossless, size_t* bytes) {
  *bytes = 0;
  if (lossless) {
    OutputOptions options = options_;
    std::string file;
    options.format = format;
    options.lossless = 1;
    if (Problem problem = sample_->encode(options, &file)) return problem;
    *bytes = file.size();
    return {};
  }
  int quality = 0;
  if (Problem problem = lowest_of_sample(format, ssim_, &quality)) return problem;
  if (!job_->cancelled && quality <= kQualityHigh) *bytes = seen_[{format, quality}].bytes;
  return {};
}

Problem QualitySearch::run(ImageFormat format, std::string* file, double* likeness) {
  return sampled() ? confirm(format, file, likeness) : halve(format, file, likeness);
}

// A small picture is its own sample.
Problem QualitySearch::halve(ImageFormat format, std::string* file, double* likeness) {
  int low = kQualityLow, high = kQualityHigh;
  while (low <= high) {
    const int quality = (low + high) / 2;
    Trial trial;
    if (Problem problem = whole_.encode(lossy(format, quality), &trial.file)) return problem;
    if (job_->cancelled) return {};
    if (Problem problem = whole_.judge(trial.file, &trial.likeness)) return problem;
    if (job_->cancelled) return {};
    if (trial.likeness >= ssim_) {
      *file = std::move(trial.file);
      *likeness = trial.likeness;
      high = quality - 1;
    } else {
      low = quality + 1;
    }
  }
  return {};
}

// What the sample says, tried on the whole; the difference of the two then corrects what is asked
// of the sample.
Problem QualitySearch::confirm(ImageFormat format, std::string* file, double* likeness) {
  int quality = 0, too_low = kQualityLow - 1, enough = kQualityHigh + 1;
  if (Problem problem = lowest_of_sample(format, ssim_, &quality)) return problem;
  for (int tries = 1; tries <= kWholeEncodingsMax && !job_->cancelled; ++tries) {
    // The last try must not fail by a hair.
    if (tries == kWholeEncodingsMax && file->empty()) quality += (kQualityHigh - quality) / 2;
    quality = std::clamp(quality, too_low + 1, enough - 1);
    Trial whole, sample;
    if (Problem problem = whole_.encode(lossy(format, quality), &whole.file)) return problem;
    if (job_->cancelled) return {};
    if (Problem problem = whole_.judge(whole.file, &whole.likeness)) return problem;
    if (job_->cancelled) return {};
    if (Problem problem = encode_sample(format, quality, &sample)) return problem;
    if (whole.likeness >= ssim_) {
      *file = std::move(whole.file);
      *likeness = whole.likeness;
      enough = quality;
    } else {
      too_low = quality;
    }
    const double wanted = ssim_ + sample.likeness - whole.likeness;
    if (Problem problem = lowest_of_sample(format, wanted, &quality)) return problem;
    if (enough - too_low <= 1 || (!file->empty() && quality >= enough - kCloseEnough)) return {};
  }
  return {};
}

}  // namespace millrace
