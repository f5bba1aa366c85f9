#!/usr/bin/env python3
"""Image steps beside sharp, libvips alone and imgproxy: the same files, the same settings, in turn.

Called by run.sh, which makes what it needs. Prints Markdown tables; one JSON line a case goes to stderr.
"""
import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")

# name, what sharp and libvips call it, file, rounds, width, quality, step, its parameters
CASES = [
    ("grayscale, default", "gray", "phone12.jpg", 5, 0, 90, "grayscale", {}),
    ("grayscale, default", "gray", "photo2.jpg", 15, 0, 90, "grayscale", {}),
    ("grayscale, default", "gray", "small.jpg", 60, 0, 90, "grayscale", {}),
    ("grayscale, luminance", "gray", "photo2.jpg", 15, 0, 80, "grayscale", {"method": "luminance", "quality": "80"}),
    ("resize 800", "resize", "phone12.jpg", 7, 800, 80, "resize", {"width": "800", "quality": "80"}),
    ("resize 800", "resize", "photo2.jpg", 15, 800, 80, "resize", {"width": "800", "quality": "80"}),
    ("resize 200", "resize", "small.jpg", 60, 200, 80, "resize", {"width": "200", "quality": "80"}),
    ("resize 800", "resize-png", "alpha.png", 7, 800, 80, "resize", {"width": "800"}),
    ("resize 800", "resize-webp", "photo2.webp", 7, 800, 80, "resize", {"width": "800", "quality": "80"}),
    ("convert to JPEG", "jpeg", "photo2.jpg", 15, 0, 80, "convert", {"quality": "80"}),
    ("convert to JPEG", "jpeg", "photo1.png", 10, 0, 80, "convert", {"format": "jpeg", "quality": "80"}),
    ("convert to JPEG", "jpeg", "photo2.webp", 10, 0, 80, "convert", {"format": "jpeg", "quality": "80"}),
    ("convert to JPEG", "jpeg", "photo2.avif", 10, 0, 80, "convert", {"format": "jpeg", "quality": "80"}),
    ("convert to WebP", "webp", "photo2.jpg", 5, 0, 80, "convert", {"format": "webp", "quality": "80"}),
    ("convert to PNG", "png", "phone12.jpg", 1, 0, 80, "convert", {"format": "png"}),
    ("convert to PNG", "png", "phone12.png", 1, 0, 80, "convert", {"format": "png"}),
    ("convert to PNG", "png", "photo1.png", 5, 0, 80, "convert", {"format": "png"}),
    ("transform: resize 800", "resize", "photo2.jpg", 10, 800, 80, "transform", {
        "operations": '[{"type":"resize","params":{"width":800}}]', "quality": "80"}),
    ("transform: resize 800, blur, gray", "chain", "photo2.jpg", 10, 800, 80, "transform", {
        "operations": '[{"type":"resize","params":{"width":800}},{"type":"blur","params":{"sigma":2}},'
                      '{"type":"grayscale","params":{"method":"luminance"}}]', "quality": "80"}),
]
# Through the server, N in flight, beside sharp with as many promises: case number, jobs of a pass.
SERVED = [(1, 60), (3, 40), (5, 60), (9, 40)]


def said(command, **environment):
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **environment}, check=False)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return json.loads(done.stdout)


def median(values):
    return statistics.median(values)


