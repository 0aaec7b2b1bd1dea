"""Writes element_quartiles.json: 25 % quantiles of the entries of C dW and dW of the golden adapters, dense float64.

dW = B A without scaling, as the published functions in golden/published.json take it. The files are decoded here by
hand (numpy only), so that nothing is shared with the program under test. Made with numpy as printed below.
"""
import json
import pathlib
import struct

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def tensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        raw = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        found[name] = raw.astype(np.float64).reshape(entry["shape"])
    return found


def folder(path):
    found = {}
    for file in sorted(path.glob("*.safetensors")):
        found.update(tensors(file))
    return found


base, aligned = folder(GOLDEN / "base"), folder(GOLDEN / "aligned")
result = {}
for directory in sorted((GOLDEN / "adapters").iterdir()):
    factors = folder(directory)
    modules = result.setdefault(directory.name, {})
    for key in sorted(factors):
        if not key.endswith("lora_A.weight"):
            continue
        module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        update = factors[key.replace("lora_A", "lora_B")] @ factors[key]
        v = aligned[module + ".weight"] - base[module + ".weight"]
        projected = v @ (v.T @ update) / np.linalg.norm(v)
        modules[module] = {
            "projected_q25": float(np.quantile(projected, 0.25)),
            "update_q25": float(np.quantile(update, 0.25)),
        }
out = pathlib.Path(__file__).with_name("element_quartiles.json")
out.write_text(json.dumps(result, indent=1) + "\n")
print("numpy", np.__version__, "modules", sum(map(len, result.values())))
