#include "engine/pipeline/render.h"

#include <bit>

#include "engine/pipeline/identity.h"

namespace millrace {
namespace {

// Steps by how far they stand from the first ones, in file order.
std::vector<std::vector<int>> layers_of(const Graph& graph) {
  std::vector<int> depth(graph.steps.size(), 0);
  // A graph has no cycles, so one round per step is enough.
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < graph.steps.size(); i++) {
      for (StepSet left = graph.steps[i].after; left != 0; left &= left - 1) {
        const int least = depth[static_cast<size_t>(std::countr_zero(left))] + 1;
        if (depth[i] >= least) continue;
        depth[i] = least;
        changed = true;
      }
    }
  }
  std::vector<std::vector<int>> layers;
  for (size_t i = 0; i < depth.size(); i++) {
    const auto layer = static_cast<size_t>(depth[i]);
    if (layers.size() <= layer) layers.resize(layer + 1);
    layers[layer].push_back(static_cast<int>(i));
  }
  return layers;
}

bool is_required(const Graph& graph, int from, int to) {
  return (graph.steps[static_cast<size_t>(to)].require >> from & 1) != 0;
}

template <typename Visit>
void for_each_edge(const Graph& graph, Visit visit) {
  for (size_t to = 0; to < graph.steps.size(); to++) {
    for (StepSet left = graph.steps[to].after; left != 0; left &= left - 1) {
      visit(std::countr_zero(left), static_cast<int>(to));
    }
  }
}

std::string escaped(std::string_view text, bool quotes_as_hash) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += quotes_as_hash ? "#38;" : "&amp;";
        break;
      case '<':
        out += quotes_as_hash ? "#60;" : "&lt;";
        break;
      case '>':
        out += quotes_as_hash ? "#62;" : "&gt;";
        break;
      case '"':
        out += quotes_as_hash ? "#34;" : "&quot;";
        break;
      case '\n':
      case '\r':
        out += ' ';
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string dot_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

// ---- SVG

constexpr int kBoxWidth = 180, kBoxHeight = 56, kGapX = 64, kGapY = 24, kMargin = 16,
              kTitleHeight = 28;

struct Place {
  int x = 0, y = 0;
};

std::string svg_edge(const Place& from, const Place& to, bool required) {
  const int x1 = from.x + kBoxWidth, y1 = from.y + kBoxHeight / 2, x2 = to.x - 6,
            y2 = to.y + kBoxHeight / 2;
  const int bend = std::max(kGapX / 2, (x2 - x1) / 2);
  return fmt::format(
      "<path d=\"M{} {} C{} {} {} {} {} {}\" fill=\"none\" stroke=\"#8a8f98\" stroke-width=\"1.5\" "
      "marker-end=\"url(#arrow)\"{}/>\n",
      x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2, required ? "" : " stroke-dasharray=\"5 4\"");
}

std::string svg_box(const Graph& graph, const StepNode& step, const Place& at) {
  const bool pure = step.decl->effect == Effect::kPure;
  const std::string condition = condition_text(graph, step);
  const std::string title =
      condition.empty() ? "" : fmt::format("<title>if: {}</title>", escaped(condition, false));
  return fmt::format(
      "<g>{}<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"#ffffff\" "
      "stroke=\"{}\" "
      "stroke-width=\"1.5\"{}/>"
      "<text x=\"{}\" y=\"{}\" font-weight=\"600\" fill=\"#1f2328\">{}</text>"
      "<text x=\"{}\" y=\"{}\" font-size=\"12\" fill=\"#59636e\">{} · {}</text></g>\n",
      title, at.x, at.y, kBoxWidth, kBoxHeight, pure ? "#3b82c4" : "#c2703b",
      condition.empty() ? "" : " stroke-dasharray=\"6 3\"", at.x + 12, at.y + 24,
      escaped(step.id.substr(0, 22), false), at.x + 12, at.y + 43,
      escaped(step.decl->name.substr(0, 18), false), effect_name(step.decl->effect));
}

}  // namespace

std::string template_text(const Graph& graph, const Template& source) {
  const GraphNames names(graph);
  std::string text;
  switch (source.kind) {
    case Template::Kind::kUnset:
      return {};
    case Template::Kind::kConstant: {
      const Value view = value_for_view(source.type, source.constant);
      return view.kind() == Value::Kind::kString ? view.as_string() : canonical_json(view);
    }
    case Template::Kind::kExpression:
      return fmt::format("${{{{ {} }}}}", expression_text(*source.expression.root(), names));
    case Template::Kind::kText:
      for (const Template& part : source.parts) text += template_text(graph, part);
      return text;
    case Template::Kind::kList:
      for (const Template& part : source.parts)
        text += (text.empty() ? "[" : ", ") + template_text(graph, part);
      return text + ']';
    case Template::Kind::kMap:
      for (size_t i = 0; i < source.parts.size(); i++) {
        text += fmt::format("{}{}: {}", i == 0 ? "{" : ", ", source.names[i],
                            template_text(graph, source.parts[i]));
      }
      return text + '}';
  }
  return text;
}

