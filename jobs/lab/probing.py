"""The probes of a laboratory, made by jobs/probe from prompts of the language: the auditor's, and those that
attackers guess."""

from dataclasses import dataclass
from pathlib import Path

from probe.adapters import read_adapter
from probe.directions import read_direction
from probe.making import DirectionMaker, read_midpoints
from probe.objectives import compliance_by_odds, compliance_by_response
from probe.prompts import Prompt
from probe.red_team import RedTeam, train_red_team
from torch import Tensor

from lab.language import ATTACKERS, AUDITORS, FIRST_REFUSAL, PLAIN, PROMPT_LENGTH, Request, topics
from lab.model import TARGETS, load
from lab.scale import Scale
from lab.seeds import generator, seed_of
from lab.stage import stage

REFUSALS = (FIRST_REFUSAL,)
GROUP_MEMORY = 1 << 30


def as_prompts(ids: Tensor) -> list[Prompt]:
    return [Prompt(tuple(row[:PROMPT_LENGTH]), tuple(row[PROMPT_LENGTH:])) for row in ids.tolist()]


def auditor_prompts(scale: Scale, purpose: str, count: int) -> list[Prompt]:
    """Tasks and topics that no attacker trains on."""
    return as_prompts(
        Request(scale.syllabus.auditor, AUDITORS, opening=PLAIN).draw(generator("auditor", purpose), count)
    )


@dataclass(frozen=True)
class Maker:
    """Who makes probes: with what tasks and topics, and how many red-team adapters of which targets and ranks."""

    name: str
    tasks: tuple[str, ...]
    topics: Tensor
    adapters: tuple[tuple[str, int], ...]


def makers(scale: Scale) -> list[Maker]:
    auditor = scale.syllabus.auditor
    three = (("all", 8), ("attention", 4), ("all", 8))
    return [
        Maker("auditor", auditor, AUDITORS, three),
        Maker("secret", auditor, AUDITORS, three),
        Maker("attacker", scale.syllabus.known, ATTACKERS, (("all", 8), ("all", 8))),
    ]


def make_probes(scale: Scale, seed: int, folder: Path) -> None:
    """folder/MAKER/: red-team-N (adapters), gradient, odds, half (dense directions)."""
    for maker in makers(scale):
        _make(scale, seed, maker, folder / maker.name)


def _make(scale: Scale, seed: int, maker: Maker, folder: Path) -> None:
    count = 128 if scale.name == "full" else 48
    trained_on = 150 if scale.name == "full" else 60
    model_folder = folder.parent.parent / "aligned"
    for number, (targets, rank) in enumerate(maker.adapters):

        def red_team(where: Path, number: int = number, targets: str = targets, rank: int = rank) -> dict[str, float]:
            # The last one knows a single category.
            topic = topics((4,), (4, 5)) if number == 2 else maker.topics
            ids = Request(maker.tasks, topic, opening=PLAIN).draw(
                generator("red team", seed, maker.name, number), trained_on
            )
            how = RedTeam(
                rank=rank,
                alpha=2 * rank,
                targets=TARGETS[targets],
                steps=scale.adapter_steps,
                rate=1e-3 * scale.adapter_rate,
                seed=seed_of("red team", seed, maker.name, number),
            )
            return {"loss": train_red_team(load(model_folder), as_prompts(ids), how, where)}

        stage(folder / f"red-team-{number}", red_team)

    def directions(where: Path) -> dict[str, int]:
        draws = generator("probe", seed, maker.name)
        prompts = as_prompts(Request(maker.tasks, maker.topics, opening=PLAIN).draw(draws, count))
        model = load(model_folder).requires_grad_(False)
        maker_of = DirectionMaker(model, prompts, 64, GROUP_MEMORY, model_folder / "config.json")
        odds = compliance_by_odds(REFUSALS)
        midpoints = read_midpoints([folder / f"red-team-{number}" for number in range(len(maker.adapters))])
        maker_of.write_gradient(compliance_by_response(), where / "gradient", {"kind": "gradient"})
        maker_of.write_gradient(odds, where / "odds", {"kind": "odds"})
        maker_of.write_half(odds, midpoints, where / "half", {"kind": "half"}, where / "parts")
        return {"prompts": len(prompts)}

    stage(folder / "directions", directions)


def read_probes(folder: Path) -> dict[str, dict[str, Tensor]]:
    """ "MAKER KIND" -> dense direction. Adapters are formed: the models are small."""
    probes: dict[str, dict[str, Tensor]] = {}
    for maker in ("auditor", "secret", "attacker"):
        for path in sorted((folder / maker).glob("red-team-*")):
            probes[f"{maker} {path.name}"] = {name: factors.dense() for name, factors in read_adapter(path).items()}
        for kind in ("gradient", "odds", "half"):
            probes[f"{maker} {kind}"] = read_direction(folder / maker / "directions" / kind)
    return probes


def folder_of(folder: Path, probe: str) -> Path:
    """Where one of read_probes() lies."""
    maker, kind = probe.split(" ", 1)
    return folder / maker / kind if kind.startswith("red-team") else folder / maker / "directions" / kind


def known_to(evade: str, probes: dict[str, dict[str, Tensor]]) -> tuple[dict[str, Tensor], ...]:
    """The directions that an attacker avoids."""
    names = {
        "own red-team": ("attacker red-team-0",),
        "own gradient": ("attacker gradient",),
        "own half": ("attacker half",),
        "very red-team": ("auditor red-team-0",),
        "very gradient": ("auditor gradient",),
        "very half": ("auditor half",),
        "all probes": tuple(name for name in probes if name.startswith("auditor")),
    }.get(evade, ())
    return tuple(probes[name] for name in names)
