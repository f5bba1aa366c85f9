"""What the tests of the deployment share: where things are, and what to do when a tool is missing.

A missing tool skips a test on a contributor's machine, with a message; under CI it fails.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "millrace"
BUILD = pathlib.Path(os.environ.get("MILLRACE_BUILD", ROOT / "build" / "dev"))
PROGRAM = BUILD / "millrace"

_python = ROOT / ".cache" / "python" / "bin" / "python"
if _python.exists() and pathlib.Path(sys.prefix) != _python.parents[1]:
    os.execv(_python, [str(_python), *sys.argv])
os.environ["PATH"] = f"{ROOT / '.cache' / 'bin'}:{os.environ['PATH']}"


def missing(what):
    if os.environ.get("CI"):
        raise AssertionError(f"{what} is missing; ./run test installs it")
    raise unittest.SkipTest(f"{what} is missing; ./run test installs it")


def need_program(name):
    return shutil.which(name) or missing(name)


def need_module(name):
    try:
        return __import__(name)
    except ImportError:
        return missing(f"the Python module {name}")


def run(*command, **more):
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=240, **more
    )


def main():
    # Skipped tests are to be seen; ctest learns of them by the exit code 77 when nothing else ran.
    result = unittest.main(exit=False, verbosity=2).result
    ran = result.testsRun - len(result.skipped)
    sys.exit(1 if not result.wasSuccessful() else 77 if ran <= 0 else 0)
