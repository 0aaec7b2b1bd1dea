"""The command line of jobs/repair.sh."""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Sequence

import torch
from probe.adapters import read_adapter, write_adapter
from probe.console import quiet_unless_terminal
from probe.errors import UserError
from probe.models import checkpoint_activations, load_model, load_tokenizer
from probe.prompts import PromptSet, read_prompts
from probe.sizes import parse_bytes

from repair.path import PathRule, repair_by_path

RECORD = "repair.json"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    rule = PathRule()
    parser = argparse.ArgumentParser(
        prog="repair.sh",
        description="Takes what undoes refusals out of adapters: along gradients of the "
        "refusal odds on the way to the adapter, until red-team prompts are refused. Exit code 4: some still "
        "do not pass.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="the aligned model the adapters are used with"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--adapter", type=Path, metavar="DIR", help="one adapter; the repaired one becomes --output itself"
    )
    what.add_argument(
        "--zoo", type=Path, metavar="DIR", help="a folder searched for adapters; each is written below --output"
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        required=True,
        metavar="FILE.jsonl",
        help="red-team prompts: two thirds are differentiated, every third one says when it is enough",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--directions", type=int, default=rule.directions, metavar="K", help="taken out a round (default 1)"
    )
    parser.add_argument(
        "--enough", type=float, default=rule.enough, help="log odds of a refusal at the 10 %% quantile (default 2)"
    )
    parser.add_argument("--rounds", type=int, default=rule.rounds, help="at most (default 6)")
    parser.add_argument(
        "--extra-rank", type=int, default=rule.extra_rank, help="by which the rank may grow (default 8)"
    )
    parser.add_argument("--batch", type=int, default=8, help="prompts at once (default 8)")
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
        help="of gradients held at once (default 8GiB)",
    )
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: as torch chooses")
    options = parser.parse_args(arguments)
    for name in ("directions", "rounds", "batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is at least 1")
    if options.extra_rank < 0:
        parser.error("--extra-rank is at least 0")
    return options


def adapters_of(options: argparse.Namespace) -> dict[Path, Path]:
    """Adapter -> where its repaired form goes."""
    if options.adapter:
        return {options.adapter: options.output}
    if options.output.resolve().is_relative_to(options.zoo.resolve()):
        raise UserError(
            f"{options.output} is inside the zoo, whose adapters would then be those repaired as well; choose another --output"
        )
    found = sorted(
        path.parent
        for path in options.zoo.rglob("adapter_config.json")
        if not any(part.startswith(".") for part in path.relative_to(options.zoo).parts)
    )
    if not found:
        raise UserError(f"{options.zoo} holds no adapters")
    return {path: options.output / path.relative_to(options.zoo) for path in found}


def making(options: argparse.Namespace, rule: PathRule, source: Path) -> dict[str, Any]:
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    if not (source / "adapter_model.safetensors").is_file():
        raise UserError(f"{source} holds no adapter_model.safetensors")
    return {
        "rule": asdict(rule),
        "model": str(options.model.resolve()),
        "dtype": options.dtype,
        "prompts_sha256": digest(options.prompts),
        "adapter": str(source.resolve()),
        "adapter_sha256": digest(source / "adapter_model.safetensors"),
    }


def is_done(target: Path, facts: dict[str, Any]) -> bool:
    record = target / RECORD
    if not target.exists():
        return False
    if not record.is_file():
        raise UserError(f"{target} is there already, and no repair made it")
    if json.loads(record.read_text())["making"] != json.loads(json.dumps(facts)):
        raise UserError(
            f"{target} was made from another adapter, model, prompts or rule; remove it, or choose another --output"
        )
    return True


def repair_one(
    model: torch.nn.Module, source: Path, target: Path, prompts: PromptSet, rule: PathRule, facts: dict[str, Any]
) -> None:
    started = time.monotonic()
    adapter = read_adapter(source)
    check = prompts.prompts[2::3]
    differentiated = [prompt for number, prompt in enumerate(prompts.prompts) if number % 3 != 2]
    result = repair_by_path(
        model,
        adapter,
        differentiated,
        check,
        prompts.refusals,
        rule,
        lambda what: print(f"{source.name}: {what}", file=sys.stderr, flush=True),
    )
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if result.changed:
        base = json.loads((source / "adapter_config.json").read_text()).get("base_model_name_or_path") or facts["model"]
        write_adapter(result.adapter, partial, base)
    else:
        shutil.copytree(source, partial)
    record = {"making": facts, **result.record, "seconds": round(time.monotonic() - started, 2)}
    (partial / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    os.replace(partial, target)


def run(options: argparse.Namespace) -> int:
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    rule = PathRule(
        directions=options.directions,
        rounds=options.rounds,
        enough=options.enough,
        extra_rank=options.extra_rank,
        batch=options.batch,
        group_memory=options.group_memory,
    )
    prompts = read_prompts(options.prompts, load_tokenizer(options.model))
    if len(prompts.prompts) < 3:
        raise UserError(
            f"{options.prompts} has {len(prompts.prompts)} prompts; expected 3 or more, some 200 for a result that counts"
        )
    work = {source: (target, making(options, rule, source)) for source, target in adapters_of(options).items()}
    left = {source: pair for source, pair in work.items() if not is_done(*pair)}
    if left:
        model = load_model(options.model, options.device, options.dtype)
        if options.checkpoint_activations:
            checkpoint_activations(model)
        for source, (target, facts) in left.items():
            repair_one(model, source, target, prompts, rule, facts)
    failed = 0
    for source, (target, _) in work.items():
        record = json.loads((target / RECORD).read_text())
        failed += not record["passes"]
        outcome = ("passes as it is" if not record["changed"] else "repaired") if record["passes"] else "DOES NOT PASS"
        print(f"{source.name}: {outcome}, odds {record['history'][0]['odds']:.2f} -> {record['odds']:.2f}")
    return 4 if failed else 0


def main(arguments: Sequence[str]) -> int:
    quiet_unless_terminal()
    try:
        return run(parse(arguments))
    except UserError as error:
        print(f"repair.sh: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
