#include "tests/process/hostile_requests.h"

#include <fmt/core.h>

#include "tests/process/photo.h"

namespace millrace {
namespace {

constexpr char kHost[] = "Host: localhost\r\n";
constexpr size_t kBombBytes = 16 << 20;

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; i++) out += text;
  return out;
}

std::string part(const std::string& name, const std::string& data,
                 const std::string& boundary = "B") {
  return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
         data + "\r\n";
}

}  // namespace

std::vector<std::string> ambiguous_requests() {
  const std::string post = "POST /v1/blobs HTTP/1.1\r\n", host = kHost;
  const std::string chunked = post + host + "Transfer-Encoding: chunked\r\n\r\n";
  const std::string none = "Content-Length: 0\r\n";
  return {
      post + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      post + host + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
      post + host + "Content-Length: 0\r\nContent-Length: 50\r\n\r\n",
      post + host + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
      post + host + "Content-Length: 0, 0\r\n\r\n",
      post + host + "Content-Length: 0x0\r\n\r\n",
      post + host + "Content-Length: -1\r\n\r\n",
      post + host + "Content-Length: +0\r\n\r\n",
      post + host + "Content-Length: 1 0\r\n\r\n",
      post + host + "Content-Length:\r\n\r\n",
      post + host + "Content-Length: 18446744073709551616\r\n\r\n",
      post + host + "Content-Length : 0\r\n\r\n",
      post + host + "Content-Length\t: 0\r\n\r\n",
      post + host + none +
          "Transfer-Encoding:\x0b"
          "chunked\r\n\r\n",
      post + host +
          "Transfer-Encoding: \x0c"
          "chunked\r\n\r\n",
      post + host + "Transfer-Encoding: identity\r\n\r\n",
      post + host + "Transfer-Encoding: chunked, identity\r\n\r\n",
      post + host + "Transfer-Encoding: gzip, chunked\r\n\r\n",
      post + host + "Transfer-Encoding:\r\n chunked\r\n\r\n",
      post + host + "Transfer-Encoding : chunked\r\n\r\n",
      post + host + none + "X: a\r\n b: c\r\n\r\n",
      post + host + none + "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n",
      post + host + none + "X: a\nTransfer-Encoding: chunked\r\n\r\n",
      post + host + none + "X: a\rTransfer-Encoding: chunked\r\n\r\n",
      post + host + none + "X: a\r\n\n",
      post + "Host: localhost\n" + none + "\n",
      post + host + none + " X: a\r\n\r\n",
      post + host + host + none + "\r\n",
      post + host + none + ": empty\r\n\r\n",
      post + host + none + "X\r\n\r\n",
      post + host + none + "X: " + std::string(1, '\0') + "\r\n\r\n",
      post + host + none + "X(: a\r\n\r\n",
      "POST /v1/blobs HTTP/1.1 \r\n" + host + none + "\r\n",
      "POST  /v1/blobs HTTP/1.1\r\n" + host + none + "\r\n",
      "POST /v1/blobs HTTP/1.1 HTTP/1.1\r\n" + host + none + "\r\n",
      "POST /v1/blobs HTTP/1.10\r\n" + host + none + "\r\n",
      "POST /v1/blobs\r\n",
      "post /v1/blobs HTTP/1.1\r\n" + host + none + "\r\n",
      "POST /v1/blobs HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      chunked + "0x1\r\na\r\n0\r\n\r\n",
      chunked + "+1\r\na\r\n0\r\n\r\n",
      chunked + " 1\r\na\r\n0\r\n\r\n",
      chunked + "1\na\r\n0\r\n\r\n",
      chunked + "1\r\na\n0\r\n\r\n",
      chunked + "1\r\naXX0\r\n\r\n",
      chunked + "1\r\na\r\n0\n\n",
      chunked + "1;a\nb\r\na\r\n0\r\n\r\n",
      chunked + "10000000000000001\r\na\r\n0\r\n\r\n",
      chunked + "\r\na\r\n0\r\n\r\n",
      chunked + "1_0\r\na\r\n0\r\n\r\n",
  };
}

