// Goal: rows are filtered as the mathematics says, whichever way is taken: bytes in integers,
// others in floats, of any size, with and without the machine's wider registers; and a blur is
// libvips' own to a level. Method: direct sums in double precision of pictures of noise, whose
// edges repeat; libvips' convolution as the step had it.
#include "steps/common/picture/row_filter.h"

#include <sys/wait.h>
#include <unistd.h>
#include <vips/vips.h>

#include <cmath>
#include <random>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

using Kernel = std::function<double(double)>;

double lanczos3(double x) {
  const double pi = std::acos(-1.0);
  if (x == 0) return 1;
  if (std::abs(x) >= 3) return 0;
  return 3 * std::sin(pi * x) * std::sin(pi * x / 3) / (pi * pi * x * x);
}

// One line through the kernel, its ends repeated.
std::vector<double> filtered(const std::vector<double>& line, int to, double radius,
                             const Kernel& kernel) {
  const double scale = static_cast<double>(line.size()) / to;
  std::vector<double> out;
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale - 0.5;
    double sum = 0, weights = 0;
    for (int at = static_cast<int>(std::ceil(centre - radius * scale));
         at <= static_cast<int>(std::floor(centre + radius * scale)); ++at) {
      const double weight = kernel((at - centre) / scale);
      sum +=
          weight * line[static_cast<size_t>(std::clamp(at, 0, static_cast<int>(line.size()) - 1))];
      weights += weight;
    }
    out.push_back(sum / weights);
  }
  return out;
}

std::vector<double> filtered_picture(const std::vector<uint8_t>& bytes, int width, int height,
                                     int bands, int to_width, int to_height, double radius,
                                     const Kernel& kernel) {
  std::vector<double> down(static_cast<size_t>(width * to_height * bands));
  std::vector<double> out(static_cast<size_t>(to_width * to_height * bands));
  for (int i = 0; i < width * bands; ++i) {
    std::vector<double> line;
    for (int y = 0; y < height; ++y)
      line.push_back(bytes[static_cast<size_t>(y * width * bands + i)]);
    const auto result = filtered(line, to_height, radius, kernel);
    for (int y = 0; y < to_height; ++y) {
      down[static_cast<size_t>(y * width * bands + i)] = result[static_cast<size_t>(y)];
    }
  }
  for (int y = 0; y < to_height; ++y) {
    for (int band = 0; band < bands; ++band) {
      std::vector<double> line;
      for (int x = 0; x < width; ++x) {
        line.push_back(down[static_cast<size_t>((y * width + x) * bands + band)]);
      }
      const auto result = filtered(line, to_width, radius, kernel);
      for (int x = 0; x < to_width; ++x) {
        out[static_cast<size_t>((y * to_width + x) * bands + band)] =
            result[static_cast<size_t>(x)];
      }
    }
  }
  return out;
}

std::vector<uint8_t> noise(int samples) {
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(static_cast<size_t>(samples));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// What the filter gives of bytes, by one way or the other.
std::vector<float> run(const AxisFilter& down, const AxisFilter& across, RowFilter::Samples way,
                       const std::vector<uint8_t>& bytes, int width, int height, int bands) {
  std::vector<float> out;
  const size_t row = static_cast<size_t>(across.outputs() * bands);
  RowFilter filter(down, across, way, bands, width, [&](int y, const float* samples) {
    EXPECT_EQ(out.size(), static_cast<size_t>(y) * row) << "rows come in order";
    out.insert(out.end(), samples, samples + row);
  });
  const size_t line = static_cast<size_t>(width * bands);
  if (way == RowFilter::Samples::kBytes) {
    for (int y = 0; y < height; y += 2) {
      const uint8_t* first = bytes.data() + static_cast<size_t>(y) * line;
      filter.take_bytes(first, y + 1 < height ? first + line : nullptr);
    }
    return out;
  }
  for (int y = 0; y < height; y += RowFilter::kRowsMax) {
    const int count = std::min(RowFilter::kRowsMax, height - y);
    for (int i = 0; i < count; ++i) {
      widen8(bytes.data() + static_cast<size_t>(y + i) * line, filter.row(i), line);
    }
    filter.take(count);
  }
  return out;
}

double largest_difference(const std::vector<float>& got, const std::vector<double>& wanted) {
  EXPECT_EQ(got.size(), wanted.size());
  double most = 0;
  for (size_t i = 0; i < std::min(got.size(), wanted.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(got[i]) - wanted[i]));
  }
  return most;
}

TEST(RowFilter, ShrinksAsTheSumSaysInIntegersAndInFloats) {
  struct Size {
    int width, height, to_width, to_height;
  };
  for (const Size& size : std::vector<Size>{{50, 41, 21, 17},
                                            {33, 40, 33, 16},
                                            {9, 7, 3, 7},
                                            {1, 5, 1, 2},
                                            {70, 2, 11, 1},
                                            {64, 100, 64, 10},
                                            {3, 3, 3, 3},
                                            {40, 1, 7, 1}}) {
    for (const int bands : {1, 2, 3, 4}) {
      const auto bytes = noise(size.width * size.height * bands);
      const auto wanted = filtered_picture(bytes, size.width, size.height, bands, size.to_width,
                                           size.to_height, 3, lanczos3);
      const AxisFilter down = AxisFilter::shrinking("lanczos3", size.height, size.to_height);
      const AxisFilter across = AxisFilter::shrinking("lanczos3", size.width, size.to_width);
      const std::string what = fmt::format("{}x{} to {}x{}, {} bands", size.width, size.height,
                                           size.to_width, size.to_height, bands);
      EXPECT_LT(largest_difference(run(down, across, RowFilter::Samples::kFloats, bytes, size.width,
                                       size.height, bands),
                                   wanted),
                0.01)
          << what;
      EXPECT_LT(largest_difference(run(down, across, RowFilter::Samples::kBytes, bytes, size.width,
                                       size.height, bands),
                                   wanted),
                0.1)
          << what;
    }
  }
}

