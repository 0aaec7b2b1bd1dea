"""How tests are counted: skipped.py on a real run of ctest, a small project of tests that pass, fail, skip and skip in part;
unittest.sh without a Python; .ci/run on steps made up."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent

# name: (what it prints, exit code)
TESTS = {
    "passes": ("[  PASSED  ] 3 tests.\nOK\nskipped nothing", 0),
    "says_why": ("work\nskipped: no tape & no <drive>\nbye", 69),
    "says_it_last": ("one\nnothing to see here\n\n", 69),
    "silent": ("", 69),
    "google": ("/src/a_test.cpp:12: Skipped\nneeds a peer\n[  SKIPPED ] A.One (0 ms)\n[  PASSED  ] 1 test.\n"
               "[  SKIPPED ] 2 tests, listed below:\n[  SKIPPED ] A.One\n[  SKIPPED ] A.Two\n"
               "[  SKIPPED ] 2 tests, listed below:\n", 0),
    "coloured": ("../a_test.cpp:143: Skipped\nneeds two\n\x1b[0;32m[  SKIPPED ] \x1b[m1 test, listed below:\n", 0),
    "python": ("test_a (t.T) ... skipped 'no torch'\ntest_b (t.T) ... ok\nOK (skipped=1)", 0),
    "fails": ("skipped: not at all", 1),
}
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(some LANGUAGES NONE)
enable_testing()
"""


class Skipped(unittest.TestCase):
    def test_of_a_run_of_ctest(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            text = PROJECT
            for name, (output, code) in TESTS.items():
                (folder / f"{name}.sh").write_text(f"cat <<'EOF'\n{output}\nEOF\nexit {code}\n")
                text += f"add_test(NAME {name} COMMAND sh {folder}/{name}.sh)\n"
                text += f"set_tests_properties({name} PROPERTIES SKIP_RETURN_CODE 69)\n"
            text += "add_test(NAME missing COMMAND /nonexistent)\n"
            (folder / "CMakeLists.txt").write_text(text)
            subprocess.run(["cmake", "-G", "Ninja", "-S", folder, "-B", folder / "build"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["ctest", "--test-dir", folder / "build", "--output-junit", folder / "junit.xml"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found = subprocess.run([sys.executable, HERE / "skipped.py", folder / "junit.xml"], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout
        self.assertEqual(found.splitlines(), [
            "skipped: says_why: no tape & no <drive>",
            "skipped: says_it_last: nothing to see here",
            "skipped: silent: no reason given",
            "skipped within google: 2: needs a peer",
            "skipped within coloured: 1: needs two",
            "skipped within python: 1: no torch",
        ])


class WithoutPython(unittest.TestCase):
    def check(self, arguments, code, last_line):
        ran = subprocess.run([HERE / "unittest.sh", *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((ran.returncode, ran.stdout.splitlines()[-1]), (code, last_line))

    def test_a_module_is_skipped_with_the_reason(self):
        self.check([HERE, "test_nothing", "Python with wheels"], 69, "skipped: there is no Python with wheels")
        self.check([HERE, "test_nothing", "Python with wheels", "/nonexistent"], 69,
                   "skipped: /nonexistent is not there, which was to be the Python with wheels")

    def test_a_module_that_is_not_there_fails(self):
        self.check([HERE, "test_nothing", "Python", sys.executable], 1, "FAILED (errors=1)")


# Steps as .ci/run runs them: what they print is what ctest, skipped.py and the bench print.
STEPS = r"""
source jobs/common.sh
eval "$(sed -n '/^most_minutes=/,/^# name:minutes/p' .ci/run)"
step_whole() { printf '100%% tests passed, 0 tests failed out of 9\n\t  7 - a/b (Skipped)\n\t128 - slurm/cluster (Skipped)\n'
  printf 'skipped: a/b: no disk\nskipped: slurm/cluster: no cluster\nskipped within c/d: 3: needs a peer\n'; }
step_bench() { printf 'cold audit / raw reader            -          >= 0.90  not measured: busy\n'; }
step_clean() { :; }
step_absent() { say "skipped: no compiler"; return 69; }
step_broken() { printf '\t  7 - a/b (Skipped)\n'; return 3; }
for step in $1; do run_step $step 1; done
verdict
"""


class Steps(unittest.TestCase):
    def run_steps(self, steps, minutes=57):
        ran = subprocess.run(["bash", "-c", STEPS, "ci", steps], cwd=HERE.parents[1], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env={**os.environ, "WINNOW_CI_MINUTES": str(minutes)})
        return ran.returncode, ran.stdout.splitlines()

    def test_what_is_skipped_within_a_step_does_not_count_as_passed(self):
        code, lines = self.run_steps("whole bench clean absent")
        self.assertEqual(code, 0)
        self.assertEqual(lines[-1], "3 passed, 0 failed, 7 skipped (steps; of what is skipped, 6 are tests, cases and figures "
                                    "within steps that passed)")
        for line in ("passed, 2 tests skipped, 3 cases skipped within tests", "passed, 1 figures not measured", "skipped: no compiler"):
            self.assertTrue(any(found.endswith(f" s  {line}") for found in lines), line)
        for line in ("whole: skipped: a/b: no disk", "whole: skipped within c/d: 3: needs a peer",
                     "whole: 100% tests passed, 0 tests failed out of 9"):
            self.assertIn(line, lines)

    def test_a_failure_is_one_whatever_was_skipped(self):
        code, lines = self.run_steps("clean broken")
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed, 0 skipped"))

    def test_what_comes_too_late_fails(self):
        code, lines = self.run_steps("clean", minutes=0)
        self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed, 0 skipped"))
        self.assertTrue(any("as all steps have 0 minutes" in line for line in lines))


if __name__ == "__main__":
    unittest.main()
