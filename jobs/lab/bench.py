"""One aligned model whose weights are set to W + ΔW and back: where updates are judged."""

from pathlib import Path
from typing import Mapping

import torch
from probe.adapters import Adapter, read_adapter
from torch import Tensor

from lab import model as models
from lab.evaluation import Evaluation

Update = dict[str, Tensor]  # module -> ΔW, dense: the models are small


def dense(adapter: Adapter) -> Update:
    return {name: factors.dense() for name, factors in adapter.items()}


class Bench:
    def __init__(self, folder: Path) -> None:
        """`folder`: of one seed, with the stages base, aligned and zoo."""
        self.folder = folder
        self.model = models.load(folder / "aligned")
        self.names = models.module_names(self.model)
        self.aligned = models.weights(self.model)
        self.alignment = {
            name: self.aligned[name] - weight for name, weight in models.weights(models.load(folder / "base")).items()
        }

    def adapter(self, name: str) -> Adapter:
        return read_adapter(self.folder / "zoo" / name)

    def set(self, update: Mapping[str, Tensor]) -> None:
        for name in self.names:
            weight = self.aligned[name] + update[name] if name in update else self.aligned[name]
            self.model.get_submodule(name).weight.data = weight.to(torch.float32)

    def evaluate(self, update: Mapping[str, Tensor], evaluation: Evaluation) -> dict[str, float]:
        self.set(update)
        facts = evaluation(self.model)
        self.set({})
        return facts