std::vector<std::pair<std::string, int>> oversized_requests() {
  const std::string get = std::string("GET /livez HTTP/1.1\r\n") + kHost;
  return {
      {"GET /" + std::string(4 << 20, 'a') + " HTTP/1.1\r\n\r\n", 414},
      {"GET /livez?" + std::string(64 << 10, '%') + " HTTP/1.1\r\n\r\n", 414},
      {get + "X: " + std::string(4 << 20, 'a') + "\r\n\r\n", 431},
      {get + std::string(4 << 20, 'x') + ": a\r\n\r\n", 431},
      {get + repeated("X: y\r\n", 500'000) + "\r\n", 431},
      {get + "Cookie: " + repeated("a=b; ", 100'000) + "\r\n\r\n", 431},
      {std::string("POST /v1/blobs HTTP/1.1\r\n") + kHost +
           "Transfer-Encoding: chunked\r\n\r\n0\r\n" + repeated("Trailer: t\r\n", 200'000) + "\r\n",
       400},
      {std::string("POST /v1/blobs HTTP/1.1\r\n") + kHost + "Transfer-Encoding: chunked\r\n\r\n1;" +
           std::string(2 << 20, 'e') + "\r\na\r\n0\r\n\r\n",
       400},
      {std::string("POST /v1/blobs HTTP/1.1\r\n") + kHost +
           "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na\r\n0\r\n\r\n",
       413},
  };
}

std::string garbage_bytes() {
  std::string out;
  uint32_t state = 20;
  while (out.size() < 1 << 20) {
    state = state * 1664525 + 1013904223;
    out += static_cast<char>(state >> 24);
  }
  return out;
}

std::vector<Form> multipart_bombs() {
  const std::string end = "--B--\r\n", photo = make_photo(0);
  const std::string inner =
      "--B\r\nContent-Disposition: form-data; name=\"image\"\r\nContent-Type: "
      "multipart/mixed; boundary=C\r\n\r\n" +
      part("image", photo, "C") + "--C--\r\n\r\n" + end;
  return {
      {"thousands of parts", "B", repeated(part("x", ""), 20'000) + end, 400, "E008"},
      {"thousands of files", "B", repeated(part("image", photo), 200) + end, 400, "E008"},
      {"a part's head without end", "B",
       "--B\r\nContent-Disposition: form-data; name=\"image\"\r\n" +
           repeated("X-Y: z\r\n", 500'000),
       400, "E008"},
      {"a name without end", "B", part(std::string(1 << 20, 'n'), "a") + end, 400, "E008"},
      {"names as long as they may be", "B", repeated(part(repeated("é", 3'900), "\xff"), 128) + end,
       422, "E010"},
      {"a boundary of a kilobyte", std::string(1024, 'b'), "", 400, "E008"},
      {"a boundary that nearly comes", std::string(70, '-'), repeated("\r\n--", 5 << 20), 400,
       "E008"},
      {"a boundary that never comes", "B",
       "--B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n" +
           std::string(kBombBytes, 'i'),
       400, "E008"},
      {"a form in a form", "B", inner, 415, "E018"},
      {"a field that is an image's size", "B", part("quality", std::string(kBombBytes, '1')) + end,
       422, "E011"},
      {"a field of very many values", "B",
       part("quality", "[" + repeated("0,", kBombBytes / 2) + "0]") + end, 413, "E017"},
  };
}

std::vector<Form> json_bombs() {
  const auto inputs = [](const std::string& text) {
    return "{\"inputs\":{\"data\":" + text + "}}";
  };
  std::string many = "{\"inputs\":{\"a\":1";
  for (int i = 0; i < 20'000; i++) many += fmt::format(",\"a{}\":1", i);
  return {
      {"a list of very many numbers", "", inputs("[" + repeated("0,", kBombBytes / 2) + "0]"), 413,
       "E017"},
      {"a list of very many objects", "", inputs("[" + repeated("{},", kBombBytes / 3) + "0]"), 413,
       "E017"},
      {"very deep", "", inputs(std::string(kBombBytes, '[')), 413, "E017"},
      {"deep", "", inputs(std::string(50'000, '[') + std::string(50'000, ']')), 400, "E007"},
      {"very many inputs", "", many + "}}", 422, "E009"},
      {"a very long name", "", "{\"inputs\":{\"" + std::string(kBombBytes, 'n') + "\":1}}", 422,
       "E009"},
      {"a long name of escapes", "", "{\"" + repeated("\\u0001", 1 << 20) + "\":1}", 422, "E009"},
      {"a very long text", "", inputs("\"" + std::string(kBombBytes, 't') + "\""), 422, "E010"},
      {"a number of a million digits", "", inputs(std::string(1 << 20, '9')), 400, "E007"},
  };
}

std::vector<Bomb> image_bombs() {
  constexpr uint64_t kZeros = 300'000'000;
  return {
      {"a PNG that announces ten gigapixels", make_announced_png(100'000, 100'000),
       "too_many_pixels"},
      {"a PNG of the greatest size there is", make_announced_png(0x7fffffff, 0x7fffffff),
       "too_many_pixels"},
      {"a GIF of very many frames", make_gif_bomb(100'000, 1), "too_many_frames"},
      {"a GIF of very many pixels", make_gif_bomb(5'000, 5'000), "too_many_pixels"},
      {"a text that inflates", make_png_bomb("zTXt", kZeros), ""},
      {"a colour profile that inflates", make_png_bomb("iCCP", kZeros), ""},
      {"pixels that inflate", make_png_bomb("IDAT", kZeros), ""},
  };
}

std::vector<Polyglot> polyglots() {
  const std::string page = "<html><script>alert(1)</script></html>";
  const std::string octets = "application/octet-stream";
  const std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
  return {
      {"a page", "page.html", "text/html", page, octets},
      {"a page that says it is a picture", "a.jpg", "image/jpeg", page, octets},
      {"a page in capitals", "b.htm", "TEXT/HTML; charset=utf-7", page + " ", octets},
      {"a vector image", "a.svg", "image/svg+xml", svg, octets},
      {"a page of XML", "a.xhtml", "application/xhtml+xml", "<?xml version=\"1.0\"?>" + page,
       octets},
      {"a script", "a.js", "text/javascript", "alert(1)", octets},
      {"a photograph with a page behind it", "b.html", "text/html", make_photo(2) + page,
       "image/jpeg"},
      {"a photograph with an archive behind it", "a.zip", "application/zip",
       make_photo(2) + std::string("PK\x05\x06", 4) + std::string(18, '\0'), "image/jpeg"},
      {"a GIF that is a script", "b.js", "text/javascript",
       "GIF89a/*" + std::string("\x01\x01\0\0", 4) + "*/=1;alert(1)", "image/gif"},
  };
}

std::vector<std::string> evil_keys() {
  return {"../outside",
          "a/../../outside",
          "/outside",
          "//outside",
          "a//outside",
          "./outside",
          "a/./outside",
          "..",
          "outside/..",
          "a\\u0000outside",
          "a\\r\\noutside",
          "outside/",
          ".millrace.tmp/outside",
          "",
          "\\u007foutside"};
}

std::vector<std::string> evil_paths() {
  return {"../../../etc/passwd",
          "..%2f..%2f..%2fetc%2fpasswd",
          "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
          "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
          "..%5c..%5cetc%5cpasswd",
          "..\\..\\etc\\passwd",
          "%252e%252e%252fetc%252fpasswd",
          "/etc/passwd",
          "%2fetc%2fpasswd",
          "a%00/../../etc/passwd",
          "%c0%ae%c0%ae/etc/passwd",
          "%0d%0aSet-Cookie:%20a=b",
          ".millrace.tmp/a",
          "",
          "%",
          "%zz"};
}

std::vector<std::string> evil_file_names() {
  return {"filename=\"../../../outside\"",
          "filename=\"..\\\\..\\\\outside\"",
          "filename=\"%2e%2e%2foutside\"",
          "filename=\"a.jpg\\r\\nSet-Cookie: a=b\"",
          "filename=\"a.jpg\rSet-Cookie: a=b\"",
          "filename=\"a.jpg\nSet-Cookie: a=b\"",
          "filename*=UTF-8''a%0d%0aSet-Cookie:%20a=b",
          "filename*=UTF-8''..%2foutside",
          "filename=\"" + std::string(1, '\0') + "outside\"",
          "filename=\"" + std::string(7000, 'o') + "\""};
}

std::vector<std::string> evil_ranges() {
  std::string many = "bytes=0-0", same = "bytes=0-";
  for (int i = 0; i < 1000; i++) many += fmt::format(",{}-{}", 2 * i, 2 * i);
  for (int i = 0; i < 1000; i++) same += ",0-";
  return {many,
          same,
          "bytes=0-,0-,0-",
          "bytes=-0",
          "bytes=-1",
          "bytes=-18446744073709551616",
          "bytes=18446744073709551615-",
          "bytes=18446744073709551614-18446744073709551615",
          "bytes=0-18446744073709551615",
          "bytes=0-99999999999999999999999999",
          "bytes=5-2",
          "bytes=--5",
          "bytes=-5-5",
          "bytes=",
          "bytes=-",
          "bytes=a-b",
          "lines=0-5",
          "bytes=0x0-0x5",
          "bytes=3145727-",
          "bytes=3145728-"};
}

}  // namespace millrace
