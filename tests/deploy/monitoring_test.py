"""Goal: alerts and dashboard ask only for what the server tells, each alert fires when it should,
and each is explained.

Method: names and labels are compared with the engine's metrics; promtool checks and tests the
rules.
"""

import json
import pathlib
import re
import tempfile
import unittest

from tools import ROOT, main, need_module, need_program, run

RULES = ROOT / "deploy" / "prometheus-rules.yaml"
TESTS = ROOT / "deploy" / "prometheus-rules.test.yaml"
# Prometheus itself makes these for each target.
OF_PROMETHEUS = {"up": set()}
OF_SCRAPES = {"job", "instance", "namespace", "service", "pod"}


def metrics_of_the_server():
    """Name -> labels, as written in the sources."""
    text = (ROOT / "engine" / "base" / "metrics.h").read_text()
    found = {
        name: set(re.findall(r'"(\w+)"', labels))
        for name, labels in re.findall(
            r'Family<\w+> \w+\{\s*"(\w+)",\s*(?:"[^"]*"\s*)+,\s*\{([^}]*)\}', text
        )
    }
    for name in re.findall(r"Family<Histogram> \w+\{\s*\"(\w+)\"", text):
        found |= {
            f"{name}_bucket": found[name] | {"le"},
            f"{name}_sum": found[name],
            f"{name}_count": found[name],
        }
        del found[name]
    process = re.findall(r'"(process_\w+)"', (ROOT / "engine" / "base" / "metrics.cc").read_text())
    return found | {name: set() for name in process} | OF_PROMETHEUS


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rules = need_module("yaml").safe_load(RULES.read_text())["groups"][0]["rules"]
        cls.panels = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())["panels"]
        cls.known = metrics_of_the_server()

    def expressions(self):
        yield from ((rule["alert"], rule["expr"]) for rule in self.rules)
        yield from (
            (panel["title"], one["expr"]) for panel in self.panels for one in panel["targets"]
        )

    def test_the_sources_are_understood(self):
        self.assertEqual(self.known["millrace_jobs_total"], {"pipeline", "state"})
        self.assertEqual(self.known["millrace_commit_duration_seconds_bucket"], {"le"})
        text = (ROOT / "engine" / "base" / "metrics.h").read_text()
        self.assertEqual(
            len(set(re.findall(r'"(millrace_\w+)"', text))),
            len(
                [
                    name
                    for name in self.known
                    if name.startswith("millrace_") and not name.endswith(("_bucket", "_sum"))
                ]
            ),
        )

    def test_each_query_asks_for_metrics_and_labels_that_there_are(self):
        for where, text in self.expressions():
            names = re.findall(r"\b(?:millrace|process)_\w+|\bup\b", text)
            self.assertTrue(names, where)
            self.assertEqual(set(names) - set(self.known), set(), where)
            for name, labels in re.findall(r"(\w+)\{([^}]*(?:\{name\}[^}]*)?)\}", text):
                asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
                self.assertEqual(asked - self.known[name] - OF_SCRAPES, set(), where)
            grouped = {
                label
                for group in re.findall(r"by \(([^)]*)\)", text)
                for label in group.split(", ")
            }
            labels = set().union(*(self.known[name] for name in names))
            self.assertEqual(grouped - labels - OF_SCRAPES, set(), where)

    def test_each_metric_of_the_engine_is_on_the_dashboard(self):
        shown = " ".join(text for _, text in self.expressions())
        for name in self.known:
            if name.startswith("millrace_"):
                self.assertIn(re.sub(r"_(bucket|sum|count)$", "", name), shown)

    def test_routes_and_values_in_the_rules_are_those_of_the_sources(self):
        routes = (ROOT / "server" / "routes.cc").read_text()
        outcomes = (ROOT / "engine" / "runtime" / "local_runtime.cc").read_text()
        for where, text in self.expressions():
            for route in re.findall(r'route="([^"]*)"', text):
                self.assertIn(f'"{route}"', routes, where)
            for outcome in re.findall(r'outcome!?="([^"]*)"', text):
                self.assertIn(f'return "{outcome}"', outcomes, where)

    def test_promtool_finds_nothing(self):
        result = run(need_program("promtool"), "check", "rules", RULES)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_promtool_reads_the_queries_of_the_dashboard(self):
        queries = [text.replace("$__rate_interval", "5m") for _, text in self.expressions()]
        rules = [{"record": f"query_{i}", "expr": text} for i, text in enumerate(queries)]
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "rules.yaml"
            file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
            result = run(need_program("promtool"), "check", "rules", file)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_each_alert_fires_on_trouble_and_not_without(self):
        result = run(need_program("promtool"), "test", "rules", TESTS)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        names = re.findall(r"- name: (\w+), (trouble|none)\n", TESTS.read_text())
        self.assertEqual(
            set(names),
            {(rule["alert"], what) for rule in self.rules for what in ("trouble", "none")},
        )

    def test_each_alert_is_explained(self):
        text = (ROOT / "docs" / "operating.md").read_text()
        sections = {name.lower() for name in re.findall(r"^### (\w+)$", text, re.M)}
        for rule in self.rules:
            self.assertEqual(
                rule["annotations"]["runbook"], f"docs/operating.md#{rule['alert'].lower()}"
            )
            self.assertIn(rule["alert"].lower(), sections)
        self.assertEqual(
            {name for name in sections if name.startswith("millrace")},
            {rule["alert"].lower() for rule in self.rules},
        )

    def test_links_between_the_pages_lead_somewhere(self):
        for name in (
            "docs/operating.md",
            "docs/capacity.md",
            "charts/millrace/README.md",
            "bench/autoscaling.md",
        ):
            page = ROOT / name
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                self.assertTrue((page.parent / link).exists(), f"{name}: {link}")


if __name__ == "__main__":
    main()