def bare_cases(options):
    print("| work | file | CPU ms: step | sharp | libvips alone | sharp / step | step / libvips | bytes: step, sharp | RSS MB: step, sharp |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, op, file, rounds, width, quality, step, params in CASES:
        path = os.path.join(options.files, file)
        ours, sharps, vips = [], [], []
        for _ in range(options.passes):  # in turn, so that the machine's moods meet all
            ours.append(said([options.cost, "step", step, path, str(rounds), *(f"{k}={v}" for k, v in params.items())]))
            sharps.append(said(["node", f"{HERE}/sharp_cost.mjs", op, path, str(rounds), str(width), str(quality)]))
            vips.append(said([options.cost, "bare", op, path, str(rounds), str(width), str(quality)]))
        cost = [median(one["cpu_ms"] for one in runs) for runs in (ours, sharps, vips)]
        to_sharp = median(s["cpu_ms"] / o["cpu_ms"] for o, s in zip(ours, sharps))
        to_vips = median(o["cpu_ms"] / v["cpu_ms"] for o, v in zip(ours, vips))
        rss = [max(one["rss_mb"] for one in runs) for runs in (ours, sharps)]
        print(f"| {name} | {file} | {cost[0]:.1f} | {cost[1]:.1f} | {cost[2]:.1f} | **{to_sharp:.2f}** | {to_vips:.2f} | "
              f"{ours[0]['bytes']:,}, {sharps[0]['bytes']:,} | {rss[0]:.0f}, {rss[1]:.0f} |", flush=True)
        print(json.dumps({"work": name, "file": file, "step": ours, "sharp": sharps, "libvips": vips}), file=sys.stderr)


class Processes:
    """CPU seconds and memory of a process and all below it."""

    def __init__(self, pid):
        self.pid = pid

    def tree(self):
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                        fields = file.read().rsplit(")", 1)[1].split()
                    parents[int(entry)] = (int(fields[1]), sum(map(int, fields[11:15])))
                except (OSError, IndexError):
                    pass
        found = {self.pid}
        for _ in range(4):
            found |= {pid for pid, (parent, _) in parents.items() if parent in found}
        return {pid: parents[pid][1] for pid in found if pid in parents}

    def cpu(self):
        return sum(self.tree().values()) / TICKS

    def pss_mb(self):
        total = 0
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                    total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            except OSError:
                pass
        return total / 1024


def closed_loop(address, in_flight, jobs, request):
    """Each connection has one request in flight; returns the seconds it took."""
    left, lock, bad = [jobs], threading.Lock(), []

    def work():
        connection = http.client.HTTPConnection(address)
        while True:
            with lock:
                left[0] -= 1
                number = left[0]
            if number < 0:
                return
            request(connection, number)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or body.startswith(b'{"id"') and b'"state":"succeeded"' not in body:
                bad.append(body[:300])
    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if bad:
        sys.exit(f"a job failed: {bad[0]}")
    return time.monotonic() - began


class Server:
    def __init__(self, command, mark, address=None, **environment):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env={**os.environ, **environment})
        self.address = address
        for raw in self.process.stdout:
            line = raw.decode()
            if mark in line:
                self.address = address or line.split("addr=")[1].split()[0]
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.all = Processes(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def measured(server, in_flight, jobs, request):
    closed_loop(server.address, in_flight, max(4, jobs // 8), request)
    peak, stop = [0.0], threading.Event()

    def watch():
        while not stop.wait(0.1):
            peak[0] = max(peak[0], server.all.pss_mb())
    watcher = threading.Thread(target=watch)
    watcher.start()
    before = server.all.cpu()
    seconds = closed_loop(server.address, in_flight, jobs, request)
    cpu = (server.all.cpu() - before) / jobs
    stop.set()
    watcher.join()
    return {"per_s": jobs / seconds, "cpu_ms": cpu * 1e3, "mb": peak[0]}


def post(pipeline, image):
    # Bytes behind a JPEG's end make each another file.
    def request(connection, number):
        connection.request("POST", f"/v1/pipelines/{pipeline}/jobs", image + number.to_bytes(8, "big") + os.urandom(8),
                           {"Content-Type": "application/octet-stream", "Prefer": "wait=120"})
    return request


def pipeline_text(name, step, params):
    lines = [f"pipeline: {name}", "inputs: { image: { type: image } }", "steps:", "  work:", f"    use: {step}", "    with:",
             "      image: ${{ inputs.image }}"]
    lines += [f"      {key}: {value}" for key, value in params.items()]
    return "\n".join(lines + ["outputs: { image: \"${{ steps.work.image }}\" }", ""])


def served_cases(options):
    print("\n| work | file | in flight | images/s: server | sharp | server / sharp | CPU ms: server | sharp | sharp / server | PSS MB: server | RSS MB: sharp |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, jobs in SERVED:
        name, op, file, _, width, quality, step, params = CASES[number]
        with open(os.path.join(options.files, file), "rb") as opened:
            image = opened.read()
        for in_flight in (1, 2):
            ours, sharps = [], []
            for _ in range(options.passes):
                directory = tempfile.mkdtemp(prefix="compare-", dir=options.scratch)
                with open(f"{directory}/work.yaml", "w", encoding="utf-8") as opened:
                    opened.write(pipeline_text("work", step, params))
                settings = ["listen=127.0.0.1:0", f"data={directory}/data", f"pipelines={directory}", f"workers.cpu={in_flight}"]
                with Server([options.millrace, "serve", *(word for one in settings for word in ("--set", one))],
                            "ev=server.ready") as server:
                    ours.append(measured(server, in_flight, jobs, post("work", image)))
                shutil.rmtree(directory)
                sharps.append(said(["node", f"{HERE}/sharp_cost.mjs", op, os.path.join(options.files, file),
                                    str(max(2, jobs // in_flight)), str(width), str(quality), str(in_flight)]))
            rate = [median(one["per_s"] for one in runs) for runs in (ours, sharps)]
            faster = median(o["per_s"] / s["per_s"] for o, s in zip(ours, sharps))
            cpu = [median(one["cpu_ms"] for one in ours), median(one["cpu_ms_in_flight"] for one in sharps)]
            cheaper = median(s["cpu_ms_in_flight"] / o["cpu_ms"] for o, s in zip(ours, sharps))
            print(f"| {name} | {file} | {in_flight} | {rate[0]:.1f} | {rate[1]:.1f} | {faster:.2f} | {cpu[0]:.1f} | {cpu[1]:.1f} | "
                  f"**{cheaper:.2f}** | {max(o['mb'] for o in ours):.0f} | {max(s['rss_mb'] for s in sharps):.0f} |", flush=True)
            print(json.dumps({"work": name, "file": file, "in_flight": in_flight, "server": ours, "sharp": sharps}), file=sys.stderr)


def imgproxy_cases(options):
    if not os.environ.get("IMGPROXY_BIN"):
        print("\nimgproxy was not measured: IMGPROXY_BIN names none.")
        return
    print("\n| work | file | CPU ms: server | imgproxy | imgproxy / server | images/s: server | imgproxy | PSS MB: server | imgproxy |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    environment = {"IMGPROXY_BIND": "127.0.0.1:18085", "IMGPROXY_LOCAL_FILESYSTEM_ROOT": os.path.abspath(options.files),
                   "IMGPROXY_LOG_LEVEL": "info", "VIPS_WARNING": "0", "IMGPROXY_WORKERS": "2"}
    for name, file, path, step, params in [
            ("resize 800", "photo2.jpg", "/unsafe/rs:fit:800:0/q:80/plain/local:///{}@jpg", "resize", {"width": "800", "quality": "80"}),
            ("resize 800", "phone12.jpg", "/unsafe/rs:fit:800:0/q:80/plain/local:///{}@jpg", "resize", {"width": "800", "quality": "80"}),
            ("convert to JPEG", "photo2.jpg", "/unsafe/q:80/plain/local:///{}@jpg", "convert", {"quality": "80"})]:
        with open(os.path.join(options.files, file), "rb") as opened:
            image = opened.read()
        target = path.format(file)
        ours, theirs = [], []
        for _ in range(options.passes):
            directory = tempfile.mkdtemp(prefix="compare-", dir=options.scratch)
            with open(f"{directory}/work.yaml", "w", encoding="utf-8") as opened:
                opened.write(pipeline_text("work", step, params))
            settings = ["listen=127.0.0.1:0", f"data={directory}/data", f"pipelines={directory}", "workers.cpu=2"]
            with Server([options.millrace, "serve", *(word for one in settings for word in ("--set", one))], "ev=server.ready") as server:
                ours.append(measured(server, 2, 40, post("work", image)))
            shutil.rmtree(directory)
            with Server([os.environ["IMGPROXY_BIN"]], "Starting server", "127.0.0.1:18085", **environment) as server:
                theirs.append(measured(server, 2, 40, lambda connection, _: connection.request("GET", target)))
        row = [median(one[key] for one in runs) for key in ("cpu_ms", "per_s") for runs in (ours, theirs)]
        ratio = median(t["cpu_ms"] / o["cpu_ms"] for o, t in zip(ours, theirs))
        print(f"| {name} | {file} | {row[0]:.1f} | {row[1]:.1f} | **{ratio:.2f}** | {row[2]:.1f} | {row[3]:.1f} | "
              f"{max(o['mb'] for o in ours):.0f} | {max(t['mb'] for t in theirs):.0f} |", flush=True)
        print(json.dumps({"work": name, "file": file, "server": ours, "imgproxy": theirs}), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", required=True)
    parser.add_argument("--cost", required=True, help="the program image-cost")
    parser.add_argument("--millrace", required=True)
    parser.add_argument("--scratch", default="/var/tmp", help="a directory on a real disk")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--only", choices=["steps", "server", "imgproxy"])
    options = parser.parse_args()
    for part, run in (("steps", bare_cases), ("server", served_cases), ("imgproxy", imgproxy_cases)):
        if options.only in (None, part):
            run(options)


main()
