#!/usr/bin/env python3
"""skipped.py JUNIT: what was skipped in a run of `ctest --output-junit JUNIT`, and why; nothing if nothing was.

    skipped: TEST: REASON              a whole test, as ctest counts it
    skipped within TEST: N: REASON     N cases of a program that counts as passed; the reason of the first
"""

import re
import sys
import xml.etree.ElementTree as xml


def reason_of(output):
    """A line that begins with `skipped: `, else the last one."""
    lines = [line for line in output.splitlines() if line.strip(" -")]
    said = [line.removeprefix("skipped: ") for line in lines if line.startswith("skipped: ")]
    return (said or lines or ["no reason given"])[-1]


def cases_within(output):
    """(how many, why the first) of a program's cases, as GoogleTest and unittest tell them."""
    # Under mpirun every rank tells its own, and they skip alike.
    counts = re.findall(r"^\[  SKIPPED \] (\d+) tests?, listed below:$", output, re.MULTILINE)
    counts += re.findall(r"^(?:OK|FAILED) \(.*\bskipped=(\d+)", output, re.MULTILINE)
    reasons = re.findall(r"^\S+:\d+: Skipped\n+(.+)$", output, re.MULTILINE)
    reasons += re.findall(r" \.\.\. skipped ['\"]?(.*?)['\"]?$", output, re.MULTILINE)
    return max(map(int, counts), default=0), next(iter(reasons), "no reason given")


def main(junit):
    for case in xml.parse(junit).getroot().iter("testcase"):
        # mpirun gives its ranks a terminal, so that GoogleTest colours; ctest spells the character out.
        output = re.sub(r"\[NON-XML-CHAR-0x1B\]\[[0-9;]*m", "", case.findtext("system-out") or "")
        skipped = case.find("skipped")
        if skipped is not None:
            if skipped.get("message", "").startswith("SKIP_"):  # else it could not be run, which ctest counts as failed
                print(f"skipped: {case.get('name')}: {reason_of(output)}")
            continue
        cases, reason = cases_within(output)
        if cases:
            print(f"skipped within {case.get('name')}: {cases}: {reason}")


if __name__ == "__main__":
    main(sys.argv[1])
