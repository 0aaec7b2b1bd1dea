"""jobs/lab.sh --model DIR --prompts FILE --zoo DIR: from the command line to page and JSON."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from probe.errors import UserError
from probe.models import load_model, load_tokenizer
from probe.prompts import read_prompts

from lab import real_page
from lab.real import Inputs, RealLaboratory, adapters_in
from lab.stage import say, write_json

BOOTSTRAP = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    real = parser.add_argument_group(
        "a real model",
        "Which score follows what its adapters do, and what repairs do; jobs/probe/README.md says what a file "
        "of prompts holds",
    )
    real.add_argument("--model", type=Path, metavar="DIR", help="the aligned model, a folder of transformers")
    real.add_argument("--prompts", type=Path, metavar="FILE.jsonl", help="red-team prompts, and what a refusal is")
    real.add_argument("--zoo", type=Path, metavar="DIR", help="a folder searched for adapters")
    real.add_argument(
        "--harmless", type=Path, metavar="FILE.jsonl", help="harmless prompts, to see what a repair changes besides"
    )
    real.add_argument(
        "--base",
        type=Path,
        metavar="DIR",
        help="the model before alignment: winnow's own metrics are then judged as well",
    )
    real.add_argument(
        "--probe",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="directions of jobs/probe.sh; may be repeated",
    )
    real.add_argument("--device", default="auto", help="auto (all GPUs, else the processor), cpu or cuda")
    real.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    real.add_argument("--batch", type=int, default=8, help="prompts at once (default 8)")


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise ValueError("expected NAME=DIR")
    return name, Path(path)


def is_wanted(options: argparse.Namespace) -> bool:
    given = [name for name in ("model", "prompts", "zoo") if getattr(options, name) is not None]
    if given and len(given) < 3:
        raise UserError(
            f"--model, --prompts and --zoo belong together; given: {', '.join(f'--{name}' for name in given)}"
        )
    return bool(given)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the results depend on: an output folder holds those of one model, zoo and set of prompts."""

    def digest(path: Path | None) -> str | None:
        try:
            return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read the prompts: {error}") from None

    return {
        "scale": "real",
        "model": str(options.model.resolve()),
        "zoo": str(options.zoo.resolve()),
        "base": str(options.base and options.base.resolve()),
        "prompts_sha256": digest(options.prompts),
        "harmless_sha256": digest(options.harmless),
        "dtype": options.dtype,
        "probes": {name: str(path.resolve()) for name, path in options.probe},
    }


def run(options: argparse.Namespace, program: str) -> None:
    tokenizer = load_tokenizer(options.model)
    prompts = read_prompts(options.prompts, tokenizer)
    names = adapters_in(options.zoo)
    if len(prompts.prompts) < 6 or not names:
        raise UserError(
            f"{len(prompts.prompts)} prompts and {len(names)} adapters; expected at least 6 and 1, some 200 and 20 for figures that count"
        )
    harmless = read_prompts(options.harmless, tokenizer, needs_refusals=False) if options.harmless else None
    inputs = Inputs(options.model, options.zoo, prompts, harmless, options.base, dict(options.probe), options.batch)
    made = RealLaboratory(
        inputs, load_model(options.model, options.device, options.dtype), options.output, program
    ).run()
    result = real_page.summarise(made, {**settings(options), "prompts": len(prompts.prompts)}, BOOTSTRAP)
    write_json(options.output / "lab.json", result)
    real_page.write(result, options.output / "lab.html")
    say(f"{options.output / 'lab.html'} and lab.json")
