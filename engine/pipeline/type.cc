#include "engine/pipeline/type.h"

#include "engine/base/errors.h"

namespace millrace {
namespace {

constexpr int kTypeDepthMax = 8;  // list<map<list<…>>>

struct Named {
  std::string_view name;
  Type::Kind kind;
};

constexpr Named kPlain[] = {
    {"bool", Type::Kind::kBool},         {"int", Type::Kind::kInt},
    {"float", Type::Kind::kFloat},       {"string", Type::Kind::kString},
    {"duration", Type::Kind::kDuration}, {"size", Type::Kind::kSize},
    {"url", Type::Kind::kUrl},           {"json", Type::Kind::kJson},
    {"blob", Type::Kind::kBlob},         {"image", Type::Kind::kImage},
};
constexpr Named kGeneric[] = {
    {"list", Type::Kind::kList},
    {"map", Type::Kind::kMap},
    {"secret", Type::Kind::kSecret},
};

std::string_view kind_name(Type::Kind kind) {
  for (const Named& named : kPlain) {
    if (named.kind == kind) return named.name;
  }
  for (const Named& named : kGeneric) {
    if (named.kind == kind) return named.name;
  }
  return "enum";
}

class TypeReader {
 public:
  explicit TypeReader(std::string_view text) : text_(text) {}

  Result<Type> read_all() {
    auto type = read(0);
    if (!type.ok()) return type;
    skip();
    if (at_ != text_.size()) return problem("ends here, but more text follows");
    return type;
  }

 private:
  Result<Type> read(int depth) {
    if (depth > kTypeDepthMax) return problem("is nested too deep");
    skip();
    const std::string name = word();
    if (name.empty()) return problem("has no name here");
    Type type;
    if (name == "enum") {
      type.kind = Type::Kind::kEnum;
      RETURN_IF_ERROR(read_names(&type));
    } else if (const Named* generic = find(kGeneric, name); generic != nullptr) {
      type.kind = generic->kind;
      if (!take('<')) return problem(fmt::format("needs an element: {}<string>", name));
      auto element = read(depth + 1);
      if (!element.ok()) return element;
      if (element->optional) return problem("has an optional element, which it cannot");
      type.element = std::make_shared<const Type>(*std::move(element));
      if (!take('>')) return problem("lacks a '>'");
    } else if (const Named* plain = find(kPlain, name); plain != nullptr) {
      type.kind = plain->kind;
    } else {
      return Status::invalid(
          errors::kTypeInvalid,
          fmt::format("'{}' is no type; there are bool int float string duration size url json "
                      "blob image list<T> map<T> enum<a,b> and T? for an optional one",
                      name));
    }
    type.optional = take('?');
    if (type.optional && take('?')) return problem("is optional twice");
    return type;
  }

  Status read_names(Type* type) {
    if (!take('<')) return problem("needs its values: enum<a,b>");
    do {
      skip();
      std::string name = word();
      if (name.empty()) return problem("lacks a value here");
      for (const std::string& other : type->names) {
        if (other == name) return problem(fmt::format("names '{}' twice", name));
      }
      type->names.push_back(std::move(name));
    } while (take(','));
    return take('>') ? Status() : problem("lacks a '>'");
  }

  template <size_t N>
  static const Named* find(const Named (&table)[N], std::string_view name) {
    for (const Named& named : table) {
      if (named.name == name) return &named;
    }
    return nullptr;
  }

  Status problem(std::string_view what) const {
    return Status::invalid(errors::kTypeInvalid,
                           fmt::format("the type '{}' {} (at character {})", text_, what, at_ + 1));
  }

  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') at_++;
  }
  bool take(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    at_++;
    return true;
  }
  std::string word() {
    const size_t first = at_;
    const auto belongs = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '_' || c == '-' || c == '.' || c == '/';
    };
    while (at_ < text_.size() && belongs(text_[at_])) at_++;
    return std::string(text_.substr(first, at_ - first));
  }

  const std::string_view text_;
  size_t at_ = 0;
};

bool holds_blob_or_secret(const Type& type) {
  if (type.is_blob() || type.kind == Type::Kind::kSecret) return true;
  return type.element != nullptr && holds_blob_or_secret(*type.element);
}

}  // namespace

bool Type::operator==(const Type& other) const {
  if (kind != other.kind || optional != other.optional || names != other.names) return false;
  if (element == nullptr || other.element == nullptr) return element == other.element;
  return *element == *other.element;
}

std::string Type::text() const {
  std::string text(kind_name(kind));
  if (kind == Kind::kEnum) {
    text += '<';
    for (size_t i = 0; i < names.size(); i++) text += (i == 0 ? "" : ",") + names[i];
    text += '>';
  } else if (element != nullptr) {
    text += '<' + element->text() + '>';
  }
  return optional ? text + '?' : text;
}

Result<Type> parse_type(std::string_view text) {
  return TypeReader(text).read_all();
}

bool assignable(const Type& to, const Type& from) {
  using Kind = Type::Kind;
  if (from.optional && !to.optional) return false;
  if (to.kind == from.kind) {
    if (to.kind == Kind::kEnum) {
      return std::all_of(from.names.begin(), from.names.end(), [&](const std::string& name) {
        return std::find(to.names.begin(), to.names.end(), name) != to.names.end();
      });
    }
    // An empty literal has no element type and passes everywhere.
    if (to.element == nullptr || from.element == nullptr) return true;
    return assignable(*to.element, *from.element);
  }
  switch (to.kind) {
    case Kind::kFloat:
      return from.kind == Kind::kInt;
    case Kind::kString:
      return from.kind == Kind::kUrl || from.kind == Kind::kEnum;
    case Kind::kBlob:
      return from.kind == Kind::kImage;
    case Kind::kJson:
      return !holds_blob_or_secret(from);
    default:
      return false;
  }
}

}  // namespace millrace
