#!/usr/bin/env python3
"""The audit as a careful PyTorch user would write it: the same low-rank products and statistics as winnow, one module at
a time, all threads. The yardstick of the warm audit in jobs/bench.sh.

    torch_low_rank.py --base DIR --aligned DIR --adapter DIR [--difference plain|in-place] [--subspace-rank 6] [--seed 0]

--difference plain is what one writes, aligned.float() - base.float(); in-place keeps one float32 matrix for all modules,
which is several times faster, because fresh matrices of this size cost more than the arithmetic.
Prints JSON: seconds after the imports, and per module distance, cosine and so on. Plain LoRA and rsLoRA, no patterns.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors import safe_open


class Checkpoint:
    """Tensors by name; a shard is mapped when it is first needed."""

    def __init__(self, directory):
        self.directory = Path(directory)
        index = self.directory / "model.safetensors.index.json"
        self.weight_map = json.loads(index.read_text())["weight_map"] if index.exists() else None
        self.shards = {}

    def __getitem__(self, name):
        shard = self.weight_map[name] if self.weight_map else "model.safetensors"
        if shard not in self.shards:
            self.shards[shard] = safe_open(self.directory / shard, framework="pt")
        return self.shards[shard].get_tensor(name)


class Adapter:
    def __init__(self, directory):
        config = json.loads((Path(directory) / "adapter_config.json").read_text())
        if config.get("rank_pattern") or config.get("alpha_pattern"):
            sys.exit("torch_low_rank.py: adapters with patterns are not supported")
        rank, alpha = config["r"], config["lora_alpha"]
        self.scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        self.factors = safe_open(Path(directory) / "adapter_model.safetensors", framework="pt")
        self.keys = [key.removesuffix(".lora_A.weight") for key in self.factors.keys() if key.endswith(".lora_A.weight")]

    def load(self, key):
        return (self.factors.get_tensor(key + ".lora_A.weight").float(),
                self.factors.get_tensor(key + ".lora_B.weight").float())


def plain_difference(aligned, base):
    return aligned.float() - base.float()


class InPlaceDifference:
    """V in float32, in memory that is kept from module to module."""

    def __init__(self):
        self.room = torch.empty(0)

    def __call__(self, aligned, base):
        if self.room.numel() < aligned.numel():
            self.room = torch.empty(aligned.numel())
        v = self.room[:aligned.numel()].view(aligned.shape)
        return v.copy_(aligned).sub_(base)


def subspace_energy(z, m, b, gram, update_norm, k):
    """Share of the update in the k leading left singular directions of V, from Z = V^T Omega and M = V Z (Nystroem)."""
    z, m, b = z.double(), m.double(), b.double()
    kernel = z.T @ z
    kernel += torch.eye(kernel.shape[0]) * (1e-7 * kernel.trace() / kernel.shape[0])
    inverse = torch.linalg.inv(torch.linalg.cholesky(kernel))
    values, vectors = torch.linalg.eigh(inverse @ (m.T @ m) @ inverse.T)
    values, vectors = values[-k:], vectors[:, -k:]
    kept = values > 1e-6 * values[-1]
    coordinates = (vectors[:, kept] / values[kept].sqrt()).T @ inverse @ (m.T @ b)
    return math.sqrt(max(0.0, (gram * (coordinates.T @ coordinates)).sum().item())) / update_norm


def statistics(v, a, b, scale, subspace_rank):
    rank = b.shape[1]
    columns = b
    if subspace_rank:
        columns = torch.cat([b, torch.randn(b.shape[0], 3 * subspace_rank + 6)], dim=1)
    y = v.T @ columns
    # Row by row: over all 2.3e8 elements at once the float32 sum is 3 % short (torch 2.x on CPUs).
    f = torch.linalg.vector_norm(torch.linalg.vector_norm(v, dim=1).double()).item()
    products = v @ y
    p = products[:, :rank] / f
    d = p - b

    gram = scale * scale * (a.double() @ a.double().T)
    norm = lambda block: math.sqrt(max(0.0, (gram * (block.T @ block)).sum().item()))
    update_norm, projected_norm, distance = norm(b.double()), norm(p.double()), norm(d.double())
    inner = (gram * (p.double().T @ b.double())).sum().item()
    signed = scale * (y[:, :rank].double() * a.double().T).sum().item()
    result = {
        "update_norm": update_norm,
        "projected_norm": projected_norm,
        "distance": distance,
        "rms_distance": distance / math.sqrt(v.numel()),
        "cosine": inner / (projected_norm * update_norm),
        "alignment_cosine": signed / (f * update_norm),
        "alignment_removed": -signed / (f * f),
    }
    if subspace_rank:
        result["subspace_energy"] = subspace_energy(y[:, rank:], products[:, rank:], b, gram, update_norm, subspace_rank)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "aligned", "adapter"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--difference", choices=("plain", "in-place"), default="plain")
    parser.add_argument("--subspace-rank", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    started = time.perf_counter()
    torch.manual_seed(options.seed)
    base, aligned, adapter = Checkpoint(options.base), Checkpoint(options.aligned), Adapter(options.adapter)
    weights = {key: key.removeprefix("base_model.model.") + ".weight" for key in adapter.keys}
    difference = plain_difference if options.difference == "plain" else InPlaceDifference()
    modules = {}
    with torch.inference_mode():
        for key, weight in weights.items():
            v = difference(aligned[weight], base[weight])
            modules[weight.removesuffix(".weight")] = statistics(v, *adapter.load(key), adapter.scale,
                                                                 options.subspace_rank)
    print(json.dumps({"seconds": time.perf_counter() - started, "torch": torch.__version__,
                      "threads": torch.get_num_threads(), "modules": modules}))


if __name__ == "__main__":
    main()
