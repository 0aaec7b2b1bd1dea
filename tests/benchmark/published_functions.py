#!/usr/bin/env python3
"""Times the functions published with SPLoRA (arXiv 2506.18931), from a checkout that the user gives, on one module.

    published_functions.py --published DIR --base DIR --aligned DIR --adapter DIR --module NAME

Called are SPLoRA.get_aligned_matrix (the o x o projection) and SPLoRA.projected_weighted (products and both E-DIEM scores)
of splora.py, unchanged. They take whole models; here they get objects that hold the one module, in float32 and already in
memory. Packages that splora.py imports and these functions do not use are replaced by empty ones where not installed.
Prints JSON: seconds of either, after all imports and loading, and the score.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import sys
import time
import types
from pathlib import Path

import torch
from safetensors import safe_open

from checkpoints import read_checkpoint

UNUSED = {"sklearn.decomposition": ("FastICA",), "sklearn.preprocessing": ("normalize",),
          "transformers": ("AutoModelForCausalLM",)}


class OneModule:
    """Stands for a model: what the functions ask of one."""

    def __init__(self, parameters, peft_config=None):
        self.parameters = parameters
        self.peft_config = {"default": peft_config}

    def named_parameters(self):
        return iter(self.parameters)


def import_published(directory):
    """splora.py of the checkout, which imports its neighbour similarity.py relatively."""
    if not (Path(directory) / "splora.py").exists():
        sys.exit(f"published_functions.py: {directory}: no splora.py; expected a checkout of SPLoRA's published code")
    missing = [name for name in UNUSED if importlib.util.find_spec(name.split(".")[0]) is None]
    for name in missing:
        for part in (name.split(".")[0], name):
            sys.modules.setdefault(part, types.ModuleType(part))
        for member in UNUSED[name]:
            setattr(sys.modules[name], member, None)
    package = types.ModuleType("published")
    package.__path__ = [str(directory)]
    sys.modules["published"] = package
    return importlib.import_module("published.splora")


def load(directory, name):
    with safe_open(read_checkpoint(directory)[name].path, framework="pt") as file:
        return file.get_tensor(name).float()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("published", "base", "aligned", "adapter", "module"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    splora = import_published(options.published)

    weight, lora = options.module + ".weight", "base_model.model." + options.module + ".lora_"
    models = {side: OneModule([(weight, load(getattr(options, side), weight))]) for side in ("base", "aligned")}
    factors = [(lora + key, load(options.adapter, lora + key)) for key in ("A.weight", "B.weight")]
    peft_config = types.SimpleNamespace(r=factors[0][1].shape[0], target_modules=[options.module.split(".")[-1]])
    splora.AutoModelForCausalLM = types.SimpleNamespace(from_pretrained=lambda path, **_: models[path])

    method = splora.SPLoRA.__new__(splora.SPLoRA)  # its constructor would do all steps, and copy the model first
    method.config = types.SimpleNamespace(base_model_path="base", aligned_model_path="aligned", devices="cpu")
    method.peft_config = peft_config
    method.peft_model, method.model_ori = OneModule(factors, peft_config), OneModule(list(factors), peft_config)
    with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
        started = time.perf_counter()
        projection = method.get_aligned_matrix()
        projected = time.perf_counter()
        _, scores = method.projected_weighted(projection, float("-inf"))
        finished = time.perf_counter()
    print(json.dumps({"seconds": finished - started, "projection": projected - started, "scores": finished - projected,
                      "shape": list(models["base"].parameters[0][1].shape), "rank": peft_config.r, "score": scores[0],
                      "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
