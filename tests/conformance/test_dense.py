"""Updates that are dense, written by released PEFT: what an audit says of them follows from PEFT's own merged weights."""

import copy
import math
import unittest
import warnings

import numpy
import peft_reference as reference
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from winnow_program import Report, TemporaryDirectoryCase, audit, needs_winnow, run

TOLERANCE = 1e-6  # relative to the norms
METHODS = ("--methods", "default,ablation,weight_cosine,relative_norm")


def llama(tied):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=60, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        tie_word_embeddings=tied))


ADAPTERS = {
    "saved": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
    "linear": dict(target_modules=["q_proj"], modules_to_save=["down_proj"]),
    "dora": dict(target_modules=["q_proj", "up_proj", "lm_head"], use_dora=True),
    "dora-rslora": dict(target_modules=["v_proj"], use_dora=True, use_rslora=True, modules_to_save=["embed_tokens"]),
    "norm": dict(target_modules=["q_proj"], modules_to_save=["model.norm"]),
}
# With LoRA on them, which PEFT saves them with: a head as it was, and one, with a linear layer, that is not as it was.
TARGETED = dict(target_modules=["q_proj", "lm_head"])
REPLACED = ["lm_head", "model.layers.1.self_attn.q_proj"]


def write_adapter(base, name, directory, config, change=0.05):
    """As PEFT saves it, with random factors and whole weights that differ from the base's."""
    base = copy.deepcopy(base)
    base.name_or_path = base.config._name_or_path = name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", init_lora_weights=False, **config))
        for key, weight in model.named_parameters():
            if "modules_to_save" in key:
                weight.data += change * torch.randn(weight.shape)
            elif "lora_magnitude_vector" in key:
                weight.data *= 1 + 0.2 * torch.randn(weight.shape)
            elif "lora_" in key:
                weight.data = 0.05 * torch.randn(weight.shape)
        model.save_pretrained(directory, save_embedding_layers=False)


def write_targeted(base, name, directory, replaced=()):
    """LoRA on the head, with the base weights as PEFT saves them along; those of `replaced` are others."""
    base = copy.deepcopy(base)
    base.name_or_path = base.config._name_or_path = name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", init_lora_weights=False, **TARGETED))
        for key, weight in model.named_parameters():
            if "lora_" in key:
                weight.data = 0.05 * torch.randn(weight.shape, dtype=weight.dtype)
        model.save_pretrained(directory)
    tensors = load_file(directory / "adapter_model.safetensors")
    assert [key for key in tensors if "base_layer" in key] == ["base_model.model.lm_head.base_layer.weight"]
    for module in replaced:
        weight = model.state_dict()[f"base_model.model.{module}.base_layer.weight"]
        tensors[f"base_model.model.{module}.base_layer.weight"] = weight + 0.05 * torch.randn(weight.shape)
    save_file(tensors, directory / "adapter_model.safetensors", {"format": "pt"})


def write(root, tied):
    torch.manual_seed(5)
    model = llama(tied)
    model.save_pretrained(root / "base")
    write_targeted(model, "of-base", root / "adapters" / "of-base")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data += 0.02 * torch.randn(parameter.shape)
    model.save_pretrained(root / "aligned")
    names = dict(load_file(root / "aligned" / "model.safetensors"))
    (root / "direction").mkdir()
    save_file({key: torch.randn(value.shape) for key, value in names.items() if value.dim() == 2},
              root / "direction" / "model.safetensors")
    for name, config in ADAPTERS.items():
        write_adapter(model, name, root / "adapters" / name, config)
    write_targeted(model, "targeted", root / "adapters" / "targeted")
    write_targeted(model, "replaced", root / "adapters" / "replaced", REPLACED)
    write_adapter(model, "probe", root / "probe", dict(target_modules=["lm_head", "down_proj", "q_proj", "up_proj"]))
    return model


