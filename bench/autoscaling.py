#!/usr/bin/env python3
"""A simulated day with bursts: what a replica count that follows the backlog, or the CPU, does to
the time that jobs wait.

Replicas serve first come, first served, each its own queue; new jobs are spread evenly over the
ready ones. The autoscaler is Kubernetes' HorizontalPodAutoscaler: sync period, tolerance, pods that
are not ready yet count as idle when growing, rates of growth and shrinking, stabilization. Time
goes in seconds; jobs of one second are one cohort of a queue.

usage: autoscaling.py [--hours 24] [--seed 1] [--burst 4] [--svg FILE] [--json]
"""
import argparse
import collections
import json
import math
import random

import autoscaling_plot

# Measured (bench/README.md, machine B): `image` takes 10.6 ms of CPU a job; a replica has two
# cores.
CPU_SECONDS_PER_JOB = 0.0106
CORES = 2
JOBS_PER_SECOND = CORES / CPU_SECONDS_PER_JOB  # of one replica
# Assumed of the cluster.
START_SECONDS = 45  # from the decision until a new replica is ready
SCRAPE_SECONDS = 15  # a figure is up to this old
SYNC_SECONDS = 15
CPU_WINDOW_SECONDS = 60  # a rate of CPU needs a window
TOLERANCE = 0.1
DRAIN_SECONDS = 30
MIN_REPLICAS, MAX_REPLICAS = 2, 100
BACKLOG_SECONDS = 10  # the chart's target

Behavior = collections.namedtuple(
    "Behavior", "up_percent up_pods up_period down_percent down_period down_window"
)
OURS = Behavior(100, 4, 30, 10, 60, 300)  # the chart's
DEFAULT = Behavior(100, 4, 15, 100, 15, 300)  # Kubernetes'


def arrival_rate(hours, random_source, burst=4.0):
    """Jobs a second over the day: a tide, and bursts that come within ten seconds and last for minutes."""
    seconds = int(hours * 3600)
    rate = [600 - 450 * math.cos(2 * math.pi * t / seconds) for t in range(seconds)]
    for _ in range(max(1, int(hours / 2))):
        start, length = random_source.randrange(seconds), random_source.randrange(180, 900)
        factor = random_source.uniform(burst / 2, burst)
        for t in range(start, min(seconds, start + length)):
            rate[t] *= 1 + (factor - 1) * min(1, (t - start) / 10)
    return rate


def poisson(mean, random_source):
    return max(0, round(random_source.gauss(mean, math.sqrt(mean))))  # mean is in the hundreds


class Replica:
    def __init__(self, ready_at):
        self.ready_at, self.leaves_at = ready_at, None
        self.queue, self.queued, self.served = collections.deque(), 0.0, 0.0
        self.usage = collections.deque([0.0] * CPU_WINDOW_SECONDS, CPU_WINDOW_SECONDS)
        self.seen_backlog = self.seen_cpu = 0.0

    def add(self, arrived, count):
        self.queue.append([arrived, count])
        self.queued += count

    def work(self, now, waits):
        room = JOBS_PER_SECOND
        while self.queue and room > 0:
            cohort = self.queue[0]
            done = min(room, cohort[1])
            waits[now - cohort[0]] += done
            room -= done
            self.queued -= done
            cohort[1] -= done
            if cohort[1] <= 1e-9:
                self.queue.popleft()
        self.usage.append(1 - room / JOBS_PER_SECOND)

    def scrape(self):
        self.seen_backlog = self.queued / JOBS_PER_SECOND
        self.seen_cpu = sum(self.usage) / len(self.usage)


class Autoscaler:
    """What the figure `of` each replica should be on average, as Kubernetes computes it."""

    def __init__(self, figures, behavior):
        self.figures, self.behavior = figures, behavior  # [(what to read of a replica, target)]
        self.wanted, self.changes = (
            collections.deque(),
            collections.deque(),
        )  # (time, replicas), (time, before)

    def desired(self, replicas, now):
        return max(self.desired_by(read, target, replicas, now) for read, target in self.figures)

    def desired_by(self, read, target, replicas, now):
        ready = [read(one) for one in replicas if one.ready_at <= now]
        count = len(replicas)
        if not ready:
            return count
        ratio = sum(ready) / len(ready) / target
        if len(ready) < count and ratio > 1:
            ratio = max(1, sum(ready) / count / target)
        if abs(ratio - 1) <= TOLERANCE:
            return count
        return math.ceil(ratio * (count if ratio > 1 else len(ready)) - 1e-9)

    def replicas_at(self, now, period, count):
        """The count at the beginning of the period that ends now."""
        for time, before in self.changes:
            if time > now - period:
                return before
        return count

    def decide(self, replicas, now):
        rule, count = self.behavior, len(replicas)
        want = min(MAX_REPLICAS, max(MIN_REPLICAS, self.desired(replicas, now)))
        self.wanted.append((now, want))
        while self.wanted[0][0] < now - rule.down_window:
            self.wanted.popleft()
        while self.changes and self.changes[0][0] <= now - max(rule.up_period, rule.down_period):
            self.changes.popleft()
        if want > count:
            base = self.replicas_at(now, rule.up_period, count)
            want = min(
                want, max(base + rule.up_pods, math.ceil(base * (1 + rule.up_percent / 100)))
            )
            want = max(want, count)
        elif want < count:
            base = self.replicas_at(now, rule.down_period, count)
            want = max(
                want,
                max(one for _, one in self.wanted),
                math.floor(base * (1 - rule.down_percent / 100)),
            )
            want = min(want, count)
        if want != count:
            self.changes.append((now, count))
        return want


