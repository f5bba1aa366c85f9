// XmlReader: walks through the small documents that S3 answers with, element by element.
//
// It knows elements and text, the five entities and numeric ones; attributes, comments, prologues
// and CDATA are passed over or taken as text. It refuses nothing: of a document that is not what it
// should be, less is found.
#pragma once

#include <string>
#include <string_view>

namespace millrace::s3 {

class XmlReader {
 public:
  explicit XmlReader(std::string_view text) : rest_(text) {}

  // The text inside of the next element `name`, with what is below it, raw; false: there is none.
  bool next(std::string_view name, std::string_view* inside);

  // The text of the first element `name` of a document or a part of one, entities resolved; empty
  // when there is none. [any]
  static std::string text_of(std::string_view document, std::string_view name);

 private:
  std::string_view rest_;
};

}  // namespace millrace::s3
