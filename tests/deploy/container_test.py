"""Goal: the image has what the program needs and no more, and the program lives in a pod as the
chart makes it.

Method: packages are held against what the binaries are linked with; the program runs with the
chart's own configuration, as process 1 and user 10001, on a read-only file system, without
capabilities, under the refusals of the default seccomp profile.
"""

import json
import os
import pathlib
import re
import signal
import unittest

import live
from tools import BUILD, CHART, PROGRAM, ROOT, main, missing, need_module, need_program, run

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def is_debian_12():
    release = pathlib.Path("/etc/os-release")
    return (
        release.exists()
        and 'VERSION_ID="12"' in release.read_text()
        and "ID=debian" in release.read_text()
    )


class Image(unittest.TestCase):
    def runtime_packages(self):
        text = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
        return set(
            re.search(r"--no-install-recommends \\\n(.*?)&&", text, re.S)[1]
            .replace("\\", " ")
            .split()
        )

    def packages_of(self, files):
        # A merged /usr: packages know a file by either path. One call for all: each reads
        # every list of files.
        paths = {path: file for file in files for path in (file, file.removeprefix("/usr"))}
        found = re.findall(
            r"^([^:\n]+):.* (/\S+)$", run("dpkg-query", "--search", *paths).stdout, re.M
        )
        self.assertEqual({paths[path] for _, path in found if path in paths}, set(files))
        return {package for package, _ in found}

    def test_the_packages_are_those_of_the_linked_libraries(self):
        if not PROGRAM.exists():
            missing(f"{PROGRAM}")
        if not is_debian_12():
            self.skipTest("package names are those of Debian 12")
        needed = set()
        for binary in [PROGRAM, *(BUILD / "steps").glob("*.so")]:
            names = set(re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "--dynamic", binary).stdout))
            paths = dict(re.findall(r"^\s*(\S+) => (/\S+)", run("ldd", binary).stdout, re.M))
            self.assertNotIn("not found", run("ldd", binary).stdout)
            needed |= {os.path.realpath(paths[name]) for name in names if name in paths}
        # Libraries that are loaded only where they are wanted are named in the program.
        program = PROGRAM.read_bytes().decode("latin-1")
        named = set(re.findall(r"lib[A-Za-z0-9_.+-]+\.so\.\d+(?=\0)", program))
        later = named - set(re.findall(r"^\s*(\S+)", run("ldd", PROGRAM).stdout, re.M))
        self.assertEqual(later, {"libcurl.so.4", "libmongoc-1.0.so.0"})
        cache = run("/sbin/ldconfig", "-p").stdout
        known = dict(re.findall(r"^\s*(\S+) \(.*=> (/\S+)$", cache, re.M))
        needed |= {os.path.realpath(known[name]) for name in later}
        # Every machine has libc6; that Debian 12 has the others is thereby known: they
        # are installed here.
        packages = self.packages_of(needed) - {"libc6"}
        self.assertEqual(packages | {"ca-certificates"}, self.runtime_packages())

    def test_what_is_copied_exists_and_is_not_ignored(self):
        let_through = {
            line[1:]
            for line in (ROOT / ".dockerignore").read_text().split()
            if line.startswith("!")
        }
        for name in let_through:
            self.assertTrue((ROOT / name).exists(), name)
        for source in re.findall(r"^COPY (?!--from)(\S+) /", DOCKERFILE, re.M):
            self.assertTrue(list(ROOT.glob(source)), source)
            self.assertIn(source.split("/")[0], let_through)
        used = re.findall(r"add_subdirectory\((\w+)", (ROOT / "CMakeLists.txt").read_text())
        self.assertEqual({name for name in used if name not in let_through}, set())

    def test_it_does_not_run_as_root(self):
        self.assertIn("\nUSER 10001:10001\n", DOCKERFILE)
        self.assertIn("user: 10001\n", (CHART / "values.yaml").read_text())

    def test_the_composition_sets_keys_that_there_are(self):
        if not PROGRAM.exists():
            missing(f"{PROGRAM}")
        services = need_module("yaml").safe_load((ROOT / "compose.yaml").read_text())["services"]
        keys = json.loads(run(PROGRAM, "schema", "config").stdout)["properties"]
        names = {"MILLRACE_" + key.replace(".", "_").upper() for key in keys}
        for name in services["millrace"]["environment"]:
            if name.startswith("MILLRACE_"):
                self.assertIn(name, names)
        for service in services.values():
            self.assertLessEqual(set(service.get("depends_on", {})), set(services))


class Pod(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        yaml = need_module("yaml")
        rendered = run(
            need_program("helm"),
            "template",
            "release",
            CHART,
            "--set",
            "auth.existingSecret=token",
            "--set",
            "webhook.existingSecret=hooks",
            "--set",
            "config.limits.pixels=100000000",
            "--set",
            "config.log.level=info",
            "--set",
            "config.pipelines\\.writable=false",
        )
        objects = [one for one in yaml.safe_load_all(rendered.stdout) if one]
        config = next(one for one in objects if one["kind"] == "ConfigMap")["data"]["millrace.yaml"]
        cls.server = live.Server(config, confined=os.geteuid() == 0)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_1_it_is_ready_and_wants_the_token(self):
        self.assertEqual(self.server.ask("/livez", token=None)[0], 200)
        self.assertEqual(self.server.ask("/readyz", token=None)[0], 200)
        self.assertEqual(self.server.ask("/metrics", token=None)[0], 401)
        self.assertEqual(self.server.ask("/metrics")[0], 200)

    def test_2_a_job_runs_in_the_sandboxed_workers(self):
        status, job = self.server.gray()
        self.assertEqual((status, job["state"]), (200, "succeeded"), job)

    def test_3_what_confines_the_pod_confines_it(self):
        status = pathlib.Path(f"/proc/{self.server.pid}/status").read_text()
        if os.geteuid() != 0:
            self.skipTest("not confined: not root")
        self.assertRegex(status, r"\nUid:\t10001\t10001\t10001\t10001\n")
        self.assertRegex(status, r"\nCapEff:\t0+\n")
        self.assertRegex(status, r"\nNoNewPrivs:\t1\n")
        self.assertRegex(status, r"\nSeccomp:\t2\n")
        mounts = pathlib.Path(f"/proc/{self.server.pid}/mountinfo").read_text()
        self.assertRegex(mounts, r" / / ro[, ]")

    def test_4_the_health_check_of_the_image_passes_here(self):
        command = json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\n", DOCKERFILE, re.S)[1])
        host, port = self.server.address.removeprefix("http://").split(":")
        here = [word.replace("127.0.0.1/8080", f"{host}/{port}") for word in command]
        self.assertEqual(run(*here).returncode, 0)
        self.assertNotEqual(
            run(*[word.replace("/readyz", "/nowhere") for word in here]).returncode, 0
        )

    def test_5_a_hang_up_loads_a_new_config_map(self):
        text = (ROOT / "pipelines" / "grayscale.yaml").read_text()
        self.server.put_pipelines("2", text.replace("description: ", "description: Renewed. "))
        os.kill(self.server.pid, signal.SIGHUP)
        self.server.wait_for(r"ev=pipelines\.loaded")
        self.assertIn(b"Renewed", self.server.ask("/v1/pipelines/grayscale")[1])

    def test_6_it_drains_and_ends_with_0(self):
        self.assertEqual(self.server.terminate(), 0)


if __name__ == "__main__":
    main()
