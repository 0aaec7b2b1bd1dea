"""A direction on disk: a folder of the shape of a checkpoint, its tensors named like the weights, a shard for each
group.

Shards that are there whole are not made again, so a run that was interrupted goes on. The folder gets its name at the
end."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Iterator

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from probe.errors import UserError
from probe.files import save_tensors
from probe.gradients import Direction

MAKING = "probe.json"


class DirectionWriter:
    """Writes to a hidden sibling of `folder`. `making` says how the direction is made; a part of another making is
    thrown away."""

    def __init__(self, folder: Path, making: dict[str, Any], group_count: int, model_config: Path | None) -> None:
        if folder.exists():
            raise UserError(f"{folder} is there already")
        self.folder, self.group_count, self.making = folder, group_count, making
        self.partial = folder.with_name(f".{folder.name}.partial")
        note = self.partial / MAKING
        wanted = json.dumps(making, indent=1, sort_keys=True) + "\n"
        if not note.is_file() or note.read_text() != wanted:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            note.write_text(wanted)
        if model_config is not None and model_config.is_file():
            shutil.copyfile(model_config, self.partial / "config.json")

    def shard(self, group: int) -> Path:
        name = (
            "model.safetensors"
            if self.group_count == 1
            else f"model-{group + 1:05}-of-{self.group_count:05}.safetensors"
        )
        return self.partial / name

    def write(self, group: int, make: Callable[[], Direction]) -> None:
        """Makes and writes a group, unless it is there."""
        path = self.shard(group)
        if path.is_file():
            return
        tensors = {f"{name}.weight": tensor.float().cpu().contiguous() for name, tensor in make().items()}
        save_tensors(tensors, path)

    def finish(self, facts: dict[str, Any]) -> None:
        if self.group_count > 1:
            places: dict[str, str] = {}
            for group in range(self.group_count):
                with safe_open(self.shard(group), "pt") as file:
                    places |= dict.fromkeys(file.keys(), self.shard(group).name)
            size = sum(self.shard(group).stat().st_size for group in range(self.group_count))
            index = {"metadata": {"total_size": size}, "weight_map": places}
            (self.partial / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        (self.partial / MAKING).write_text(json.dumps({**self.making, **facts}, indent=1, sort_keys=True) + "\n")
        os.replace(self.partial, self.folder)


def shards(folder: Path) -> Iterator[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        yield from (folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values())))
    else:
        yield folder / "model.safetensors"


def read_shard(path: Path) -> Direction:
    return {name.removesuffix(".weight"): tensor for name, tensor in load_file(path).items()}


def read_direction(folder: Path) -> Direction:
    direction: dict[str, Tensor] = {}
    for path in shards(folder):
        direction |= read_shard(path)
    return direction
