"""The command line of jobs/probe.sh."""

import argparse
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Sequence

import torch

from probe.adapters import write_adapter
from probe.console import quiet_unless_terminal
from probe.directions import read_direction
from probe.errors import UserError
from probe.making import DirectionMaker, leading_part, read_midpoints
from probe.models import checkpoint_activations, load_model, load_tokenizer, share_covered
from probe.objectives import compliance_by_odds, compliance_by_response
from probe.prompts import PromptSet, read_prompts
from probe.record import finish_adapter, same_work
from probe.red_team import RedTeam, subsets, train_red_team
from probe.sizes import parse_bytes

KINDS = ("odds", "gradient", "red-team", "half")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="probe.sh",
        description="Makes a probe: what an update that removes refusals looks like on "
        "this model. jobs/probe/README.md says what the kinds are and what a file of prompts holds.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="any causal model of transformers, from a folder"
    )
    parser.add_argument(
        "--prompts", type=Path, required=True, metavar="FILE.jsonl", help="red-team prompts, and what a refusal is"
    )
    parser.add_argument("--kind", choices=KINDS, default="half", help="default: half, the best detector known")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="a new folder; a run that was interrupted goes on"
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="half: a red-team adapter; may be repeated. Default: three are trained first, from the prompts' responses",
    )
    parser.add_argument(
        "--rank",
        type=int,
        metavar="R",
        help="odds, gradient and half: written as an adapter of that rank instead of dense; "
        "red-team: its rank (default 8)",
    )
    parser.add_argument("--steps", type=int, default=150, help="of training a red-team adapter (default 150)")
    parser.add_argument("--rate", type=float, default=2e-4, help="its learning rate (default 2e-4)")
    parser.add_argument("--batch", type=int, default=8, help="prompts at once (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto (all GPUs, else the processor), cpu or cuda")
    parser.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"), help="auto: as stored"
    )
    parser.add_argument("--checkpoint-activations", action="store_true", help="less memory, about a third more time")
    parser.add_argument(
        "--group-memory",
        type=parse_bytes,
        default="8GiB",
        metavar="SIZE",
        help="of float32 gradients held at once; each group of modules is a pass over the prompts (default 8GiB)",
    )
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: as torch chooses")
    options = parser.parse_args(arguments)
    for name in ("batch", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is at least 1")
    if options.rank is not None and options.rank < 1:
        parser.error("--rank is at least 1")
    if options.adapter and options.kind != "half":
        parser.error("--adapter belongs to --kind half")
    return options


class ProgressLines:
    """A line every ten seconds at most."""

    def __init__(self, total: int) -> None:
        self.total, self.last = total, time.monotonic()

    def __call__(self, what: str, done: int) -> None:
        if time.monotonic() - self.last >= 10:
            self.last = time.monotonic()
            print(f"{what}: {done} of {self.total}", file=sys.stderr, flush=True)


def making(options: argparse.Namespace, prompts: PromptSet) -> dict[str, Any]:
    """What the probe depends on, recorded beside it; an interrupted run goes on only where it is the same."""
    facts: dict[str, Any] = {
        "kind": options.kind,
        "model": str(options.model.resolve()),
        "prompts": len(prompts.prompts),
        "prompts_sha256": hashlib.sha256(options.prompts.read_bytes()).hexdigest(),
        "refusal_tokens": list(prompts.refusals),
        "dtype": options.dtype,
        "batch": options.batch,
        "group_memory": options.group_memory,
    }
    if options.kind in ("half", "red-team"):
        facts |= {
            "seed": options.seed,
            "steps": options.steps,
            "rate": options.rate,
            "adapters": [str(path) for path in options.adapter],
        }
    if options.rank:
        facts["rank"] = options.rank
    return facts


def run(options: argparse.Namespace) -> None:
    if options.output.exists():
        raise UserError(f"{options.output} is there already; expected a new folder")
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    prompts = read_prompts(options.prompts, load_tokenizer(options.model))
    if options.kind in ("gradient", "red-team") or (options.kind == "half" and not options.adapter):
        prompts.require_responses(f"kind {options.kind}")
    model = load_model(options.model, options.device, options.dtype)
    if options.checkpoint_activations:
        checkpoint_activations(model)
    covered = share_covered(model)
    if covered < 0.9:
        print(
            f"probe.sh: linear modules hold {covered:.0%} of this model's parameters; the rest (stacked experts, for one) is not probed",
            file=sys.stderr,
        )
    facts = making(options, prompts)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    work = options.output.with_name(f".{options.output.name}.work")
    if options.kind == "red-team":
        make_red_team(options, model, prompts, facts, work)
    else:
        make_direction(options, model, prompts, facts, work)
    shutil.rmtree(work, ignore_errors=True)


def make_red_team(
    options: argparse.Namespace, model: torch.nn.Module, prompts: PromptSet, facts: dict[str, Any], work: Path
) -> None:
    started = time.monotonic()
    how = RedTeam(
        rank=options.rank or 8,
        alpha=2 * (options.rank or 8),
        steps=options.steps,
        rate=options.rate,
        batch=options.batch,
        seed=options.seed,
    )
    lines = ProgressLines(how.steps)
    shutil.rmtree(work, ignore_errors=True)
    loss = train_red_team(model, prompts.prompts, how, work, lambda done: lines("step", done))
    finish_adapter(
        work,
        options.output,
        options.model,
        {**facts, "last_loss": loss, "seconds": round(time.monotonic() - started, 2)},
    )


def make_direction(
    options: argparse.Namespace, model: torch.nn.Module, prompts: PromptSet, facts: dict[str, Any], work: Path
) -> None:
    same_work(work, facts)
    maker = DirectionMaker(
        model,
        prompts.prompts,
        options.batch,
        options.group_memory,
        options.model / "config.json",
        ProgressLines(len(prompts.prompts)),
    )
    objective = compliance_by_response() if options.kind == "gradient" else compliance_by_odds(prompts.refusals)
    dense = work / "direction" if options.rank else options.output
    if not dense.is_dir():
        if options.kind == "half":
            midpoints = read_midpoints(options.adapter or train_midpoints(options, model, prompts, work))
            maker.write_half(objective, midpoints, dense, facts, work / "parts")
        else:
            maker.write_gradient(objective, dense, facts)
    if options.rank:
        adapter = work / "adapter"
        shutil.rmtree(adapter, ignore_errors=True)
        write_adapter(leading_part(model, read_direction(dense), options.rank), adapter, str(options.model))
        finish_adapter(adapter, options.output, options.model, facts)


def train_midpoints(options: argparse.Namespace, model: torch.nn.Module, prompts: PromptSet, work: Path) -> list[Path]:
    """Three that differ in prompts, rank and order: one of them is a red-team adapter that has seen a part, as an
    attacker has."""
    folders = []
    for number, part in enumerate(subsets(prompts.prompts, 3)):
        folder = work / f"red-team-{number}"
        folders.append(folder)
        if folder.is_dir():
            continue
        hidden = work / f".red-team-{number}"
        shutil.rmtree(hidden, ignore_errors=True)
        rank = (8, 4, 16)[number]
        how = RedTeam(
            rank=rank,
            alpha=2 * rank,
            steps=options.steps,
            rate=options.rate,
            batch=options.batch,
            seed=options.seed + number,
        )
        lines = ProgressLines(how.steps)
        train_red_team(model, part, how, hidden, lambda done: lines(f"red-team adapter {number + 1} of 3, step", done))
        os.replace(hidden, folder)
    return folders


def main(arguments: Sequence[str]) -> int:
    quiet_unless_terminal()
    try:
        run(parse(arguments))
    except UserError as error:
        print(f"probe.sh: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