TEST(RowFilter, BlursAsTheSumSaysInIntegersAndInFloats) {
  for (const double sigma : {0.3, 1.0, 2.5, 8.0}) {
    const double radius = std::max(1.0, std::ceil(sigma * 3.5));
    const Kernel gaussian = [=](double x) { return std::exp(-0.5 * x * x / (sigma * sigma)); };
    for (const auto& [width, height] : {std::pair{45, 77}, std::pair{8, 5}, std::pair{1, 1}}) {
      const auto bytes = noise(width * height * 3);
      const auto wanted =
          filtered_picture(bytes, width, height, 3, width, height, radius, gaussian);
      const AxisFilter down = AxisFilter::gaussian(sigma, height);
      const AxisFilter across = AxisFilter::gaussian(sigma, width);
      EXPECT_LT(
          largest_difference(
              run(down, across, RowFilter::Samples::kFloats, bytes, width, height, 3), wanted),
          0.01)
          << sigma << " " << width << "x" << height;
      EXPECT_LT(largest_difference(
                    run(down, across, RowFilter::Samples::kBytes, bytes, width, height, 3), wanted),
                0.2)
          << sigma << " " << width << "x" << height;
    }
  }
}

TEST(RowFilter, OneColourStaysThatColour) {
  for (const int value : {0, 1, 127, 254, 255}) {
    const std::vector<uint8_t> bytes(60 * 50, static_cast<uint8_t>(value));
    for (const float sample :
         run(AxisFilter::shrinking("lanczos3", 50, 13), AxisFilter::gaussian(2, 60),
             RowFilter::Samples::kBytes, bytes, 60, 50, 1)) {
      ASSERT_NEAR(sample, value, 0.001);
    }
  }
}

// As the step blurred before it had a filter of its own: premultiplied floats through vips_convsep.
std::vector<uint8_t> blurred_by_libvips(const Picture& picture, double sigma) {
  std::vector<float> samples;
  for (const uint16_t sample : picture.samples) samples.push_back(sample);
  VipsImage* image = vips_image_new_from_memory(
      samples.data(), samples.size() * sizeof(float), static_cast<int>(picture.width),
      static_cast<int>(picture.height), picture.bands, VIPS_FORMAT_FLOAT);
  const int radius = std::max(1, static_cast<int>(std::ceil(sigma * 3.5)));
  std::vector<double> weights;
  double sum = 0;
  for (int i = -radius; i <= radius; ++i) {
    weights.push_back(std::exp(-0.5 * i * i / (sigma * sigma)));
    sum += weights.back();
  }
  VipsImage* mask =
      vips_image_new_matrix_from_array(2 * radius + 1, 1, weights.data(), 2 * radius + 1);
  vips_image_set_double(mask, "scale", sum);
  VipsImage* out = nullptr;
  EXPECT_EQ(vips_convsep(image, &out, mask, "precision", VIPS_PRECISION_FLOAT, nullptr), 0);
  size_t size = 0;
  void* data = vips_image_write_to_memory(out, &size);
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < size / sizeof(float); ++i) {
    bytes.push_back(
        static_cast<uint8_t>(std::clamp(static_cast<const float*>(data)[i], 0.0f, 255.0f) + 0.5f));
  }
  g_free(data);
  g_object_unref(out);
  g_object_unref(mask);
  g_object_unref(image);
  return bytes;
}

// In a child: a process that has run libvips must fork no more, and steps are run in children.
std::vector<uint8_t> in_child(const std::function<std::vector<uint8_t>()>& work) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::vector<uint8_t> bytes = work();
    size_t written = 0;
    while (written < bytes.size()) {
      const ssize_t more = write(ends[1], bytes.data() + written, bytes.size() - written);
      if (more <= 0) _exit(1);
      written += static_cast<size_t>(more);
    }
    _exit(0);
  }
  close(ends[1]);
  std::vector<uint8_t> bytes, part(65536);
  for (ssize_t more; (more = read(ends[0], part.data(), part.size())) > 0;) {
    bytes.insert(bytes.end(), part.begin(), part.begin() + more);
  }
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return bytes;
}

TEST(Blur, IsLibvipsOwnToALevel) {
  const Picture picture = make_picture(150, 90, 3, 8, [](int x, int y, int band) {
    return (x / 5 + y / 7 + band) % 2 == 0 ? 240 - x : 15 + y;
  });
  for (const double sigma : {0.5, 2.0, 6.0, 30.0}) {
    const StepAnswer answer =
        run_picture_step("blur", encode_png(picture), {{"sigma", fmt::format("{}", sigma)}});
    ASSERT_TRUE(answer.ok()) << answer.reason << answer.message;
    const Picture blurred = decoded(answer);
    const std::vector<uint8_t> wanted =
        in_child([&] { return blurred_by_libvips(picture, sigma); });
    ASSERT_EQ(blurred.samples.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_NEAR(blurred.samples[i], wanted[i], 1) << sigma << " at " << i;
    }
  }
}

}  // namespace
}  // namespace millrace::testing
