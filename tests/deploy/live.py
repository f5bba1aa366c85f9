"""A millrace server of a test's own, on a free port, from a configuration that the chart rendered."""

import base64
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from tools import BUILD, PROGRAM, ROOT, missing

TOKEN = "a-token-of-this-test"
WEBHOOK = "whsec_" + base64.b64encode(b"0" * 32).decode()
START_SECONDS = 120


class Server:
    """confined: as in a pod (confined.py); else plainly, as this user."""

    def __init__(self, config, confined):
        if not PROGRAM.exists():
            missing(f"{PROGRAM}")
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="millrace-deploy-"))
        self.place.chmod(0o755)
        config = self.lay_out(config)
        command = [
            self.place / "lib" / "millrace",
            "serve",
            "--config",
            config,
            "--set",
            "listen=127.0.0.1:0",
        ]
        if confined:
            command = [
                sys.executable,
                pathlib.Path(__file__).with_name("confined.py"),
                self.place,
                *command,
            ]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stderr=subprocess.PIPE,
            bufsize=0,
            env={"PATH": os.environ["PATH"]},
        )
        self.pid, self.log = self.process.pid, ""
        self.address = "http://" + self.wait_for(r"ev=server\.ready addr=(\S+) .*\n")
        if confined:
            self.pid = int(re.search(r"^pid=(\d+)$", self.log, re.M)[1])

    def lay_out(self, config):
        """Files as a pod has them: a ConfigMap's are links into a directory that is replaced as a whole."""
        shutil.copytree(BUILD / "steps", self.place / "lib" / "steps")
        shutil.copy(PROGRAM, self.place / "lib" / "millrace")
        (self.place / "data").mkdir()
        secrets = {"auth/token": TOKEN + "\n", "webhook/secret": WEBHOOK}
        for name, text in secrets.items():
            file = self.place / "secrets" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.put_pipelines("1", (ROOT / "pipelines" / "grayscale.yaml").read_text())
        for ours, there in (
            ("data", "/var/lib/millrace"),
            ("secrets", "/run/secrets/millrace"),
            ("pipelines", "/usr/share/millrace/pipelines"),
            ("pipelines", "/etc/millrace/pipelines"),
        ):
            config = config.replace(there, str(self.place / ours))
        file = self.place / "millrace.yaml"
        file.write_text(config)
        return file

    def put_pipelines(self, version, text):
        folder = self.place / "pipelines"
        (folder / f"..{version}").mkdir(parents=True)
        (folder / f"..{version}" / "grayscale.yaml").write_text(text)
        link = folder / "..data_tmp"
        link.symlink_to(f"..{version}")
        link.rename(folder / "..data")
        if not (folder / "grayscale.yaml").is_symlink():
            (folder / "grayscale.yaml").symlink_to("..data/grayscale.yaml")

    def wait_for(self, pattern):
        """The first group of what the log says from now on; fails when the server ends or stays silent for long."""
        end, start = time.monotonic() + START_SECONDS, len(self.log)
        while not (found := re.search(pattern, self.log[start:])):
            # Past Python's buffers, which select() does not see.
            ready, _, _ = select.select(
                [self.process.stderr], [], [], max(0, end - time.monotonic())
            )
            more = os.read(self.process.stderr.fileno(), 65536) if ready else b""
            self.log += more.decode(errors="replace")
            if not more:
                code = self.process.wait() if ready else None
                self.stop()
                if code == 77:
                    raise unittest.SkipTest(self.log.strip())
                raise AssertionError(
                    f"the server said nothing like {pattern} (exit {code}):\n{self.log}"
                )
        return found[found.re.groups and 1]

    def ask(self, path, data=None, token=TOKEN, **headers):
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read()

    def gray(self):
        photo = (ROOT / "demo" / "photo.jpg").read_bytes()
        status, body = self.ask(
            "/v1/pipelines/grayscale/jobs",
            photo,
            **{"Content-Type": "image/jpeg", "Prefer": "wait=60"},
        )
        return status, json.loads(body)

    def terminate(self):
        """SIGTERM, as Kubernetes sends it; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        code = self.process.wait(timeout=START_SECONDS)
        self.stop()
        return code

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()  # what it confines dies with it
            self.process.wait()
        self.process.stderr.close()
        shutil.rmtree(self.place, ignore_errors=True)