def simulate(autoscaler, rate, seed):
    random_source = random.Random(seed)
    replicas = [
        Replica(0) for _ in range(max(MIN_REPLICAS, math.ceil(rate[0] / JOBS_PER_SECOND / 0.7)))
    ]
    leaving, waits, history, now = [], collections.Counter(), [], 0
    while now < len(rate) or any(one.queue for one in replicas + leaving):
        ready = [one for one in replicas if one.ready_at <= now]
        if now < len(rate):
            share = poisson(rate[now], random_source) / len(ready)
            for one in ready:
                one.add(now, share)
        for one in ready + leaving:
            one.work(now, waits)
        for one in [one for one in leaving if not one.queue or one.leaves_at <= now]:
            leaving.remove(one)
            for arrived, count in one.queue:  # handed over, in the order of their arrival
                for other in ready:
                    other.add(arrived, count / len(ready))
        if now % SCRAPE_SECONDS == 0:
            for one in ready:
                one.scrape()
        if now % SYNC_SECONDS == SYNC_SECONDS - 1:
            want = autoscaler.decide(replicas, now)
            replicas += [Replica(now + START_SECONDS) for _ in range(want - len(replicas))]
            while len(replicas) > want:  # what is not ready goes first
                one = replicas.pop(max(range(len(replicas)), key=lambda i: replicas[i].ready_at))
                if one.ready_at <= now:
                    one.leaves_at = now + DRAIN_SECONDS
                    leaving.append(one)
        history.append((len(replicas), max(one.queued for one in replicas) / JOBS_PER_SECOND))
        now += 1
    return waits, history


def quantile(waits, part):
    left = sum(waits.values()) * part
    for wait in sorted(waits):
        left -= waits[wait]
        if left <= 0:
            return wait
    return max(waits)


def policies():
    backlog = (lambda one: one.seen_backlog, BACKLOG_SECONDS)
    cpu = lambda target: (lambda one: one.seen_cpu, target)
    return {
        "backlog 10 s and CPU 50 % (the chart)": Autoscaler([backlog, cpu(0.5)], OURS),
        "backlog 10 s alone": Autoscaler([backlog], OURS),
        "CPU 70 %, Kubernetes' rates": Autoscaler([cpu(0.7)], DEFAULT),
        "CPU 50 %, Kubernetes' rates": Autoscaler([cpu(0.5)], DEFAULT),
    }


def measure(hours, seed, burst=4.0):
    rate = arrival_rate(hours, random.Random(seed), burst)
    results = []
    for name, autoscaler in policies().items():
        waits, history = simulate(autoscaler, rate, seed)
        results.append(
            {
                "policy": name,
                "jobs": round(sum(waits.values())),
                "p50_s": quantile(waits, 0.5),
                "p99_s": quantile(waits, 0.99),
                "p999_s": quantile(waits, 0.999),
                "worst_s": max(waits),
                "most": max(count for count, _ in history),
                "replica_hours": round(sum(count for count, _ in history) / 3600, 1),
                "history": history,
            }
        )
    return rate, results


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--burst", type=float, default=4, help="the largest burst, beside the load before it"
    )
    parser.add_argument("--svg")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rate, results = measure(options.hours, options.seed, options.burst)
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as file:
            file.write(autoscaling_plot.draw(rate, results, JOBS_PER_SECOND))
    if not options.json:
        print(
            "| replicas follow | waits p50 | p99 | p99.9 | worst | replica-hours | most at once |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |")
    for one in results:
        one.pop("history")
        if options.json:
            print(json.dumps(one))
        else:
            print(
                "| {policy} | {p50_s} s | {p99_s} s | {p999_s} s | {worst_s} s | {replica_hours} | {most} |".format(
                    **one
                )
            )


if __name__ == "__main__":
    main()
