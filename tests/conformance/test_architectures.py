"""Adapters on every architecture of architectures.py, as released transformers and PEFT write them: each update of a matrix is
judged, to the numbers that follow from PEFT's own merged weights, and what is not such an update is counted and named.

Some architectures by default, all of them with WINNOW_ARCHITECTURES=all."""

import json
import math
import os
import re
import unittest
import warnings

import peft_reference as reference
import test_audit
import torch
import transformers
from architectures import ARCHITECTURES
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, PeftModel, VeraConfig
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from transformers.pytorch_utils import Conv1D
from winnow_program import Report, TemporaryDirectoryCase, audit, needs_winnow

SAMPLE = ("gemma3-vision", "gpt-neox", "t5", "mamba")
CHOSEN = tuple(ARCHITECTURES) if os.environ.get("WINNOW_ARCHITECTURES") == "all" else SAMPLE


def load(directory, dtype=torch.float64):
    (name,) = json.loads((directory / "config.json").read_text())["architectures"]
    model = getattr(transformers, name).from_pretrained(str(directory), dtype=dtype, local_files_only=True)
    return model.eval()


def matrices(model):
    """Every linear layer by name: its weight as [out, in], in float64."""
    return {name: reference.linear(module, module.weight.detach()).double().clone()
            for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))}


def stored_tensors(directory):
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name).double() for name in file.keys()}
    return tensors


def stored_names(model, tensors):
    """The checkpoint's name of every linear layer. By the values, which are random: no rule of transformers is repeated here."""
    matrices_of = {name: tensor for name, tensor in tensors.items() if tensor.dim() == 2}

    def of(weight):
        found = [name for name, tensor in matrices_of.items()
                 if tensor.shape in (weight.shape, weight.T.shape)
                 and (torch.equal(tensor, weight) or torch.equal(tensor, weight.T))]
        return min(found, key=len).removesuffix(".weight") if found else None

    return {name: of(weight) for name, weight in matrices(model).items()}


def configs(model):
    """The PEFT configuration of each kind of adapter."""
    linear = [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]
    linear = [name for name in linear if model.get_submodule(name) is not model.get_output_embeddings()]
    # By the last part of their names, but for numbers: blocks have those as well.
    leaves = sorted({re.sub(r".*[.](?=[^.]*[^0-9.][^.]*$)", "", name) for name in linear})
    if model.config.model_type == "mamba":
        leaves.remove("out_proj")  # which PEFT refuses there
    one = [leaves[0]]
    plain = dict(init_lora_weights=False)
    kinds = {
        "linear": LoraConfig(r=2, lora_alpha=4, target_modules=leaves, **plain),
        "pattern": LoraConfig(r=2, lora_alpha=4, target_modules=leaves, use_rslora=True, rank_pattern={leaves[-1]: 3},
                              alpha_pattern={leaves[-1]: 5}, **plain),
        "bias": LoraConfig(r=2, lora_alpha=4, target_modules=one, bias="all", **plain),
        "dora": LoraConfig(r=2, lora_alpha=4, target_modules=one, use_dora=True, **plain),
    }
    leaf = next(name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module is model.get_input_embeddings())
    kinds["embedding"] = LoraConfig(r=2, lora_alpha=4, target_modules=[*one, leaf], **plain)
    kinds["saved"] = LoraConfig(r=2, lora_alpha=4, target_modules=one, modules_to_save=[leaf], **plain)
    kinds["tokens"] = LoraConfig(r=2, lora_alpha=4, target_modules=one, trainable_token_indices={leaf: [5, 7]}, **plain)
    if not any(isinstance(model.get_submodule(name), Conv1D) for name in linear):
        kinds["loha"] = LoHaConfig(r=2, alpha=4, target_modules=one, init_weights=False)
        kinds["lokr"] = LoKrConfig(r=2, alpha=4, target_modules=one, init_weights=False)
        kinds["vera"] = VeraConfig(r=2, target_modules=one, init_weights=False)
        kinds["oft"] = OFTConfig(r=0, oft_block_size=4, target_modules=one, init_weights=False)
    kinds["ia3"] = IA3Config(target_modules=one, feedforward_modules=[], init_ia3_weights=False)
    return kinds


NO_LORA = {"loha", "lokr", "oft", "vera", "ia3"}


def write(root, name):
    """A base, an aligned checkpoint that differs from it in every matrix, and an adapter of each kind."""
    torch.manual_seed(len(name))
    model = ARCHITECTURES[name]()
    for parameter in model.parameters():
        if parameter.dim() > 1 and parameter.std() == 0:
            parameter.data = torch.randn(parameter.shape) * 0.1
    model.save_pretrained(root / "base")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data += 0.1 * parameter.data.std() * torch.randn(parameter.shape)
    model.save_pretrained(root / "aligned")
    for kind in configs(model):
        base = load(root / "base", torch.float32)
        with reference.Messages():
            reference.write_adapter(base, configs(base)[kind], root / "adapters" / kind)


