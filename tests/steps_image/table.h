// The table of steps and what they do to pictures, as steps/README.md prints it: each cell is a
// promise, and the test `Table.<column>/<step>` shows that it is kept.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/steps_image/operations.h"

namespace millrace::testing {

enum Column {
  kIn,
  kOut,
  kAlpha,
  kDepth,
  kFewBits,
  kInk,
  kProfile,
  kOrientation,
  kAnimation,
  kPages,
  kDamage,
  kMetadata,
  kColumns
};

struct TableRow {
  std::string step;
  ParamTexts params;  // that make it do its work, differently along both axes
  std::string cells[kColumns];

  const std::string& operator[](Column column) const { return cells[column]; }
  // Decodes, works, encodes: the steps of one operation and `transform`.
  bool paints() const { return cells[kOut] == "any"; }
  // Only says something: no picture comes out.
  bool tells() const { return cells[kOut] == "none"; }
};

inline void PrintTo(const TableRow& row, std::ostream* out) {
  *out << row.step;
}

// One test for each column; its parameters are the rows.
class Table : public ::testing::TestWithParam<TableRow> {
 protected:
  const TableRow& row() const { return GetParam(); }
  bool cell(Column column, const char* words) const { return row()[column] == words; }
  // At the end of a test that proves none of the words it knows.
  void no_proof_of(Column column) const {
    ADD_FAILURE() << row().step << ": nothing proves '" << row()[column] << "'";
  }
};

const std::vector<TableRow>& table_rows();
// As Markdown, with the words' meanings behind it.
std::string table_text();

// A file, and the size of what is seen in it.
struct Carrier {
  std::string bytes;
  uint32_t width = 0, height = 0;
};
Carrier png_of(const Picture& picture, const PngStyle& style = {});

// The second input of the watermark, half covering; red in sRGB.
std::string mark(int red = 255, int green = 0, int blue = 0);

// The row's step on the file, with a second input of the right size where it needs one.
StepAnswer run_row(const TableRow& row, const Carrier& file, ParamTexts more = {});
// The same, written losslessly and decoded. An empty picture where none comes out.
struct Seen {
  StepAnswer answer;
  Picture picture;
};
Seen see_row(const TableRow& row, const Carrier& file, ParamTexts more = {});

bool is_heif_file(const std::string& bytes);
// What is seen in a result. AVIF and HEIC are read by `convert`: libheif does not read all that it
// codes without loss.
Picture seen_in(const StepAnswer& answer);

// The same as RGB, of a GIF its first frame, whatever the answer says that it is.
Picture rgb_of(const StepAnswer& answer);

// What came of two files is the same: equal facts, or pictures whose samples differ by at most
// `worst` and `mean`. Dithered ones are compared by their mean colours when `mean` is not 0.
void expect_alike(const TableRow& row, const Seen& a, const Seen& b, int worst, double mean,
                  const std::string& what);

// The picture with one band of alpha behind, all of it covered; of RGBA only the colours.
Picture with_alpha(const Picture& picture);
Picture without_alpha(const Picture& picture);
// Gray as RGB.
Picture as_rgb(const Picture& picture);
// 8 bits as 16.
Picture deepened(const Picture& picture);

}  // namespace millrace::testing
