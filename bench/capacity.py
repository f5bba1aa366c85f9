#!/usr/bin/env python3
"""What a number of jobs a day needs: replicas, MongoDB shards, S3 requests, and which of them ends
first.

Every figure is a flag: those measured come from bench/README.md, the others are assumptions and say
so.

usage: capacity.py [--jobs-a-day 100e6] [--FLAG VALUE]...
"""
import argparse
import math

MEASURED, ASSUMED = "measured", "assumed"
# name: (default, unit, whence, what)
FIGURES = {
    "jobs_a_day": (
        100e6,
        "",
        ASSUMED,
        "jobs of the canonical pipeline: upload, store, grayscale, store, notify",
    ),
    "peak": (2.0, "x", ASSUMED, "the busiest hour beside the mean; bursts beyond it wait"),
    "cpu_ms": (
        10.6,
        "ms",
        MEASURED,
        "CPU of a job, server and workers, embedded (`image`, machine B)",
    ),
    "loop_ms": (
        0.096,
        "ms",
        MEASURED,
        "of which the one loop thread (`noop4`: 92 % of a core at 9,596 jobs/s); reading large bodies adds to it",
    ),
    "shared_ms": (
        1.5,
        "ms",
        ASSUMED,
        "CPU that MongoDB's and S3's clients and TLS add to a job: 3 writes, 4 puts",
    ),
    "cores": (4, "cores", ASSUMED, "of a replica"),
    "busy": (
        0.6,
        "",
        ASSUMED,
        "share of its cores that a replica uses at the peak: room for a lost zone and for bursts",
    ),
    "commits": (
        3,
        "",
        MEASURED,
        "record writes a job (ARCHITECTURE.md: accepted, results, the end)",
    ),
    "record_kb": (2, "KB", MEASURED, "of a record, stored"),
    "shard_writes": (
        10_000,
        "/s",
        ASSUMED,
        "majority-durable record writes of one MongoDB shard, in bulks of tens",
    ),
    "retention_days": (7, "days", ASSUMED, "`retention`"),
    "shard_tb": (2, "TB", ASSUMED, "of records and indexes that one shard holds"),
    "index_factor": (1.5, "x", ASSUMED, "records with their indexes and references"),
    "upload_kb": (381, "KB", MEASURED, "the photograph"),
    "result_kb": (
        332,
        "KB",
        MEASURED,
        "its gray copy, luma untouched: 0.87 of the upload (demo/photo.jpg)",
    ),
    "puts": (4, "", MEASURED, "S3 PUTs a job: two blobs, two objects"),
    "gets": (
        0.1,
        "",
        ASSUMED,
        "S3 GETs and HEADs a job by replicas: what they did not make themselves; reads by clients go to the bucket",
    ),
    "deletes": (2, "", MEASURED, "S3 DELETEs a job: its blobs, after `retention`"),
    "prefix_puts": (
        3_500,
        "/s",
        ASSUMED,
        "PUTs of one S3 prefix; S3 splits prefixes, the names of blobs are hashes",
    ),
    "zone_gbit": (10, "Gbit/s", ASSUMED, "network of a replica"),
}


def compute(f):
    mean = f["jobs_a_day"] / 86_400
    peak = mean * f["peak"]
    per_replica_cpu = f["cores"] * f["busy"] * 1000 / (f["cpu_ms"] + f["shared_ms"])
    per_replica_loop = f["busy"] * 1000 / f["loop_ms"]
    per_replica = min(per_replica_cpu, per_replica_loop)
    in_kb = f["upload_kb"]
    out_kb = 2 * (f["upload_kb"] + f["result_kb"])  # blobs, and the objects again
    records_tb = f["jobs_a_day"] * f["retention_days"] * f["record_kb"] * f["index_factor"] / 1e9
    writes = peak * f["commits"]
    deletes_records = mean  # expiry: one removal a job
    shards_by_writes = math.ceil((writes + deletes_records) / f["shard_writes"])
    shards_by_size = math.ceil(records_tb / f["shard_tb"])
    replicas = math.ceil(peak / per_replica)
    puts = peak * f["puts"]
    return {
        "mean_jobs_s": mean,
        "peak_jobs_s": peak,
        "jobs_s_of_a_replica": per_replica,
        "replicas": replicas,
        "cores": replicas * f["cores"],
        "network_of_a_replica_gbit": per_replica * (in_kb + out_kb) * 8 / 1e6,
        "record_writes_s": writes,
        "records_tb": records_tb,
        "shards_by_writes": shards_by_writes,
        "shards_by_size": shards_by_size,
        "shards": max(shards_by_writes, shards_by_size),
        "s3_puts_s": puts,
        "s3_prefixes": math.ceil(puts / f["prefix_puts"]),
        "s3_requests_a_day_millions": f["jobs_a_day"]
        * (f["puts"] + f["gets"] + f["deletes"])
        / 1e6,
        "ingress_gbit": peak * in_kb * 8 / 1e6,
        "egress_to_s3_gbit": peak * out_kb * 8 / 1e6,
        "blobs_tb": f["jobs_a_day"] * f["retention_days"] * (f["upload_kb"] + f["result_kb"]) / 1e9,
        "objects_tb_a_day": f["jobs_a_day"] * (f["upload_kb"] + f["result_kb"]) / 1e9,
        "loop_share": per_replica * f["loop_ms"] / 1000,
    }


