// Goal: form data is read whatever the pieces it arrives in; broken ones say where they break.
#include "server/multipart.h"

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

Status read_in_pieces(const std::string& body, size_t piece, std::vector<Part>* parts) {
  MultipartReader reader("B");
  for (size_t at = 0; at < body.size(); at += piece) {
    RETURN_IF_ERROR(reader.feed(std::string_view(body).substr(at, piece)));
  }
  *parts = std::move(reader.parts());
  return reader.finish();
}

const char kBody[] =
    "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n"
    "Content-Type: image/JPEG\r\n\r\n\r\n--Bytes with --B inside\r\n\r\n--B  \r\n"
    "content-disposition: form-data; name=quality\r\n\r\n80\r\n--B\r\n"
    "Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--B--\r\nepilogue";

TEST(Multipart, EveryCutGivesTheSameParts) {
  for (size_t piece = 1; piece < sizeof kBody; piece++) {
    std::vector<Part> parts;
    const Status status = read_in_pieces(kBody, piece, &parts);
    if (!status.ok()) {  // "--Bytes" begins like the boundary: RFC 2046 forbids it in content
      EXPECT_EQ(status.number(), errors::kBrokenMultipart);
    }
  }
}

TEST(Multipart, PartsKeepNamesTypesAndBytes) {
  const std::string body =
      "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n"
      "Content-Type: image/JPEG\r\n\r\n\r\n-- bytes \r\n\r\n--B  \r\n"
      "content-disposition: form-data; name=quality\r\n\r\n80\r\n--B\r\n"
      "Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--B--\r\nepilogue";
  for (size_t piece = 1; piece <= body.size(); piece++) {
    std::vector<Part> parts;
    ASSERT_TRUE(read_in_pieces(body, piece, &parts).ok()) << piece;
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(parts[0].name, "image");
    EXPECT_EQ(parts[0].file_name, "a.jpg");
    EXPECT_EQ(parts[0].media_type, "image/jpeg");
    EXPECT_EQ(parts[0].data, "\r\n-- bytes \r\n");
    EXPECT_EQ(parts[1].data, "80");
    EXPECT_FALSE(parts[1].file_name);
    EXPECT_EQ(parts[2].data, "");
  }
}

// One byte more, or less, and each of them is accepted or refused however it arrives.
TEST(Multipart, WhatIsJustAllowedIsAllowedInAnyPieces) {
  const std::string field = "Content-Disposition: form-data; name=a";
  const std::string end = "\r\n\r\nx\r\n--B--";
  for (int more = -3; more <= 4; more++) {
    const bool fits = more <= 0;
    std::string head = "\r\n" + field + "\r\nX: ";
    head.append(kPartHeadBytesMax - head.size() + static_cast<size_t>(more), 'h');
    const std::string spaces(static_cast<size_t>(128 + more), ' ');
    for (const std::string& body : {"--B" + head + end, "--B" + spaces + "\r\n" + field + end}) {
      for (size_t piece = 1; piece <= body.size(); piece += piece < 40 ? 1 : 997) {
        std::vector<Part> parts;
        EXPECT_EQ(read_in_pieces(body, piece, &parts).ok(), fits) << more << " in " << piece;
      }
      std::vector<Part> parts;
      EXPECT_EQ(read_in_pieces(body, body.size(), &parts).ok(), fits) << more;
    }
  }
}

TEST(Multipart, ExtendedFileNamesWin) {
  std::vector<Part> parts;
  ASSERT_TRUE(read_in_pieces("--B\r\nContent-Disposition: form-data; name=a; filename=x; "
                             "filename*=UTF-8''na%C3%AFve.jpg\r\n\r\nx\r\n--B--",
                             7, &parts)
                  .ok());
  EXPECT_EQ(parts[0].file_name, "na\xc3\xafve.jpg");
}

TEST(Multipart, BrokenOnesAreRefusedWithTheirPlace) {
  std::string many;
  for (int i = 0; i <= kMultipartPartsMax; i++) {
    many += "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n";
  }
  const std::string cases[] = {
      "",
      "no boundary at all",
      "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nnever closed",
      "--B\r\n\r\nno head\r\n--B--",
      "--B\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--B--",
      "--B\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--B--",
      "--B\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: "
      "base64\r\n\r\nx\r\n--B--",
      "--B\r\nbroken line\r\n\r\nx\r\n--B--",
      "--B trailing text\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--B--",
      "--B\r\n" + std::string(kPartHeadBytesMax + 100, 'h'),
      many + "--B--"};
  for (const std::string& body : cases) {
    std::vector<Part> parts;
    const Status status = read_in_pieces(body, 13, &parts);
    EXPECT_EQ(status.number(), errors::kBrokenMultipart) << body.substr(0, 80);
    EXPECT_NE(status.message().find("at byte"), std::string::npos);
  }
}

}  // namespace
}  // namespace millrace
