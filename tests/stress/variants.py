"""What is run: the program's commands, small enough for a second each. All names are relative to the folder they run in, so
that what two runs write can be compared byte by byte."""

import shutil
from dataclasses import dataclass, field

from experts import write_family

MODELS = ["--base", "family/base", "--aligned", "family/aligned"]
ZOO = ["--zoo", "family/adapters"]
THREE = [part for number in range(3) for part in ("--adapter", f"family/adapters/adapter-00{number}")]
FAMILY = ["--layers", "4", "--adapters", "3", "--rank", "8", "--misaligned", "8", "--seed", "1"]


@dataclass(frozen=True)
class Variant:
    """`outputs`: what it writes below case/, by kind: report (compared by its tables), adapters
    (each whole), tree (whole), files (each whole), prediction.
    `prepared`: copied into case/ before the run. `rounding`: teams add up in another order."""
    name: str
    arguments: list
    outputs: dict
    prepared: dict = field(default_factory=dict)
    journal: bool = False
    rounding: bool = False
    most_ranks: int = 8
    config: bool = False

    @property
    def command(self):
        return self.arguments[0]

    @property
    def needs_its_adapters(self):
        return "--strict" in self.arguments or (self.command == "prune" and "--zoo" not in self.arguments)

    @property
    def watches_peers(self):
        return True

    def baseline(self):
        """What decides on the results, and nothing else."""
        ways = {"--journal": 2, "--cache": 2, "--resume": 1, "--io": 2, "--threads": 2, "--team": 2}
        kept, skip = [], 0
        for argument in self.arguments:
            skip = skip or ways.get(argument, 0)
            if skip:
                skip -= 1
            else:
                kept.append(argument)
        return " ".join(kept)


def audit(name, *options, journal=False, repaired=False, source=ZOO, family=MODELS, **rest):
    outputs = {"report.h5": "report"}
    arguments = ["audit", *family, *source, "--report", "case/report.h5", "--progress", "none", *options]
    if journal:
        arguments += ["--journal", "case/journal"]
    if repaired:
        arguments += ["--repair", repaired, "--repaired-dir", "case/repaired"]
        outputs["repaired"] = "adapters"
    return Variant(name, arguments, outputs, journal=journal, **rest)


DEEP = ["--base", "deep/base", "--aligned", "deep/aligned"]

EXPERTS = ["--base", "experts/base", "--aligned", "experts/aligned"]
OF_EXPERTS = ["--zoo", "experts/adapters"]

DIRECTION = ["--direction", "harmful=family/aligned"]
PROBES = [*DIRECTION, "--direction", "safe=family/base", "--probe", "harmful=probe"]

