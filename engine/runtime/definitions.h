// Definitions: the graphs that jobs run on, by name (the current ones) and by digest (any that a
// record names).
//
// A definition is durable before it becomes current, so before any record can name it. Loop thread
// only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/pipeline/parse.h"

namespace millrace {

class Definitions {
 public:
  explicit Definitions(std::shared_ptr<const Catalogue> catalogue)
      : catalogue_(std::move(catalogue)) {}

  // Makes these the current ones and forgets the earlier current ones; those that jobs still run on
  // live as long as they do.
  void set_current(std::vector<std::shared_ptr<const Graph>> graphs);
  std::shared_ptr<const Graph> current(const std::string& name) const;  // null: none
  std::vector<std::shared_ptr<const Graph>> all_current() const;        // by name

  // The graph with this digest if it is known and alive; else null.
  std::shared_ptr<const Graph> known(const Digest& digest) const;
  // Reads a stored definition again. Null, and `why` in words, when its text no longer gives the
  // same graph: a plugin is missing or declares other ports than when the definition was stored.
  std::shared_ptr<const Graph> restore(const Digest& digest, const std::string& source,
                                       std::string* why);

 private:
  const std::shared_ptr<const Catalogue> catalogue_;
  std::map<std::string, std::shared_ptr<const Graph>> current_;
  // Old definitions stay parsed while a few jobs may still name them; bounded by kDefinitionsKept.
  std::unordered_map<Digest, std::shared_ptr<const Graph>, DigestHash> old_;
};

}  // namespace millrace