def merged_updates(aligned, adapter):
    """{module: W after PEFT merged the adapter - W}, in float64."""
    model = reference.load_base(aligned, torch.float64)
    before = reference.module_weights(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return {name: (weight.double() - before[name]) for name, weight in reference.module_weights(merged).items()}, before


def inner(x, y):
    return float((x * y).sum())


@needs_winnow
class Dense(TemporaryDirectoryCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for tied in (False, True):
            root = cls.directory / ("tied" if tied else "untied")
            root.mkdir()
            write(root, tied)

    def audit(self, root, adapters, *options, ranks=1):
        path = self.directory / f"{root.name}-{'-'.join(adapters)}-{ranks}-{len(options)}.h5"
        audit(root, path, *METHODS, "--direction", f"harmful={root / 'direction'}", "--probe",
              f"harmful={root / 'probe'}", *options, adapters=adapters, ranks=ranks)
        return Report(path)

    def check(self, root, adapter, modules, ranks=1, tied_to=None):
        report = self.audit(root, [adapter], ranks=ranks)
        self.assertEqual(report.status[adapter], "ok", report.reason[adapter])
        updates, aligned = merged_updates(root / "aligned", root / "adapters" / adapter)
        base = reference.module_weights(reference.load_base(root / "base", torch.float64))
        probe, _ = merged_updates(root / "aligned", root / "probe")
        directions = load_file(root / "direction" / "model.safetensors")
        self.assertTrue(modules)
        for module in modules:
            row = report.modules.index(module)
            self.assertEqual(report.datasets["selection/present"][0, row], 2, module)
            update, weight = updates[module], aligned[module]
            step = weight - base[module]
            norm, size, f = update.norm().item(), weight.norm().item(), step.norm().item()
            self.assertGreater(norm, 0)
            expected = {"update_norm": norm, "relative_norm": norm / size,
                        "weight_cosine": inner(weight, update) / norm / size,
                        "alignment_cosine": inner(step, update) / norm / f, "alignment_removed": -inner(step, update) / f / f}
            for metric, value in expected.items():
                found = report.metric(metric, adapter)[module]
                self.assertAlmostEqual(found, value, delta=TOLERANCE * max(1, abs(value)), msg=f"{module} {metric}")
            along = directions[f"{tied_to or module}.weight"].double()
            for k, dense in enumerate((along, probe[module])):
                if dense.norm() == 0:
                    self.assertTrue(math.isnan(report.datasets["probes/dot"][k, 0, row]))
                    continue
                self.assertAlmostEqual(report.datasets["probes/dot"][k, 0, row], inner(dense, update),
                                       delta=TOLERANCE * dense.norm().item() * norm, msg=f"{module} probe {k}")
                self.assertAlmostEqual(report.datasets["probes/norm"][k, row], dense.norm().item(),
                                       delta=TOLERANCE * dense.norm().item())
        return report

    def assert_whole(self, report):
        self.assertEqual(report.datasets["adapters/tensors_not_judged"][0], 0)
        self.assertEqual(report.datasets["adapters/parameters"][0], report.datasets["adapters/parameters_judged"][0])

    def test_embeddings_and_head(self):
        for ranks in (1, 2, 3):
            self.assert_whole(self.check(self.directory / "untied", "saved", ["model.embed_tokens", "lm_head"], ranks))

    def test_linear(self):
        modules = [f"model.layers.{layer}.mlp.down_proj" for layer in (0, 1)]
        self.assert_whole(self.check(self.directory / "untied", "linear", modules))

    def test_dora(self):
        root = self.directory / "untied"
        modules = [f"model.layers.{layer}.{leaf}" for layer in (0, 1) for leaf in ("self_attn.q_proj", "mlp.up_proj")]
        for ranks in (1, 2, 3):
            self.assert_whole(self.check(root, "dora", [*modules, "lm_head"], ranks))
        values = [f"model.layers.{layer}.self_attn.v_proj" for layer in (0, 1)]
        self.assert_whole(self.check(root, "dora-rslora", [*values, "model.embed_tokens"]))

    def test_base_weights_that_lora_is_on(self):
        """PEFT puts them in the place of the model's, and adds s*B*A."""
        for ranks in (1, 2, 3):
            self.assert_whole(self.check(self.directory / "untied", "replaced", REPLACED, ranks))
        report = self.check(self.directory / "tied", "replaced", ["model.layers.1.self_attn.q_proj"])
        self.assert_whole(report)
        root = self.directory / "tied"
        head, b, a = (load_file(root / "adapters" / "replaced" / "adapter_model.safetensors")[
            f"base_model.model.lm_head.{leaf}.weight"].double() for leaf in ("base_layer", "lora_B", "lora_A"))
        weight = load_file(root / "aligned" / "model.safetensors")["model.embed_tokens.weight"].double()
        self.assertAlmostEqual(report.metric("update_norm", "replaced")["model.embed_tokens"],
                               (head + 2 * b @ a - weight).norm().item(), delta=1e-9)

    def test_copies_of_base_weights_change_nothing(self):
        """Loaded in any format: the head is judged as the LoRA it is, as if there was no copy."""
        root = self.directory / "copies-of-base"
        root.mkdir()
        for stored in (torch.float32, torch.bfloat16):
            torch.manual_seed(7)
            model = llama(False).to(stored)
            for part in ("base", "aligned"):
                for parameter in model.parameters():
                    parameter.data += (0.02 * torch.randn(parameter.shape)).to(stored)
                model.save_pretrained(root / part)
            for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
                write_targeted(reference.load_base(root / "aligned", dtype), name, root / "adapters" / name)
            path = self.directory / "copies-of-base.h5"
            audit(root, path)
            report = Report(path)
            for n, name in enumerate(report.adapters):
                self.assertEqual(report.status[name], "ok", report.reason[name])
                self.assertEqual(report.present(name)["lm_head"], 1)
                self.assertEqual(report.datasets["adapters/tensors_not_judged"][n], 0)
                self.assertEqual(report.datasets["adapters/modules_not_judged"][n], 0)
                self.assertEqual(report.datasets["adapters/parameters"][n], report.datasets["adapters/parameters_judged"][n])
                bare = root / "bare"
                bare.mkdir(exist_ok=True)
                source = root / "adapters" / name
                (bare / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
                tensors = load_file(source / "adapter_model.safetensors")
                save_file({key: value for key, value in tensors.items() if "base_layer" not in key},
                          bare / "adapter_model.safetensors")
                run(["audit", "--base", root / "base", "--aligned", root / "aligned", "--adapter", bare, "--report",
                     self.directory / "bare.h5", "--backend", "reference", "--threads", 1, "--subspace-rank", 6])
                numpy.testing.assert_array_equal(Report(self.directory / "bare.h5").metric("cosine", "bare")["lm_head"],
                                                 report.metric("cosine", name)["lm_head"])

    def test_the_base_models_weight_takes_alignment_back(self):
        """Of an adapter that was trained on the base model, loaded on the aligned one."""
        root = self.directory / "untied"
        updates, aligned = merged_updates(root / "aligned", root / "adapters" / "of-base")
        base, _ = merged_updates(root / "base", root / "adapters" / "of-base")
        step = aligned["lm_head"] - reference.module_weights(reference.load_base(root / "base", torch.float64))["lm_head"]
        self.assertLess((updates["lm_head"] + step - base["lm_head"]).norm().item(), 1e-12)
        report = self.audit(root, ["of-base"])
        self.assertEqual(report.present("of-base")["lm_head"], 1)
        self.assertAlmostEqual(report.metric("update_norm", "of-base")["lm_head"], base["lm_head"].norm().item(), delta=1e-6)
        self.assertEqual(report.datasets["adapters/tensors_not_judged"][0], 1)
        self.assertIn("base weight that is the base model's: on the aligned model it takes alignment back",
                      report.texts("adapters/tensors_skipped")[0])

    def test_base_weights_without_the_model_are_named(self):
        root = self.directory / "untied"
        path = self.directory / "without.h5"
        run(["audit", "--direction", f"harmful={root / 'direction'}", "--adapter", root / "adapters" / "targeted", "--report",
             path])
        report = Report(path)
        self.assertEqual(report.datasets["adapters/tensors_not_judged"][0], 1)
        self.assertIn("base weight that PEFT puts in the place of the model's; --aligned DIR tells whether it is a copy",
                      report.texts("adapters/tensors_skipped")[0])

    def test_without_its_head_its_copy_goes_too(self):
        """PEFT would find no place for it."""
        root = self.directory / "untied"
        path = self.directory / "head-pruned.h5"
        audit(root, path, "--rank-by", "update_norm", adapters=["targeted"])
        run(["prune", "--report", path, "--adapter", root / "adapters" / "targeted", "--output",
             self.directory / "headless", "--rank-by", "update_norm", "--select", "prune-top:1"])
        left = load_file(self.directory / "headless" / "adapter_model.safetensors")
        self.assertEqual([key for key in left if "lm_head" in key], [])
        self.assertTrue(left)
        model = reference.load_base(root / "aligned", torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", FutureWarning)  # transformers' own
            PeftModel.from_pretrained(model, str(self.directory / "headless"))

    def test_dora_is_repaired_by_nothing(self):
        root = self.directory / "untied"
        path = self.directory / "dora-repairs.h5"
        audit(root, path, "--select", "keep-top:1", adapters=["dora"])
        done = run(["prune", "--report", path, "--adapter", root / "adapters" / "dora", "--output",
                    self.directory / "no-repair"], expect=3)
        self.assertIn("it is a DoRA adapter", done.stderr)
        self.assertFalse((self.directory / "no-repair").exists())
        done = audit(root, self.directory / "dora-repaired.h5", "--repair", "zero", "--repaired-dir",
                     self.directory / "repaired", adapters=["dora", "saved"])
        self.assertIn("adapter dora is not repaired: it is a DoRA adapter", done.stderr)
        self.assertEqual([found.name for found in (self.directory / "repaired").iterdir()], ["saved"])

    def test_verify_knows_dora(self):
        root = self.directory / "untied"
        path = self.directory / "dora-verified.h5"
        audit(root, path, adapters=["dora", "saved"])
        run(["verify", path])

    def test_a_norm_is_no_matrix(self):
        report = self.audit(self.directory / "untied", ["norm"])
        self.assertEqual(report.datasets["adapters/tensors_not_judged"][0], 1)
        self.assertIn("full weight that is no matrix", report.texts("adapters/tensors_skipped")[0])

    def test_tied_head(self):
        """PEFT unties what it saves: both are compared with the one weight there was."""
        root = self.directory / "tied"
        report = self.check(root, "saved", ["model.embed_tokens"])
        self.assertEqual(report.datasets["adapters/tensors_not_judged"][0], 0)
        shipped = load_file(root / "adapters" / "saved" / "adapter_model.safetensors")
        embedding = load_file(root / "aligned" / "model.safetensors")["model.embed_tokens.weight"]
        heads = [key for key in shipped if key.endswith("lm_head.weight")]
        self.assertEqual(len(heads) == 1, "lm_head" in report.modules)
        for key in heads:
            self.assertAlmostEqual(report.metric("update_norm", "saved")["lm_head"],
                                   (shipped[key].double() - embedding.double()).norm().item(), delta=1e-9)
        run(["verify", self.directory / "tied-saved-1-0.h5"])

    def test_copies_are_unchanged(self):
        """Loaded in 16 bits, saved in 32, as PEFT does."""
        root = self.directory / "copies"
        root.mkdir()
        torch.manual_seed(6)
        model = llama(False).to(torch.bfloat16)
        model.save_pretrained(root / "base")
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data += (0.02 * torch.randn(parameter.shape)).to(torch.bfloat16)
        model.save_pretrained(root / "aligned")
        for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
            loaded = reference.load_base(root / "aligned", dtype)
            write_adapter(loaded, name, root / "adapters" / name, ADAPTERS["saved"], change=0)
        path = self.directory / "copies.h5"
        audit(root, path)
        report = Report(path)
        for name in ("bf16", "f16", "f32"):
            self.assertEqual(report.status[name], "ok", report.reason[name])
            for module in ("model.embed_tokens", "lm_head"):
                self.assertEqual(report.metric("update_norm", name)[module], 0)
        numpy.testing.assert_array_equal(report.datasets["adapters/parameters"],
                                         report.datasets["adapters/parameters_judged"])

    def test_repairs_leave_them(self):
        root = self.directory / "untied"
        source = load_file(root / "adapters" / "saved" / "adapter_model.safetensors")
        whole = [key for key in source if "lora_" not in key]
        self.assertEqual(len(whole), 2)
        path = self.directory / "to-prune.h5"
        audit(root, path, adapters=["saved"])
        for number, arguments in enumerate((("--report", path, "--select", "keep-top:1"),
                                            ("--report", path, "--select", "keep-top:1", "--repair", "zero"),
                                            ("--repair", "deflect", "--probe", f"harmful={root / 'probe'}"))):
            output = self.directory / f"repaired-{number}"
            done = run(["prune", *arguments, "--adapter", root / "adapters" / "saved", "--output", output])
            repaired = load_file(output / "adapter_model.safetensors")
            for key in whole:
                self.assertTrue(torch.equal(source[key], repaired[key]), key)
            if "deflect" in arguments:
                self.assertIn("2 of its tensors stay as they are", done.stderr)


if __name__ == "__main__":
    unittest.main()
