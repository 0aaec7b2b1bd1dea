"""What all sections of the page need of a laboratory's result."""

from lab.html import Json

# What stands in figures; the tables have everything.
SHOWN = (
    "ediem (role): mean",
    "ediem (zoo): mean",
    "cosine: mean",
    "misalignment (role): mean",
    "subspace_energy: mean",
    "alignment_removed: max",
    "alignment_removed: whole model",
    "alignment_cosine: whole model",
    "update_norm: mean",
    "probe_cosine, auditor red-team-0",
    "probe_cosine, three red-team: mean",
    "probe_share, auditor red-team-0",
    "probe_cosine, auditor gradient",
    "probe_cosine, auditor odds",
    "probe_cosine, auditor half",
    "probe_cosine, secret half",
    "probe_cosine, two halves: mean",
    "probe_cosine, all: largest z",
)


class View:
    def __init__(self, result: Json, speed: dict[str, list[dict[str, float]]]) -> None:
        """`speed`: by seed, of lab/speed.py."""
        self.result, self.speed = result, speed
        self.seeds = [str(seed) for seed in result["seeds"]]
        self.choice = result["choice"]
        self.labels = {
            seed: f"model {seed}{' (for choosing)' if int(seed) in self.choice['chosen on'] else ' (held out)'}"
            for seed in self.seeds
        }

    def shown(self) -> list[str]:
        names = [name for name in SHOWN if name in self.result["detection"]]
        return names if self.choice["statistic"] in names else [*names, self.choice["statistic"]]
