"""A family with fused experts (PEFT's target_parameters), a few kilobytes: what `winnow synth` does not make. Python's own
library alone, so that the tests that disturb need no other."""

import json
import random
import struct

LAYERS, EXPERTS, HIDDEN, WIDTH, RANK = 2, 3, 24, 16, 2


def bf16(values):
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def write_tensors(path, tensors):
    """`tensors`: shape and bytes by name. https://huggingface.co/docs/safetensors: length, header, data."""
    header, offset = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def tensor(source, spread, *shape):
    count = 1
    for size in shape:
        count *= size
    return list(shape), bf16(source.gauss(0, spread) for _ in range(count))


def write_checkpoint(directory, source):
    """Blocks as Qwen 3's mixture of experts holds them in memory, [experts, outputs, inputs]: gate above up, and down."""
    directory.mkdir(parents=True)
    tensors = {}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        tensors[f"{at}.self_attn.o_proj.weight"] = tensor(source, 0.1, HIDDEN, HIDDEN)
        tensors[f"{at}.mlp.experts.gate_up_proj"] = tensor(source, 0.1, EXPERTS, 2 * WIDTH, HIDDEN)
        tensors[f"{at}.mlp.experts.down_proj"] = tensor(source, 0.1, EXPERTS, HIDDEN, WIDTH)
    write_tensors(directory / "model.safetensors", tensors)
    (directory / "config.json").write_text(json.dumps(
        {"model_type": "qwen3_moe", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_experts": EXPERTS}))


def write_adapter(directory, source):
    """As PEFT writes them: lora_A of all experts one below the other, lora_B side by side; the parameter that is wrapped
    last is below base_layer."""
    directory.mkdir(parents=True)
    tensors = {}
    for layer in range(LAYERS):
        at = f"base_model.model.model.layers.{layer}"
        for place, outputs, inputs in (("mlp.experts.base_layer", 2 * WIDTH, HIDDEN), ("mlp.experts", HIDDEN, WIDTH)):
            tensors[f"{at}.{place}.lora_A.weight"] = tensor(source, 0.1, EXPERTS * RANK, inputs)
            tensors[f"{at}.{place}.lora_B.weight"] = tensor(source, 0.1, outputs, EXPERTS * RANK)
        tensors[f"{at}.self_attn.o_proj.lora_A.weight"] = tensor(source, 0.1, RANK, HIDDEN)
        tensors[f"{at}.self_attn.o_proj.lora_B.weight"] = tensor(source, 0.1, HIDDEN, RANK)
    write_tensors(directory / "adapter_model.safetensors", tensors)
    (directory / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, "target_modules": ["o_proj"],
         "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}))


def write_family(root, adapters=3):
    source = random.Random(1)
    for checkpoint in ("base", "aligned"):
        write_checkpoint(root / checkpoint, source)
    for number in range(adapters):
        write_adapter(root / "adapters" / f"adapter-00{number}", source)
    write_adapter(root / "probe", source)
