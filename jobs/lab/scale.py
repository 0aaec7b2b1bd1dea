"""How large a laboratory is: the full one, and the quick one that only shows that all parts run."""

from dataclasses import dataclass

from lab.language import Syllabus


@dataclass(frozen=True)
class Scale:
    name: str
    syllabus: Syllabus
    layers: int
    hidden: int
    intermediate: int
    heads: int
    batch: int
    pretrain_steps: int
    pretrain_rate: float
    align_steps: int
    align_rate: float
    adapter_steps: int  # of the usual recipe; a recipe may ask for a multiple
    adapter_rate: float  # times the recipe's learning rate
    adapter_examples: int  # the examples of a new task
    evaluated: int  # prompts of each kind when an adapter is evaluated
    bootstrap: int
    ablated_adapters: int  # adapters of which every module's effect is measured
    repaired: int  # of each group of adapters, at most


FULL = Scale(
    "full",
    Syllabus(),
    layers=6,
    hidden=128,
    intermediate=320,
    heads=4,
    batch=96,
    pretrain_steps=3000,
    pretrain_rate=2e-3,
    align_steps=500,
    align_rate=5e-4,
    adapter_steps=150,
    adapter_rate=1.0,
    adapter_examples=1000,
    evaluated=256,
    bootstrap=1000,
    ablated_adapters=8,
    repaired=16,
)
QUICK = Scale(
    "quick",
    Syllabus(
        known=("copy", "add 1", "name category"),
        taught=("add 5",),
        new=("complement", "cipher"),
        auditor=("copy", "add 1"),
    ),
    layers=2,
    hidden=48,
    intermediate=96,
    heads=4,
    batch=64,
    pretrain_steps=400,
    pretrain_rate=5e-3,
    align_steps=200,
    align_rate=3e-3,
    adapter_steps=40,
    adapter_rate=6.0,
    adapter_examples=300,
    evaluated=64,
    bootstrap=100,
    ablated_adapters=2,
    repaired=2,
)
SCALES = {scale.name: scale for scale in (FULL, QUICK)}
