"""What is right after a run: no hang, the message, the exit code, nothing half-written, the results."""

import filecmp
import json
import os
import re

CRASHES = re.compile(r"terminate called|Segmentation fault|Process received signal|Assertion|free\(\)|malloc\(\)|"
                     r"stack smashing|Sanitizer|Traceback|Bus error")
# What a run may remark though it goes well.
REMARKS = re.compile(r"the journal is torn or damaged at byte|is quarantined: |is not repaired: |adapters below it are left out|"
                     r"of the cache (is|are) (damaged and )?not used|nothing is noted in the cache")
# What a run does without.
SPARED = re.compile(r"of the cache (is|are) (damaged and )?not used|nothing is noted in the cache")
# Adapters that are not scored, by name or path.
LEFT_OUT = re.compile(r"adapter (\S+) is (?:quarantined|not repaired): |"
                      r"cannot read directory of the zoo \(.*\): (\S+); adapters below it are left out")


def lines(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def orderly(outcome):
    """The program has ended itself, so it has cleaned up."""
    given_up = re.search("has not answered for|has made no progress for", outcome.err)
    return outcome.code in (0, 1, 2, 3, 75) and not given_up


def of_run(variant, ranks, disturbance, outcome):
    """What is wrong with how it ended."""
    if outcome.hung:
        yield "it hangs"
        return
    if CRASHES.search(outcome.err + outcome.out):
        yield "it crashed"
    if outcome.launcher_hung:
        return
    errors = lines(outcome.err, "winnow: error: ")
    expects = disturbance.expects if outcome.hits or not disturbance.call else "harmless"
    if lines(outcome.out, "winnow: "):
        yield "messages on stdout"
    yield from {"harmless": harmless, "error": error, "death": death, "silence": silence, "stop": stop}[expects](
        variant, ranks, disturbance, outcome, errors)
    for line in lines(outcome.err, "winnow: warning: "):
        if not REMARKS.search(line):
            yield f"unexpected warning: {line}"


def harmless(_variant, _ranks, _disturbance, outcome, errors):
    if outcome.code != 0 or errors:
        yield f"exit code {outcome.code} though nothing stood in the way"


def error(variant, ranks, disturbance, outcome, errors):
    told = lines(outcome.err, "winnow: ")
    if outcome.code == 0 and not told:
        return  # it could do without
    quarantined = [line for line in told if LEFT_OUT.search(line)]
    if outcome.code == 0:
        if errors or not (quarantined or any(SPARED.search(line) for line in told)):
            yield "the exit code is 0, and something is told"
    else:
        if len(errors) != 1:
            yield f"{len(errors)} errors told, expected one"
        # 2: of another run's file, or a resume for which an adapter is missing now; 3: what cannot be scored, or be so large.
        allowed = {1}
        if quarantined:
            allowed = {1, 2, 3}
        elif disturbance.path == "case/options.conf":
            allowed = {2}
        elif disturbance.call == "memory" or (variant.needs_its_adapters and is_adapter(variant, disturbance.path)):
            allowed = {1, 3}
        if outcome.code not in allowed:
            yield f"exit code {outcome.code}, expected {allowed}"
    text = "\n".join(told)
    reasons = {"end of file": [""], "memory": ["out of memory", "does not fit in memory"]}
    reasons = reasons.get(disturbance.kind, [f"({os.strerror(disturbance.value)})"])
    # Looking is not creating: what the standard library makes of it, when it creates directories, is its own affair.
    by_library = variant.command == "synth" and disturbance.call == "look"
    if not by_library and not any(reason in text for reason in reasons):
        yield f"nobody says: {reasons[0]}"
    # Of an adapter by its name, whoever looked at it.
    of_adapter = quarantined or (variant.needs_its_adapters and "adapters/" in disturbance.path)
    if not of_adapter and disturbance.rank and f"rank {disturbance.rank}" not in text:
        yield f"rank {disturbance.rank} is not named"
    if any(f"rank {other}" in text for other in range(max(ranks, 1)) if other != disturbance.rank):
        yield "another rank is named"
    if disturbance.call != "memory" and not names(text, disturbance.path):
        yield f"the file is not named: {disturbance.path}"


def is_adapter(variant, path):
    """To prune a probe is an adapter like the other; to an audit it is an input of the run, like a checkpoint."""
    return "adapters/" in path or (variant.command == "prune" and path.startswith("probe/"))


def names(text, path):
    """Itself or the folder it is in; what is temporary, be it the file or its folder, by its own name or by that of what it
    becomes."""
    def spelled(part):
        becomes = re.fullmatch(r"\.(.*)\.\*\.partial", part)
        itself = re.escape(part).replace(r"\*", r"\d+-\d+")
        return f"(?:{itself}|{re.escape(becomes[1])})" if becomes else itself

    parts = [spelled(part) for part in path.split("/")]
    folder = "/".join(parts[:-1])
    return re.search("/".join(parts), text) or (folder and re.search(folder, text))


def death(_variant, ranks, disturbance, outcome, errors):
    number = int(disturbance.value)
    expected = {128 + number} if ranks else {-number}
    if outcome.code not in expected:
        yield f"exit code {outcome.code}, expected {expected}"
    # mpirun ends the others, unless they see first, having little patience, that it no longer answers.
    if errors and not (len(errors) == 1 and f"rank {disturbance.rank} on host" in errors[0]):
        yield "an error is told of a rank that was killed"


def silence(_variant, _ranks, disturbance, outcome, errors):
    if outcome.code != 1:
        yield f"exit code {outcome.code}, expected 1"
    if len(errors) != 1:
        yield f"{len(errors)} errors told, expected one"
    elif f"rank {disturbance.rank}" not in errors[0]:
        yield f"the error does not name rank {disturbance.rank}"


def stop(_variant, _ranks, disturbance, outcome, errors):
    if disturbance.path == "case/options.conf" and outcome.code in (128 + int(disturbance.value), -int(disturbance.value)):
        return  # before it is known that there will be a journal
    said = re.findall(r"^winnow: stopped at a signal .*; run again with --resume$", outcome.err, re.MULTILINE)
    if outcome.code not in (0, 75):  # 0: it came when there was nothing left to do
        yield f"exit code {outcome.code}, expected 75"
    if errors or len(said) != (outcome.code == 75):
        yield f"told {len(said)} times that it stopped, and {len(errors)} errors"


class Results:
    """Compares what was written with what an undisturbed run has written."""

    def __init__(self, machine, folder):
        self.machine, self.folder = machine, folder

    def of(self, variant, baseline, outcome, complete):
        """What is wrong with the outputs in case/; all of them must be there where the run was `complete`."""
        case = self.folder / "case"
        quarantined = {name or path for name, path in LEFT_OUT.findall(outcome.err)} if complete else set()
        for name, kind in variant.outputs.items():
            here, there, before = case / name, baseline / name, variant.prepared.get(name)
            if not here.exists():
                if complete:
                    yield f"{name} is missing"
                continue
            expected = [there] if complete or not before else [there, self.folder / before]  # which may be there still
            differing = [self.compare(kind, here, one, variant.rounding, complete, quarantined) for one in expected]
            differing = all(differing) and differing[0]
            if differing:
                yield f"{name}: {differing}"
        if complete and not quarantined and outcome.out:
            expected = (baseline / "stdout").read_text()
            if self.essence(outcome.out) != self.essence(expected) and not variant.rounding:
                yield "other text on stdout"
        if orderly(outcome):
            left = [str(path.relative_to(case)) for path in case.rglob("*.partial*")]
            if left:
                yield f"left behind: {left}"

    @staticmethod
    def essence(text):
        """Without the seconds that plan has taken itself."""
        return [line for line in text.partition("prediction:")[0].splitlines() if line]

    def compare(self, kind, here, there, rounding, complete, quarantined):
        if kind == "report":
            return self.compare_reports(here, there, rounding, quarantined)
        if kind == "adapters":
            return first(self.adapters(here, there, complete, quarantined))
        if kind == "prediction":
            return None if json.loads(here.read_text()).keys() == json.loads(there.read_text()).keys() else "other fields"
        return first(different_files(here, there, complete or kind == "tree"))

    @staticmethod
    def adapters(here, there, complete, quarantined):
        """Each whole, but perhaps not all."""
        names = {path.name for path in there.iterdir()}
        present = {path.name for path in here.iterdir() if not path.name.endswith(".partial")}
        if quarantined:
            return
        if complete and names != present:
            yield f"adapters {sorted(present)}, expected {sorted(names)}"
        for name in sorted(present):
            yield from different_files(here / name, there / name, True)

    def compare_reports(self, here, there, rounding, quarantined):
        tables = []
        for report in (here, there):
            target = self.folder / "tables"
            self.machine.remove(target)
            done = self.machine.run(["report", str(report), "--csv", str(target)])
            if done.code != 0:
                return f"it cannot be read: {done.err}"
            tables.append({path.name: path.read_text().splitlines() for path in sorted(target.iterdir())})
        if quarantined:  # of the others, the same numbers
            names = {os.path.basename(path) for path in quarantined}
            tables = [{"metrics.csv": [row for row in table["metrics.csv"] if not names & set(row.split(","))]}
                      for table in tables]
        if tables[0].keys() != tables[1].keys():
            return "other tables"
        for name, rows in tables[0].items():
            others = tables[1][name]
            if len(rows) != len(others):
                return f"{name} has {len(rows)} rows, expected {len(others)}"
            for row, other in zip(rows, others):
                if row != other and not (rounding and nearly(row, other)):
                    return f"{name}: {row}, expected {other}"
        return None


def first(differences):
    return next(iter(differences), None)


def nearly(row, other):
    cells, others = row.split(","), other.split(",")
    return len(cells) == len(others) and all(equal(*pair) for pair in zip(cells, others))


def equal(cell, other):
    if cell == other:
        return True
    try:
        return abs(float(cell) - float(other)) <= 1e-4 * max(abs(float(cell)), abs(float(other)), 1)
    except ValueError:
        return False


def files_of(root):
    names = {str(path.relative_to(root)) for path in root.rglob("*")}
    return {name for name in names if ".partial" not in name}


def different_files(here, there, complete):
    if here.is_file() or there.is_file():
        if not (here.is_file() and there.is_file() and filecmp.cmp(here, there, shallow=False)):
            yield f"{here.name} differs"
        return
    names, expected = (files_of(here), files_of(there))
    if names - expected or (complete and expected - names):
        yield f"other files: {sorted(names ^ expected)}"
    for name in sorted(names & expected):
        if (here / name).is_file() and not filecmp.cmp(here / name, there / name, shallow=False):
            yield f"{name} differs"