@needs_winnow
class Architectures(TemporaryDirectoryCase):
    worst = {}
    note = test_audit.Audit.note

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in CHOSEN:
            write(cls.directory / name, name)

    @classmethod
    def tearDownClass(cls):
        for metric, (error, where) in sorted(cls.worst.items()):
            print(f"\n  {metric[1]:18} largest relative difference {error:.1e} ({where})", end="")
        super().tearDownClass()

    def updates(self, root, kind):
        """{module: dW} of every linear layer that PEFT merges LoRA into, [out, in], float64. That of DoRA is another one on
        other weights."""
        model = load(root / ("aligned" if kind == "dora" else "base"))
        before = matrices(model)
        with reference.Messages(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft_model = PeftModel.from_pretrained(model, str(root / "adapters" / kind), local_files_only=True)
            lora = {name for name, layer in peft_model.base_model.model.named_modules()
                    if isinstance(layer, LoraLayer) and isinstance(layer.get_base_layer(), (torch.nn.Linear, Conv1D))}
            after = matrices(peft_model.merge_and_unload(safe_merge=True))
        return {name: after[name] - before[name] for name in lora}

    def test_what_is_judged_is_right_and_what_is_not_is_named(self):
        for name in CHOSEN:
            root = self.directory / name
            path = self.directory / f"{name}.h5"
            audit(root, path, "--methods", "all")
            report = Report(path)
            base, aligned = stored_tensors(root / "base"), stored_tensors(root / "aligned")
            names = stored_names(load(root / "base"), base)
            for kind in report.adapters:
                with self.subTest(architecture=name, adapter=kind):
                    self.check(report, root, kind, names, base, aligned)

    def check(self, report, root, kind, names, base, aligned):
        row = report.adapters.index(kind)
        shipped = report.datasets["adapters/parameters"][row]
        judged = report.datasets["adapters/parameters_judged"][row]
        with safe_open(root / "adapters" / kind / "adapter_model.safetensors", "pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
        sizes = {key: math.prod(shape) for key, shape in shapes.items()}
        self.assertEqual(shipped, sum(sizes.values()))
        if kind in NO_LORA or (kind == "dora" and root.name == "gpt2"):  # stored [in, out]
            self.assertEqual(report.status[kind], "quarantined")
            self.assertEqual(judged, 0)
            self.assertTrue(report.reason[kind])
            return
        self.assertEqual(report.status[kind], "ok", report.reason[kind])
        found = {module: value for module, value in report.metric("update_norm", kind).items() if not math.isnan(value)}
        updates = self.updates(root, kind)
        whole = self.check_whole_weights(report, root, kind, names, aligned)
        self.assertEqual(set(found), {names[module] for module in updates} | set(whole))
        factors = sum(size for key, size in sizes.items()
                      if any(key.startswith(f"base_model.model.{module}.lora_") for module in updates)
                      and key.endswith((".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector")))
        self.assertEqual(judged, factors + sum(whole.values()) + self.copied_biases(root, kind, names, aligned))
        if kind == "dora":
            self.assertEqual(judged, shipped)
        if kind in ("linear", "pattern"):  # Qwen2-VL has a convolution of the same name as a linear layer
            self.assertEqual(judged + sum(sizes[key] for key, shape in shapes.items() if len(shape) > 2), shipped)
        elif kind in ("embedding", "tokens"):
            self.assertLess(judged, shipped)
        if judged < shipped:
            said = report.texts("adapters/not_judged")[row] + report.texts("adapters/tensors_skipped")[row]
            left = {re.split(r"[.]lora_|[.][^.]*$", key.removeprefix("base_model.model."))[0] for key in sizes} - set(updates)
            self.assertTrue(any(module in said for module in left), f"{said}, not {left}")
        for module, update in updates.items():
            stored = names[module]
            v, w = aligned[f"{stored}.weight"] - base[f"{stored}.weight"], aligned[f"{stored}.weight"]
            if root.name == "gpt2":  # whose layers are all stored [in, out]
                v, w = v.T, w.T
            expected = reference.all_metrics(v, w, update)
            of_dense = ("update_norm", "alignment_cosine", "alignment_removed", "weight_cosine", "relative_norm")
            for metric in of_dense if kind == "dora" else (*test_audit.METRICS, "weight_cosine", "relative_norm"):
                value = report.metric(metric, kind)[stored]
                where = f"{root.name} {kind} {module} {metric}"
                error = abs(value - expected[metric]) / max(abs(expected[metric]), 1e-3)
                self.assertLessEqual(error, 1e-6, f"{where}: {value}, expected {expected[metric]}")
                self.note("reference", metric, error, where)

    def copied_biases(self, root, kind, names, aligned):
        """Numbers in biases of layers with LoRA that PEFT loads, and that are the model's."""
        count = 0
        with safe_open(root / "adapters" / kind / "adapter_model.safetensors", "pt") as file:
            for key in file.keys():
                module = key.removeprefix("base_model.model.").removesuffix(".base_layer.bias")
                if key.endswith(".base_layer.bias") and torch.equal(file.get_tensor(key).double(),
                                                                    aligned[f"{names[module]}.bias"].double()):
                    count += file.get_tensor(key).numel()
        return count

    def check_whole_weights(self, report, root, kind, names, aligned):
        """{module: numbers} of whole weights, each compared with the aligned one of its name."""
        whole = {}
        with safe_open(root / "adapters" / kind / "adapter_model.safetensors", "pt") as file:
            for key in file.keys():
                module = key.removeprefix("base_model.model.").removesuffix(".weight")
                if not key.endswith(".weight") or "lora_" in key or "base_layer" in key:
                    continue
                leaf = "." + key.rsplit(".", 2)[-2] + ".weight"
                known = (names.get(module), module,  # of linear layers; of embeddings, which other names may wrap
                         *(name.removesuffix(".weight") for name in aligned if f".{name}".endswith(leaf)))
                stored = next((name for name in known if name and f"{name}.weight" in aligned), None)
                if stored is None:
                    continue
                shipped = file.get_tensor(key).double()
                if shipped.dim() != 2:
                    continue
                difference = (shipped - aligned[f"{stored}.weight"].double()).norm().item()
                self.assertAlmostEqual(report.metric("update_norm", kind)[stored], difference, delta=1e-9 * difference)
                whole[stored] = shipped.numel()
        return whole


if __name__ == "__main__":
    unittest.main()
