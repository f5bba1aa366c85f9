// QualitySearch: the lowest quality of a lossy format at which a picture still looks as it should.
//
// A large picture is judged on a sample of it, tiles from all over, whose encodings cost little;
// the answer is then confirmed on the whole picture, and moved by what the sample was wrong. A file
// that it gives has been decoded and compared whole.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "steps/common/picture/encode.h"

namespace millrace {

// A picture in memory that encodings of it are compared with, tile below tile.
class Reference {
 public:
  Reference(PictureJob* job, VipsPicture picture, int tile_height)
      : job_(job), picture_(std::move(picture)), tile_height_(tile_height) {}

  Problem encode(const OutputOptions& options, std::string* file);
  // The mean SSIM of the tiles. Nothing: the host said stop.
  Problem judge(const std::string& file, double* likeness);
  const VipsPicture& picture() const { return picture_; }

 private:
  PictureJob* job_;
  VipsPicture picture_;
  int tile_height_;
  std::vector<uint8_t> luma_;
};

class QualitySearch {
 public:
  // `picture` is in memory, 8 or 16 bits; `options` say what is not searched for.
  QualitySearch(PictureJob* job, const OutputOptions& options, double ssim,
                const VipsPicture& picture)
      : job_(job),
        options_(options),
        ssim_(ssim),
        whole_(job, picture.share(), vips_height(picture)) {}

  // Cuts the sample out, if the picture is large enough for one.
  Problem prepare();
  bool sampled() const { return sample_ != nullptr; }

  // Bytes that the sample takes in this format: lossy, at the lowest quality that will do, or
  // without loss. 0: no quality will do.
  Problem sample_size(ImageFormat format, bool lossless, size_t* bytes);

  // The smallest file that is good enough, and how good; an empty one: no quality will do. At most
  // three encodings of a picture that has a sample, seven of a smaller one.
  Problem run(ImageFormat format, std::string* file, double* likeness);

 private:
  struct Trial {
    std::string file;
    double likeness = 0;
  };
  static int vips_height(const VipsPicture& picture) { return height_of(picture); }
  OutputOptions lossy(ImageFormat format, int quality) const;
  Problem encode_sample(ImageFormat format, int quality, Trial* trial);
  Problem lowest_of_sample(ImageFormat format, double ssim, int* quality);
  Problem halve(ImageFormat format, std::string* file, double* likeness);
  Problem confirm(ImageFormat format, std::string* file, double* likeness);

  PictureJob* job_;
  OutputOptions options_;
  double ssim_;
  Reference whole_;
  std::unique_ptr<Reference> sample_;
  struct Seen {
    double likeness = 0;
    size_t bytes = 0;
  };
  std::map<std::pair<ImageFormat, int>, Seen> seen_;  // encodings of the sample
};

}  // namespace millrace
