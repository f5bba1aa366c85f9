"""Goal: the computations in bench/ go on computing what their pages say.

Method: a short simulated day with a burst, the arithmetic of small cases, and the tables of the
pages against their scripts.
"""

import random
import sys
import unittest
import xml.etree.ElementTree

from tools import ROOT, main, run

sys.path.insert(0, str(ROOT / "bench"))
import autoscaling  # noqa: E402
import autoscaling_plot  # noqa: E402
import capacity  # noqa: E402


class Autoscaling(unittest.TestCase):
    def scaler(self, target=2.0, **more):
        return autoscaling.Autoscaler(
            [(lambda one: one.seen_backlog, target)], autoscaling.OURS._replace(**more)
        )

    def replicas(self, *backlogs, starting=0):
        out = []
        for backlog in backlogs:
            one = autoscaling.Replica(0)
            one.seen_backlog = backlog
            out.append(one)
        return out + [autoscaling.Replica(100) for _ in range(starting)]

    def test_the_same_seed_gives_the_same_day(self):
        one, two = (autoscaling.measure(0.2, 7)[1] for _ in range(2))
        self.assertEqual(one, two)
        self.assertNotEqual(one, autoscaling.measure(0.2, 8)[1])

    def test_no_job_is_lost_and_none_is_served_before_it_came(self):
        rate = autoscaling.arrival_rate(0.3, random.Random(3))
        source, arrived = random.Random(3), 0
        for one in rate:
            arrived += autoscaling.poisson(one, source)
        for policy in autoscaling.policies().values():
            waits, _ = autoscaling.simulate(policy, rate, 3)
            self.assertAlmostEqual(sum(waits.values()), arrived, delta=1)
            self.assertGreaterEqual(min(waits), 0)

    def test_it_decides_as_kubernetes_does(self):
        self.assertEqual(self.scaler().desired(self.replicas(3, 5), 0), 4)
        self.assertEqual(self.scaler().desired(self.replicas(2, 2.3), 0), 2)  # within the tolerance
        self.assertEqual(
            self.scaler().desired(self.replicas(3, 5, starting=2), 0), 4
        )  # what starts counts as idle
        self.assertEqual(self.scaler().desired(self.replicas(1, 1), 0), 1)

    def test_it_grows_and_shrinks_no_faster_than_allowed(self):
        fast = self.scaler(up_percent=100, up_pods=4, up_period=30)
        self.assertEqual(fast.decide(self.replicas(99, 99), 0), 6)
        self.assertEqual(
            fast.decide(self.replicas(99, 99, 0, 0, 0, 0), 15), 6
        )  # still in the period
        slow = self.scaler(down_window=60, down_percent=50, down_period=60)
        self.assertEqual(slow.decide(self.replicas(*[2.0] * 8), 0), 8)
        self.assertEqual(
            slow.decide(self.replicas(*[0.0] * 8), 30), 8
        )  # it wanted eight within the window
        self.assertEqual(slow.decide(self.replicas(*[0.0] * 8), 90), 4)

    def test_a_burst_waits_less_when_the_backlog_is_followed(self):
        rate = [800] * 200 + [2800] * 700 + [800] * 200
        results = {
            name: autoscaling.simulate(policy, rate, 1)[0]
            for name, policy in autoscaling.policies().items()
        }
        waits = {name: autoscaling.quantile(result, 0.99) for name, result in results.items()}
        usual = waits["CPU 70 %, Kubernetes' rates"]
        self.assertLess(2 * max(wait for name, wait in waits.items() if "(the chart)" in name), usual, waits)

    def test_the_page_speaks_of_these_policies(self):
        text = (ROOT / "bench" / "autoscaling.md").read_text()
        for name in autoscaling.policies():
            self.assertIn(f"| {name} |", text)

    def test_the_plot_is_well_formed(self):
        rate, results = autoscaling.measure(0.1, 1)
        xml.etree.ElementTree.fromstring(
            autoscaling_plot.draw(rate, results, autoscaling.JOBS_PER_SECOND)
        )

    def test_its_rates_are_those_of_the_chart(self):
        values = (ROOT / "charts" / "millrace" / "values.yaml").read_text()
        helpers = (ROOT / "charts" / "millrace" / "templates" / "_helpers.tpl").read_text()
        ours = autoscaling.OURS
        self.assertIn(f"scaleDownPercent: {ours.down_percent}\n", values)
        self.assertIn(f"scaleDownStabilizationSeconds: {ours.down_window}\n", values)
        self.assertIn("cpuPercent: 50\n", values)
        self.assertIn(f"backlogSeconds: {autoscaling.BACKLOG_SECONDS}\n", values)
        self.assertIn(
            f"type: Percent, value: {ours.up_percent}, periodSeconds: {ours.up_period} ", helpers
        )
        self.assertIn(
            f"type: Pods, value: {ours.up_pods}, periodSeconds: {ours.up_period} ", helpers
        )


class Capacity(unittest.TestCase):
    def figures(self, **changed):
        return {name: one[0] for name, one in capacity.FIGURES.items()} | changed

    def test_the_page_shows_what_the_script_prints(self):
        printed = run(sys.executable, ROOT / "bench" / "capacity.py").stdout
        self.assertTrue(printed)
        self.assertIn(printed, (ROOT / "docs" / "capacity.md").read_text())

    def test_the_arithmetic(self):
        r = capacity.compute(
            self.figures(jobs_a_day=86_400 * 100, peak=2, cpu_ms=9, shared_ms=1, cores=2, busy=0.5)
        )
        self.assertEqual(
            (r["mean_jobs_s"], r["peak_jobs_s"], r["jobs_s_of_a_replica"], r["replicas"]),
            (100, 200, 100, 2),
        )
        self.assertEqual((r["record_writes_s"], r["s3_puts_s"]), (600, 800))

    def test_the_first_bottleneck_follows_the_figures(self):
        first = lambda **changed: capacity.bottleneck(
            self.figures(**changed), capacity.compute(self.figures(**changed))
        )[0][0]
        self.assertIn("CPU", first())
        self.assertIn("disk of a MongoDB shard", first(retention_days=90))
        self.assertIn("writes of a MongoDB shard", first(shard_writes=100))

    def test_impossible_figures_are_refused(self):
        self.assertEqual(
            run(sys.executable, ROOT / "bench" / "capacity.py", "--cores", "0").returncode, 2
        )


if __name__ == "__main__":
    main()
