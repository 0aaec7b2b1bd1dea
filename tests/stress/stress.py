"""Random cases of the program disturbed: a rank killed, stopped, signalled, a call that fails, hangs or is slow. After each:
no hang, the right message and exit code, nothing half-written, and the results of an undisturbed run, where need be after a
second run over what the first has left. A case is drawn from the seed and its number alone: `--case K` repeats it."""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time

from disturbances import draw
from runs import Machine
from variants import MODELS, VARIANTS, ZOO, fill_case, prepare, prepare_for
from verdicts import Results, of_run


class Stress:
    def __init__(self, machine, folder, seed, kept):
        self.machine, self.folder, self.seed, self.kept = machine, folder, seed, kept
        self.results = Results(machine, folder)
        self.profiles, self.baselines, self.reached = {}, {}, {}

    def prepare(self):
        prepare(self.folder, self.once)
        # A run that was asked to stop with its sixth module.
        (self.folder / "half").mkdir()
        half = self.machine.run(["audit", *MODELS, *ZOO, "--report", "half/report.h5", "--journal", "half/journal"], 2,
                                ["0 write half/journal/*/rank-0000.journal 6 signal 10"])
        if half.code != 75:
            sys.exit(f"no run to resume: {half.err}")

    def once(self, arguments):
        done = self.machine.run(arguments)
        if done.code != 0:
            sys.exit(f"{' '.join(arguments)}: {done.err}")
        return done

    def baseline(self, variant):
        """What one undisturbed process writes."""
        key = variant.baseline()
        if key not in self.baselines:
            prepare_for(self.folder, variant, self.once)
            fill_case(self.folder, variant)
            shutil.rmtree(self.folder / "case/journal", ignore_errors=True)
            done = self.once([argument for argument in variant.arguments if argument != "--resume"])
            saved = self.folder / "baselines" / str(len(self.baselines))
            shutil.copytree(self.folder / "case", saved)
            (saved / "stdout").write_text(done.out)
            self.baselines[key] = saved
        return self.baselines[key]

    def profile(self, variant, ranks):
        """The calls of each rank, undisturbed. Judged like the other runs."""
        key = variant.name, ranks
        if key not in self.profiles:
            baseline = self.baseline(variant)
            fill_case(self.folder, variant)
            done = self.machine.run(self.arguments(variant), ranks, log=True)
            problems = [] if done.code == 0 else [f"exit code {done.code}: {done.err}"]
            problems += self.results.of(variant, baseline, done, done.code == 0)
            self.profiles[key] = done.events, problems
        return self.profiles[key]

    @staticmethod
    def arguments(variant, timeout=0):
        return [*variant.arguments, *(["--config", "case/options.conf"] if variant.config else []),
                *(["--peer-timeout", str(timeout)] if timeout else [])]

    def case(self, number):
        drawn = random.Random(f"{self.seed}/{number}")
        variant = drawn.choice(VARIANTS)
        if variant.command != "audit" and drawn.random() < 0.4:
            variant = drawn.choice([v for v in VARIANTS if v.command == "audit"] or VARIANTS)
        ranks = drawn.randint(0, variant.most_ranks)
        timeout = drawn.randint(1, 3) if variant.watches_peers and drawn.random() < 0.6 else 0
        events, problems = self.profile(variant, ranks)
        problems = [f"undisturbed: {problem}" for problem in problems]
        baseline = self.baseline(variant)
        disturbance = draw(drawn, variant, ranks, timeout, events)
        fill_case(self.folder, variant)
        started = time.monotonic()
        outcome = self.machine.run(self.arguments(variant, timeout), ranks, disturbance.rules, when_hit=disturbance.when_hit)
        seconds = time.monotonic() - started
        problems += of_run(variant, ranks, disturbance, outcome)
        problems += self.results.of(variant, baseline, outcome, outcome.code == 0)
        if outcome.code != 0:
            problems += self.again(variant, drawn.randint(0, variant.most_ranks), baseline)
        reached = "" if outcome.hits or not disturbance.rules else ", not reached"
        counts = self.reached.setdefault(disturbance.kind, [0, 0])
        counts[0] += 1
        counts[1] += not reached
        patience = f" --peer-timeout {timeout}" if timeout else ""
        print(f"case {number}: {variant.name} on {ranks or 'no launcher'}{patience}: {disturbance}{reached}: exit code "
              f"{outcome.code}{', mpirun hung' if outcome.launcher_hung else ''}, {seconds:.1f} s", flush=True)
        for problem in problems:
            print(f"  FAILED: {problem}", flush=True)
        if problems:
            told = outcome.err.splitlines()
            ours = [line for line in told if "winnow: " in line]
            for line in ours[:8] + [line for line in told if line not in ours][:8]:
                print(f"    | {line[:300]}", flush=True)
            if self.kept:
                shutil.copytree(self.folder / "case", self.kept / f"{self.seed}-{number}", dirs_exist_ok=True, symlinks=True)
        return not problems

    def again(self, variant, ranks, baseline):
        """Over what the first run has left, undisturbed."""
        arguments = self.arguments(variant)
        if variant.journal and "--resume" not in arguments:
            arguments.append("--resume")
        done = self.machine.run(arguments, ranks)
        if done.code != 0:
            yield f"run again on {ranks}: {'it hangs' if done.hung else f'exit code {done.code}'}: {done.err[:300]}"
            return
        for problem in self.results.of(variant, baseline, done, True):
            if not problem.startswith("left behind"):  # by the first
                yield f"run again on {ranks}: {problem}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--winnow", required=True, help="the program")
    parser.add_argument("--disturb", required=True, help="libwinnow_disturb.so")
    parser.add_argument("--seed", type=int, help="drawn and printed by default")
    parser.add_argument("--cases", type=int, default=25)
    parser.add_argument("--first", type=int, default=0, help="number of the first case; for several of these at once")
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--variant", action="append", help="these alone; their cases are others than without it")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a run hangs")
    parser.add_argument("--keep", type=pathlib.Path, help="where what failed cases have left is kept")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(100000) if arguments.seed is None else arguments.seed
    numbers = range(arguments.first, arguments.first + arguments.cases) if arguments.case is None else [arguments.case]
    launch = pathlib.Path(__file__).resolve().parent.parent / "mpi" / "launch.sh"
    if arguments.variant:
        VARIANTS[:] = [variant for variant in VARIANTS if variant.name in arguments.variant]
    print(f"seed: --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="winnow-stress.") as folder:
        folder = pathlib.Path(folder).resolve()
        machine = Machine(pathlib.Path(arguments.winnow).resolve(), pathlib.Path(arguments.disturb).resolve(), launch, folder,
                          arguments.limit)
        stress = Stress(machine, folder, seed, arguments.keep)
        stress.prepare()
        failed = [number for number in numbers if not stress.case(number)]
    for kind, (cases, reached) in sorted(stress.reached.items()):
        print(f"{kind}: {cases} cases, {reached} reached")
    print(f"{len(numbers)} cases, {len(failed)} failed{': ' + str(failed) if failed else ''}; --seed {seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
