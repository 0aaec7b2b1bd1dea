"""The page's section on banks: false alarms with their intervals, by the size of the bank."""

from typing import Any

from lab.html import section, table
from lab.view import View


def verdicts(view: View) -> str:
    tables = []
    for seed, result in view.result["verdicts"].items():
        for probes, by_size in result["by"].items():
            rows = [
                [size, name, str(group["of"]), *(_counted(group, level) for level in group["at"]), _said(group)]
                for size, groups in sorted(by_size.items(), key=lambda entry: int(entry[0]))
                for name, group in groups.items()
            ]
            levels = [f"p ≤ {level}" for level in next(iter(next(iter(by_size.values())).values()))["at"]]
            tables.append(
                table(
                    f"{view.labels[seed]}: {probes}",
                    ["bank", "judged", "of them", *levels, "block, review, incomplete, pass"],
                    rows,
                )
            )
    if not tables:
        return ""
    left_out = ", ".join(
        f"{result['comply by accident']} of {result['trained']} ({view.labels[seed]})"
        for seed, result in view.result["verdicts"].items()
    )
    return section(
        "verdicts",
        "How often does a bank give a false alarm?",
        "A bank of harmless adapters trained for this alone, of three recipes. Judged by it are others of these and of further "
        "recipes, and the zoo. In brackets the 95 % interval of the share (Clopper and Pearson). "
        f"Of those trained for this, the ones that comply by accident are left out: {left_out}.",
        *tables,
    )


def _counted(group: dict[str, Any], level: str) -> str:
    found = group["at"][level]
    low, high = found["interval"]
    return f"{found['count']}" + (f" ({100 * low:.1f}–{100 * high:.1f} %)" if low is not None else "")


def _said(group: dict[str, Any]) -> str:
    return ", ".join(str(group["verdicts"][verdict]) for verdict in ("block", "review", "incomplete", "pass"))
