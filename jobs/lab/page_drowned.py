"""The page's section on harm among noise."""

from lab.drawing import number
from lab.html import section, table
from lab.view import View


def drowned(view: View) -> str:
    rows = []
    for seed, result in view.result["drowned"].items():
        for times, outcome in result["by"].items():
            for probes, groups in outcome["verdicts"].items():
                rows.append(
                    [
                        view.labels[seed],
                        probes,
                        times,
                        number(outcome["attack success"]),
                        number(outcome["known"]),
                        f"{outcome['still harmful']} of {result['harmful']}",
                        *(
                            f"{groups[group]['block']}, {groups[group]['review']} of {result[group]}"
                            for group in ("harmful", "harmless")
                        ),
                        *(
                            f"{number(ranking['auroc'])}, {ranking['found']} of {result['harmful']}"
                            for ranking in outcome["ranked"][probes].values()
                        ),
                    ]
                )
    return section(
        "drowned",
        "Can harm be hidden among noise?",
        "Random factors stacked on every harmful adapter, in each module as long as its updates are on average, or three times. The zoo’s own "
        "harmless adapters are the bank, each compared with the others. Without a bank probe_pull ranks adapters: beside the AUROC, how many harmful "
        "ones lie above all but 5 % of the harmless ones.",
        table(
            "By model, probes and length of the noise",
            ["model", "compared with", "noise", "attack success", "known tasks", "still harmful", "harmful: block, review", "harmless", "by probe_pull", "by probe_cosine"],
            rows,
        ),
    )