VARIANTS = [
    audit("audit", "--threads", "1"),
    audit("audit-journal", "--io", "buffered", journal=True),
    audit("audit-repair", "--io", "mmap", "--threads", "1", journal=True, repaired="drop"),
    audit("audit-resume", "--resume", journal=True, prepared={"journal": "half/journal"}),
    audit("audit-over", "--io", "direct", "--threads", "1", repaired="zero", source=THREE,
          prepared={"report.h5": "before/report.h5", "repaired": "before/repaired"}),
    audit("audit-reference", "--backend", "reference", "--threads", "1", journal=True, config=True),
    audit("audit-team", "--team", "2", "--threads", "1", journal=True, rounding=True),
    audit("audit-elements", "--element-stats", "--strict", journal=True, source=THREE),
    audit("audit-deep", "--backend", "reference", "--threads", "1", journal=True, family=DEEP,
          source=["--zoo", "deep/adapters"]),
    audit("audit-aligned", "--io", "buffered", "--threads", "1", journal=True, family=MODELS[2:]),
    audit("audit-weight", "--methods", "default,ablation", "--team", "2", "--threads", "1", journal=True, rounding=True),
    audit("audit-direction", "--threads", "1", journal=True, family=DIRECTION),
    audit("audit-probes", "--io", "buffered", journal=True, family=PROBES, repaired="deflect"),
    audit("audit-heads", "--heads", "--threads", "1", journal=True, family=PROBES),
    audit("audit-heads-team", "--heads", "--team", "2", "--threads", "1", journal=True, rounding=True, family=[*MODELS, *PROBES]),
    audit("audit-restore", "--threads", "1", journal=True, repaired="restore"),
    audit("audit-both", "--team", "2", "--threads", "1", journal=True, rounding=True, family=[*MODELS, *PROBES]),
    audit("audit-cache", "--cache", "case/cache", "--threads", "1", journal=True),
    audit("audit-known", "--cache", "case/cache", "--io", "buffered", prepared={"cache": "before/cache"}),
    audit("audit-experts", "--threads", "1", journal=True, family=EXPERTS, source=OF_EXPERTS, repaired="drop"),
    audit("audit-experts-probe", "--io", "buffered", journal=True, family=["--probe", "harmful=experts/probe"],
          source=OF_EXPERTS),
    Variant("synth", ["synth", *FAMILY, "--output", "case/family"], {"family": "files"}, config=True),
    Variant("synth-over", ["synth", *FAMILY, "--output", "case/family"], {"family": "files"}, {"family": "family"}),
    Variant("prune", ["prune", "--report", "before/report.h5", "--adapter", "family/adapters/adapter-001", "--output",
                      "case/pruned"], {"pruned": "tree"}, most_ranks=3, config=True),
    Variant("prune-over", ["prune", "--report", "before/report.h5", "--adapter", "family/adapters/adapter-001", "--output",
                           "case/pruned", "--repair", "zero"], {"pruned": "tree"},
            {"pruned": "before/repaired/adapter-001"}, most_ranks=3),
    Variant("prune-deflect", ["prune", "--repair", "deflect", "--probe", "harmful=probe", "--adapter",
                              "family/adapters/adapter-001", "--output", "case/pruned"], {"pruned": "tree"}, most_ranks=3),
    Variant("prune-zoo", ["prune", "--repair", "scale", "--factor", "0.5", *ZOO, "--output", "case/repaired"],
            {"repaired": "adapters"}),
    Variant("prune-restore", ["prune", "--repair", "restore", *MODELS, *ZOO, "--output", "case/repaired"],
            {"repaired": "adapters"}),
    Variant("prune-experts", ["prune", "--repair", "scale", "--factor", "0.5", *OF_EXPERTS, "--output", "case/repaired"],
            {"repaired": "adapters"}),
    Variant("extract", ["extract", "--from", "family/base", "--merged", "family/aligned", "--rank", "3", "--output",
                        "case/adapter"], {"adapter": "tree"}, config=True),
    Variant("merge", ["merge", "--report", "case/report.h5", "parts/0.h5", "parts/1.h5", "parts/2.h5"],
            {"report.h5": "report"}, most_ranks=3, config=True),
    Variant("report", ["report", "before/report.h5", "--html", "case/page.html", "--csv", "case/tables", "--json",
                       "case/all.json"], {"page.html": "tree", "tables": "files", "all.json": "tree"}, most_ranks=3,
            config=True),
    Variant("report-table", ["report", "before/report.h5"], {}, most_ranks=3),
    Variant("plan", ["plan", *MODELS, *ZOO, "--ranks", "4", "--modules", "--constants", "before/constants.json"], {},
            most_ranks=4, config=True),
    Variant("plan-json", ["plan", *MODELS, *THREE, "--ranks", "4", "--json", "case/plan.json", "--constants",
                          "before/constants.json"], {"plan.json": "prediction"}, most_ranks=4),
    Variant("methods", ["methods"], {}, most_ranks=3, config=True),
]


def prepare(folder, once):
    """What variants start from. `once(arguments)` runs the program, undisturbed, and wants it to succeed."""
    once(["synth", *FAMILY, "--output", "family"])
    once(["synth", "--layers", "24", "--adapters", "24", "--rank", "32", "--misaligned", "8", "--output", "deep"])
    write_family(folder / "experts")
    shutil.copytree(folder / "family/adapters/adapter-000", folder / "probe")
    (folder / "before").mkdir()
    once(["audit", *MODELS, *THREE, "--report", "before/report.h5", "--repair", "zero", "--repaired-dir", "before/repaired"])
    once(["audit", *MODELS, *THREE[:4], "--report", "before/two.h5", "--cache", "before/cache"])
    (folder / "parts").mkdir()
    for number in range(3):
        once(["audit", *MODELS, "--adapter", f"family/adapters/adapter-00{number}", "--report", f"parts/{number}.h5"])


def prepare_for(folder, variant, once):
    """What plan predicts with shall not be what this machine is doing just now. It takes long, and few variants need it."""
    if "before/constants.json" in variant.arguments and not (folder / "before/constants.json").exists():
        once(["plan", *MODELS, *ZOO, "--calibrate", "--constants", "before/constants.json"])


def fill_case(folder, variant):
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    for name, source in variant.prepared.items():
        copy = shutil.copytree if (folder / source).is_dir() else shutil.copyfile
        copy(folder / source, case / name)
    if variant.config:
        (case / "options.conf").write_text("# nothing is said here\nlog-level = warning\n")