std::string condition_text(const Graph& graph, const StepNode& step) {
  if (!step.condition) return {};
  return expression_text(*step.condition->root(), GraphNames(graph));
}

std::string graph_dot(const Graph& graph) {
  std::string out =
      fmt::format("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n",
                  dot_escaped(graph.name));
  for (const StepNode& step : graph.steps) {
    const std::string condition = condition_text(graph, step);
    out += fmt::format("  \"{}\" [label=\"{}\\n{} ({}){}\"{}];\n", step.id, step.id,
                       dot_escaped(step.decl->name), effect_name(step.decl->effect),
                       condition.empty() ? "" : "\\nif " + dot_escaped(condition),
                       condition.empty() ? "" : ", style=\"rounded,dashed\"");
  }
  for_each_edge(graph, [&](int from, int to) {
    out += fmt::format("  \"{}\" -> \"{}\"{};\n", graph.steps[static_cast<size_t>(from)].id,
                       graph.steps[static_cast<size_t>(to)].id,
                       is_required(graph, from, to) ? "" : " [style=dashed]");
  });
  return out + "}\n";
}

std::string graph_mermaid(const Graph& graph) {
  std::string out = "flowchart LR\n";
  // Mermaid has words of its own, such as "end": a prefix keeps ids out of their way.
  for (const StepNode& step : graph.steps) {
    const std::string condition = condition_text(graph, step);
    out += fmt::format("  s_{}[\"{}<br/>{} ({}){}\"]\n", step.id, step.id,
                       escaped(step.decl->name, true), effect_name(step.decl->effect),
                       condition.empty() ? "" : "<br/>if " + escaped(condition, true));
  }
  for_each_edge(graph, [&](int from, int to) {
    out += fmt::format("  s_{} {} s_{}\n", graph.steps[static_cast<size_t>(from)].id,
                       is_required(graph, from, to) ? "-->" : "-.->",
                       graph.steps[static_cast<size_t>(to)].id);
  });
  return out;
}

std::string graph_svg(const Graph& graph) {
  const auto layers = layers_of(graph);
  size_t tallest = 1;
  for (const auto& layer : layers) tallest = std::max(tallest, layer.size());
  const int columns = static_cast<int>(layers.size()), rows = static_cast<int>(tallest);
  const int width = 2 * kMargin + columns * kBoxWidth + (columns - 1) * kGapX;
  const int inner_height = rows * kBoxHeight + (rows - 1) * kGapY;
  const int height = 2 * kMargin + kTitleHeight + inner_height;
  std::vector<Place> places(graph.steps.size());
  for (size_t column = 0; column < layers.size(); column++) {
    const int count = static_cast<int>(layers[column].size());
    const int top =
        kMargin + kTitleHeight + (inner_height - count * kBoxHeight - (count - 1) * kGapY) / 2;
    for (int row = 0; row < count; row++) {
      Place& place = places[static_cast<size_t>(layers[column][static_cast<size_t>(row)])];
      place.x = kMargin + static_cast<int>(column) * (kBoxWidth + kGapX);
      place.y = top + row * (kBoxHeight + kGapY);
    }
  }
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" "
      "font-family=\"system-ui, sans-serif\" font-size=\"14\" role=\"img\">\n<title>{2}</title>\n"
      "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" "
      "markerHeight=\"7\" "
      "orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#8a8f98\"/></marker></defs>\n"
      "<rect width=\"{0}\" height=\"{1}\" rx=\"8\" fill=\"#f6f8fa\"/>\n"
      "<text x=\"{3}\" y=\"{4}\" font-weight=\"600\" fill=\"#1f2328\">{2}</text>\n",
      width, height, escaped(graph.name, false), kMargin, kMargin + 14);
  for_each_edge(graph, [&](int from, int to) {
    out += svg_edge(places[static_cast<size_t>(from)], places[static_cast<size_t>(to)],
                    is_required(graph, from, to));
  });
  for (size_t i = 0; i < graph.steps.size(); i++) out += svg_box(graph, graph.steps[i], places[i]);
  return out + "</svg>\n";
}

}  // namespace millrace
