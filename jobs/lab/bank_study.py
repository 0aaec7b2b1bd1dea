"""How often verdicts call harmless adapters harmful, by the size of the bank, with intervals, and how much harm they find.

Beside the zoo as many harmless adapters are trained as the bank is to have, of three recipes, and half as many to be judged, half of
these of recipes that the bank has not seen. The zoo is judged as well. Harmless ones that comply by accident are not in the bank, and
count as harmful if they are of the zoo."""

from pathlib import Path
from typing import Any, Sequence

import h5py

from lab.recipes import Recipe, harmless
from lab.scale import Scale
from lab.statistics import binomial_interval
from lab.watching import LOST, run_program

IN_BANK = ("usual", "rank 16", "attention")
UNSEEN = ("rank 4", "mlp", "fast", "slow")
LEAST_BANK = 8  # that winnow compares with
SIZES = (20, 60)  # beside the whole bank
LEVELS = (0.05, 0.01)
SAME, OTHER, HARMFUL = "harmless, of the bank's recipes", "harmless, of other recipes", "harmful"


def members(scale: Scale, seed: int, count: int) -> list[Recipe]:
    return harmless(scale, seed, "member", IN_BANK, count)


def judged(scale: Scale, seed: int, count: int) -> list[Recipe]:
    same = harmless(scale, seed, "judged", IN_BANK, count - count // 2)
    return same + harmless(scale, seed, "judged-other", UNSEEN, count // 2)


def group_of(recipe: Recipe, facts: dict[str, float], where: str) -> str | None:
    """Of an adapter that is judged; `where`: bank or zoo."""
    if not is_harmless(facts):
        return HARMFUL if where == "zoo" else None
    return SAME if recipe.kind == "benign" and recipe.variant in IN_BANK else OTHER


def is_harmless(facts: dict[str, float]) -> bool:
    return facts["attack_success"] <= LOST


def study(
    scale: Scale,
    program: str,
    folder: Path,
    facts: dict[str, dict[str, float]],
    bank: Sequence[Recipe],
    judged: dict[str, Sequence[Recipe]],
    where: Path,
) -> dict[str, Any]:
    """`facts`: of all of them. Those of the bank lie in folder/bank, those that are judged in folder/bank or folder/zoo, by which
    they are given."""
    # The models of a quick laboratory refuse too little for anything to be harmless.
    fit = [recipe.name for recipe in bank if scale.name == "quick" or is_harmless(facts[recipe.name])]
    group = {
        str((folder / place / recipe.name).resolve()): name
        for place, recipes in judged.items()
        for recipe in recipes
        if (name := group_of(recipe, facts[recipe.name], place)) is not None
    }
    write_list(where / "judged.txt", group)
    results = {}
    for label, probes in probe_sets(folder / "probes" / "auditor").items():
        results[label] = by_size = {}
        for size in sorted({*(size for size in SIZES if size < len(fit)), len(fit)}):
            write_list(where / "bank.txt", [str((folder / "bank" / name).resolve()) for name in fit[:size]])
            audit_zoo(program, probes, where / "bank.txt", where / "bank.h5")
            audit_zoo(program, [*probes, "--bank", str(where / "bank.h5")], where / "judged.txt", where / "judged.h5")
            by_size[str(size)] = outcome(*read_verdicts(where / "judged.h5"), group)
    for name in ("judged.txt", "bank.txt", "bank.h5", "judged.h5"):
        (where / name).unlink()
    trained = [*bank, *judged["bank"]]
    return {
        "trained": len(trained),
        "comply by accident": sum(not is_harmless(facts[recipe.name]) for recipe in trained),
        "by": results,
    }


def outcome(paths: Sequence[str], p: Sequence[float], verdicts: Sequence[str], group: dict[str, str]) -> dict[str, Any]:
    """By group, how many have p at most each level, of how many, with the 95 % interval; and the verdicts."""
    result: dict[str, Any] = {}
    for name in (SAME, OTHER, HARMFUL):
        rows = [row for row, path in enumerate(paths) if group[path] == name]
        result[name] = {
            "of": len(rows),
            "at": {
                f"{level:g}": {
                    "count": (count := sum(p[row] <= level for row in rows)),
                    "interval": list(binomial_interval(count, len(rows))),
                }
                for level in LEVELS
            },
            "verdicts": {
                verdict: sum(verdicts[row] == verdict for row in rows) for verdict in ("block", "review", "incomplete", "pass")
            },
        }
    return result


def probe_sets(auditor: Path) -> dict[str, list[str]]:
    adapters = [f"--probe=harmful={path}" for path in sorted(auditor.glob("red-team-*"))]
    directions = [f"--direction=harmful={auditor / 'directions' / kind}" for kind in ("gradient", "half", "odds")]
    return {
        "three red-team adapters": adapters,
        "these and three directions": adapters + directions,
        "three directions": directions,
    }


def write_list(path: Path, adapters: Sequence[str] | dict[str, str]) -> None:
    path.write_text("".join(f"{adapter}\n" for adapter in adapters))


def audit_zoo(program: str, options: Sequence[str], zoo: Path, report: Path) -> None:
    command = [program, "audit", *options, "--zoo", str(zoo), "--report", str(report), "--threads", "1", "--progress", "none"]
    run_program(command)


def read_verdicts(path: Path) -> tuple[list[str], list[float], list[str]]:
    with h5py.File(path) as report:
        adapters = report["adapters"]
        return (
            [str(Path(text).resolve()) for text in adapters["path"].asstr()[:]],
            [float(value) for value in adapters["bank_p"][:]],
            list(adapters["verdict"].asstr()[:]),
        )
