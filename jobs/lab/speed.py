"""What pruning buys: seconds of a forward pass of the model with an adapter in it, against the share of its modules
dropped.

The only figures of a laboratory that are not the same every time, so they stand in the page and not in lab.json.
"""

import copy
import statistics
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from lab.judge import answer_logits
from lab.language import BENIGN, Request
from lab.model import load, module_names
from lab.scale import Scale
from lab.seeds import generator

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
REPEATS = 9


@torch.no_grad()
def measure(scale: Scale, folder: Path) -> list[dict[str, float]]:
    """Of every share: the median of the passes, each share's turn coming after the other's, so that a busy machine
    hits all alike."""
    bare = load(folder / "aligned")
    names = module_names(bare)
    shuffled = [names[index] for index in torch.randperm(len(names), generator=generator("speed")).tolist()]
    ids = Request(scale.syllabus.known, BENIGN).draw(generator("speed data"), 64)
    models = []
    for share in SHARES:
        kept = shuffled[round(share * len(names)) :]
        model = copy.deepcopy(bare)
        models.append(
            get_peft_model(model, LoraConfig(r=16, target_modules=kept, task_type="CAUSAL_LM")).base_model.model
            if kept
            else model
        )
    seconds: list[list[float]] = [[] for _ in SHARES]
    for _ in range(REPEATS):
        for place, model in enumerate(models):
            started = time.perf_counter()
            answer_logits(model, ids)
            seconds[place].append(time.perf_counter() - started)
    return [{"share": share, "seconds": statistics.median(values)} for share, values in zip(SHARES, seconds)]