def bottleneck(f, r):
    """What is used up first when everything but one unit of each grows: the smallest rate that one unit can bear."""
    units = {
        "CPU of a replica (grayscale and the copies of blobs)": r["jobs_s_of_a_replica"]
        / f["busy"],
        "the loop thread of a replica": 1000 / f["loop_ms"],
        "network of a replica": f["zone_gbit"]
        * 1e6
        / 8
        / (f["upload_kb"] * 3 + f["result_kb"] * 2),
        "PUTs of an S3 prefix": f["prefix_puts"] / f["puts"],
        "disk of a MongoDB shard": f["shard_tb"]
        * 1e9
        / f["retention_days"]
        / f["record_kb"]
        / f["index_factor"]
        / 86_400,
        "writes of a MongoDB shard": f["shard_writes"] / (f["commits"] + 1 / f["peak"]),
    }
    return sorted(units.items(), key=lambda one: one[1])


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def report(f):
    r = compute(f)
    print("| figure | value | whence | |\n| --- | --- | --- | --- |")
    for name, (_, unit, whence, what) in FIGURES.items():
        print(f"| `{name}` | {number(f[name])} {unit} | {whence} | {what} |")
    print("\n| needed | |\n| --- | --- |")
    rows = [
        ("jobs a second, mean and peak", f"{number(r['mean_jobs_s'])}, {number(r['peak_jobs_s'])}"),
        (
            "replicas (each so many jobs a second at the peak)",
            f"{r['replicas']} ({number(r['jobs_s_of_a_replica'])})",
        ),
        (
            "cores in all; a replica's loop is busy",
            f"{number(r['cores'])}; {r['loop_share']:.0%} of one core",
        ),
        ("network of a replica at the peak", f"{number(r['network_of_a_replica_gbit'])} Gbit/s"),
        ("record writes a second at the peak", number(r["record_writes_s"])),
        ("records kept, with indexes", f"{number(r['records_tb'])} TB"),
        (
            "MongoDB shards (by writes, by size)",
            f"{r['shards']} ({r['shards_by_writes']}, {r['shards_by_size']})",
        ),
        (
            "S3 PUTs a second at the peak (prefixes that S3 must split into)",
            f"{number(r['s3_puts_s'])} ({r['s3_prefixes']})",
        ),
        ("S3 requests a day", f"{number(r['s3_requests_a_day_millions'])} million"),
        (
            "from clients, to S3 at the peak",
            f"{number(r['ingress_gbit'])}, {number(r['egress_to_s3_gbit'])} Gbit/s",
        ),
        (
            "blobs kept; objects added a day",
            f"{number(r['blobs_tb'])} TB; {number(r['objects_tb_a_day'])} TB",
        ),
    ]
    for row in rows:
        print("| {} | {} |".format(*row))
    print("\n| one unit bears, of peak load | jobs/s |\n| --- | --- |")
    for name, rate in bottleneck(f, r):
        print(f"| {name} | {number(rate)} |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (default, unit, whence, what) in FIGURES.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=float,
            default=default,
            help=f"{what} ({whence}) {unit}".replace("%", "%%"),
        )
    f = vars(parser.parse_args())
    for name, value in f.items():
        if value <= 0:
            parser.error(f"--{name.replace('_', '-')} is {value:g}; it must be above 0")
    report(f)


if __name__ == "__main__":
    main()
