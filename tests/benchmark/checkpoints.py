"""Checkpoints as byte ranges, and cheap variants of a synthetic family. Standard library only."""

import json
import os
import re
import struct
from collections import namedtuple
from pathlib import Path

MAX_HEADER = 100_000_000  # bytes; safetensors' own limit

Tensor = namedtuple("Tensor", "name dtype shape path offset bytes")


def read_header(path):
    """The tensors of one safetensors file, in file order."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        if size > MAX_HEADER:
            raise ValueError(f"{path}: not a safetensors file")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    tensors = [Tensor(name, info["dtype"], tuple(info["shape"]), str(path), 8 + size + info["data_offsets"][0],
                      info["data_offsets"][1] - info["data_offsets"][0]) for name, info in header.items()]
    return sorted(tensors, key=lambda tensor: tensor.offset)


def read_checkpoint(directory):
    """{tensor name: Tensor} of all shards."""
    paths = sorted(Path(directory).glob("*.safetensors"))
    return {tensor.name: tensor for path in paths for tensor in read_header(path)}


def adapter_modules(adapter):
    """Modules that a PEFT adapter updates, in layer order: the names of lora_A tensors without prefix and suffix."""
    pattern = re.compile(r"^base_model\.model\.(.*)\.lora_A\.weight$")
    found = [match[1] for tensor in read_header(Path(adapter) / "adapter_model.safetensors")
             if (match := pattern.match(tensor.name))]
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else -1 for part in name.split(".")])


def module_pairs(family, adapter):
    """(base, aligned) tensors of every module of an adapter: what an audit reads, in layer order."""
    base, aligned = read_checkpoint(family / "base"), read_checkpoint(family / "aligned")
    return [(base[name + ".weight"], aligned[name + ".weight"]) for name in adapter_modules(adapter)]


def ranges_of(pairs):
    """(path, offset, bytes) of the pairs, one module after the other."""
    return [(tensor.path, tensor.offset, tensor.bytes) for pair in pairs for tensor in pair]


def _write_safetensors(path, entries, write_data):
    """`entries`: (name, dtype, shape, bytes). write_data(file, index) appends one tensor; None leaves holes."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, size in entries:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for index in range(len(entries) if write_data else 0):
            write_data(file, index)
        file.truncate(8 + len(text) + at)


def _copy(file, tensor):
    with open(tensor.path, "rb") as source:
        source.seek(tensor.offset)
        file.write(source.read(tensor.bytes))


def cut_adapter(adapter, modules, output):
    """An adapter with some of another's modules."""
    output.mkdir(parents=True, exist_ok=True)
    kept = [tensor for tensor in read_header(adapter / "adapter_model.safetensors")
            if any(f".{module}.lora_" in tensor.name for module in modules)]
    _write_safetensors(output / "adapter_model.safetensors",
                       [(tensor.name, tensor.dtype, tensor.shape, tensor.bytes) for tensor in kept],
                       lambda file, index: _copy(file, kept[index]))
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["target_modules"] = sorted({module.split(".")[-1] for module in modules})
    (output / "adapter_config.json").write_text(json.dumps(config))


def deepen(family, layers, adapters, output):
    """The family's shapes with more layers, for measuring memory: the weights are holes, all zero but for one, and take no
    space on disk; `adapters` adapters share one file, whose tensors are those of the family's first adapter, repeated, each
    with a scale of its own: else they would be one adapter."""
    for side in ("base", "aligned"):
        tensors = read_checkpoint(family / side).values()
        first_layer = [tensor for tensor in tensors if ".layers.0." in tensor.name]
        (output / side).mkdir(parents=True, exist_ok=True)
        _write_safetensors(output / side / "model.safetensors",
                           [(tensor.name.replace(".layers.0.", f".layers.{layer}."), tensor.dtype, tensor.shape,
                             tensor.bytes) for layer in range(layers) for tensor in first_layer], None)
        if side == "aligned":  # two models that do not differ are refused
            with open(output / side / "model.safetensors", "r+b") as file:
                file.seek(8 + struct.unpack("<Q", file.read(8))[0])
                file.write(struct.pack("<H", 0x3F80))
        config = json.loads((family / side / "config.json").read_text())
        config["num_hidden_layers"] = layers
        (output / side / "config.json").write_text(json.dumps(config))

    source = sorted((family / "adapters").iterdir())[0]
    tensors = [tensor for tensor in read_header(source / "adapter_model.safetensors") if ".layers.0." in tensor.name]
    entries = [(tensor.name.replace(".layers.0.", f".layers.{layer}."), tensor.dtype, tensor.shape, tensor.bytes)
               for layer in range(layers) for tensor in tensors]
    first = output / "adapters" / "adapter-000"
    first.mkdir(parents=True, exist_ok=True)
    _write_safetensors(first / "adapter_model.safetensors", entries,
                       lambda file, index: _copy(file, tensors[index % len(tensors)]))
    (first / "adapter_config.json").write_text((source / "adapter_config.json").read_text())
    for number in range(1, adapters):
        directory = output / "adapters" / f"adapter-{number:03}"
        directory.mkdir(exist_ok=True)
        link = directory / "adapter_model.safetensors"
        if not link.is_symlink():
            os.symlink(Path("..") / "adapter-000" / link.name, link)
        config = json.loads((source / "adapter_config.json").read_text())
        config["lora_alpha"] += number
        (directory / "adapter_config.json").write_text(json.dumps(config))
