"""What PEFT loads of a file is what winnow judges: modules that the configuration leaves out, and keys of other names."""

import copy
import json
import shutil
import unittest
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from winnow_program import Report, TemporaryDirectoryCase, needs_winnow, run

PREFIX = "base_model.model."
LAYER = "model.layers.{}.self_attn.{}_proj"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj"]
# Each leaves out other modules of a file that has all of ALL in three layers.
CONFIGURATIONS = {
    "all": {},
    "names": {"target_modules": ["q_proj", "1.self_attn.v_proj", LAYER.format(2, "k")]},
    "expression": {"target_modules": r".*\.(0|2)\.self_attn\.[qv]_proj"},
    "lookahead": {"target_modules": r"^(?!.*layers\.1\.).*(?:q|k)_proj$"},
    "excluded": {"exclude_modules": ["q_proj", "2.self_attn.o_proj"]},
    "excluded-expression": {"exclude_modules": r".*\.1\..*|.*v_proj"},
    "saved": {"modules_to_save": ["k_proj"]},
    "layers": {"layers_to_transform": [0, 2]},
    "layer": {"layers_to_transform": 1, "layers_pattern": "layers"},
    "layers-and-whole-name": {"target_modules": [LAYER.format(0, "q"), "v_proj"], "layers_to_transform": [1]},
    "twenty-names-and-layers": {"target_modules": [LAYER.format(n, part[0]) for part in ALL for n in range(6)],
                                "layers_to_transform": [1]},
    "layers-by-lookahead": {"layers_to_transform": [0, 1, 2], "layers_pattern": r"layers(?!\.1)"},
    "layers-by-nothing": {"layers_to_transform": [2], "layers_pattern": ""},
    "none": {"target_modules": None},
    "none-of-a-layer": {"target_modules": None, "layers_to_transform": [0]},
    "any-case": {"target_modules": r"(?i).*1\.SELF_attn\.[QV]_proj"},
    "linear": {"target_modules": "all-linear", "fan_in_fan_out": True},
    "part-of-a-name": {"target_modules": ["q_proj", "proj", "attn.v_proj"]},
}


def llama():
    return LlamaForCausalLM(LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
                                        num_key_value_heads=2, vocab_size=32, tie_word_embeddings=False))


@needs_winnow
class Loading(TemporaryDirectoryCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        torch.manual_seed(3)
        cls.model = llama()
        cls.model.save_pretrained(cls.directory / "aligned")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = get_peft_model(copy.deepcopy(cls.model), LoraConfig(r=2, target_modules=ALL, init_lora_weights=False,
                                                                         task_type="CAUSAL_LM"))
            adapted.save_pretrained(cls.directory / "source")
        cls.tensors = load_file(cls.directory / "source" / "adapter_model.safetensors")
        cls.config = json.loads((cls.directory / "source" / "adapter_config.json").read_text())
        cls.config |= {"target_modules": ALL, "init_lora_weights": True}  # what is not in the file is nothing

    def adapter(self, name, change, tensors=None):
        directory = self.directory / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        (directory / "adapter_config.json").write_text(json.dumps({**self.config, **change}))
        save_file(self.tensors if tensors is None else tensors, directory / "adapter_model.safetensors")
        return directory

    def changed(self, directory, beyond=0):
        """The weights that are others with the adapter, by PEFT, by more than `beyond`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merged = PeftModel.from_pretrained(copy.deepcopy(self.model), directory).merge_and_unload().state_dict()
        return {name.removesuffix(".weight") for name, before in self.model.state_dict().items()
                if (before - merged[name]).abs().max() > beyond}

    def judged(self, directory):
        run(["audit", "--aligned", self.directory / "aligned", "--adapter", directory, "--report", self.directory / "report.h5"])
        report = Report(self.directory / "report.h5").datasets
        names = [name.decode() for name in report["modules/name"]]
        return {name for name, present in zip(names, report["selection/present"][0]) if present}

    def test_modules_that_the_configuration_leaves_out_are_not_judged(self):
        for name, change in CONFIGURATIONS.items():
            with self.subTest(name):
                tensors = self.tensors
                if "modules_to_save" in change:  # which PEFT wants in the file
                    tensors = {**tensors, **{f"{PREFIX}{LAYER.format(n, 'k')}.weight":
                                             self.model.state_dict()[f"{LAYER.format(n, 'k')}.weight"].clone()
                                             for n in range(3)}}
                directory = self.adapter(name, change, tensors)
                changed = self.changed(directory)
                self.assertTrue(changed)
                unchanged = {LAYER.format(n, "k") for n in range(3)} if "modules_to_save" in change else set()
                self.assertEqual(self.judged(directory) - unchanged, changed)

    def test_pruned_they_stay_left_out(self):
        for name, change in CONFIGURATIONS.items():
            if "modules_to_save" in change:
                continue
            with self.subTest(name):
                directory = self.adapter(name, change)
                changed = self.changed(directory)
                report = self.directory / "selected.h5"
                run(["audit", "--aligned", self.directory / "aligned", "--adapter", directory, "--report", report, "--select",
                     "prune-top:1"])
                run(["prune", "--adapter", directory, "--report", report, "--output", self.directory / "pruned"])
                left = self.changed(self.directory / "pruned")
                self.assertEqual(len(changed - left), 1)
                self.assertLess(left, changed)
                shutil.rmtree(self.directory / "pruned")

    def test_keys_that_peft_does_not_look_for_are_not_judged(self):
        head = self.model.state_dict()["lm_head.weight"] + 1
        q = LAYER.format(0, "q")
        bare = {key.removeprefix(PREFIX) if f"{q}." in key else key: value for key, value in self.tensors.items()}
        for name, extra in {"none": {}, "head": {PREFIX + "lm_head.weight": head}, "bare-head": {"lm_head.weight": head},
                            "in-memory": {PREFIX + "lm_head.modules_to_save.weight": head},
                            "other": {PREFIX + "lm_head.modules_to_save.other.weight": head},
                            "original": {PREFIX + "lm_head.original_module.weight": head}}.items():
            for keys in (self.tensors, bare):
                with self.subTest(name, bare=keys is bare):
                    directory = self.adapter("keys", {}, {**keys, **extra})
                    self.assertEqual(self.judged(directory), self.changed(directory))

    def test_base_weights_are_judged_where_peft_loads_them(self):
        """Beside no factors, so that a module is changed by its base weight or not at all."""
        q = LAYER.format(0, "q")
        weight = self.model.state_dict()[q + ".weight"]
        others = {key: value for key, value in self.tensors.items() if f"{q}." not in key}
        names = [PREFIX + q + ".base_layer.weight", q + ".base_layer.weight", PREFIX + q + ".base_layer.default.weight",
                 PREFIX + q + ".base_layer.base_layer.weight", PREFIX + q.removeprefix("model.") + ".base_layer.weight"]
        for name in names:
            for change in ({}, {"target_modules": ["k_proj", "v_proj", "o_proj"]}, {"exclude_modules": ["0.self_attn.q_proj"]}):
                for added in (0, 1):
                    with self.subTest(name, change=change, added=added):
                        directory = self.adapter("base-layer", change, {**others, name: weight + added})
                        changed = self.changed(directory)
                        self.assertEqual(q in changed, name == names[0] and not change and added == 1)
                        self.assertEqual(self.judged(directory), changed)

    def test_modules_that_peft_fills_at_random_are_named(self):
        """What the configuration names, the file lacks, and the initialisation does not start from zero."""
        missing = {LAYER.format(1, "v"), *(LAYER.format(n, "k") for n in range(3))}
        tensors = {key: value for key, value in self.tensors.items()
                   if key.removeprefix(PREFIX).rsplit(".lora_", 1)[0] not in missing}
        own = {LAYER.format(n, part[0]) for n in range(3) for part in ALL} - missing
        configurations = {"names": {}, "linear": {"target_modules": "all-linear"}, "none": {"target_modules": None},
                          "expression": {"target_modules": r"model\.layers\.[12]\..*_proj"},
                          "layers": {"layers_to_transform": [1]}, "excluded": {"exclude_modules": ["k_proj"]},
                          "embedding": {"target_modules": [*ALL, "embed_tokens", "lm_head"]},
                          "whole": {"target_modules": sorted(own)}}
        for name, change in configurations.items():
            for initialisation in (True, False, None, "gaussian", "eva", "orthogonal", "mica"):
                with self.subTest(name, initialisation=initialisation):
                    directory = self.adapter("random", {**change, "init_lora_weights": initialisation}, tensors)
                    random = self.changed(directory, beyond=1e-5) - own
                    self.assertEqual(bool(random), not initialisation and name != "whole")
                    judged = self.judged(directory)
                    report = Report(self.directory / "report.h5")
                    told = [part for part in report.texts("adapters/not_judged")[0].split("; ") if "at random" in part]
                    named = set(told[0].split("): ")[1].split(", ")) if told else set()
                    # Under all-linear those of a kind that the file has none of are not known to be linear.
                    known = {module for module in random if "mlp" not in module and "k_proj" not in module}
                    self.assertEqual(named, known if name == "linear" else random)
                    self.assertLessEqual(judged, own)
        directory = self.adapter("random", {"init_lora_weights": False}, tensors)
        arguments = ["audit", "--aligned", self.directory / "aligned", "--adapter", directory, "--report",
                     self.directory / "report.h5"]
        self.assertIn(f"4 modules are not judged, the first {min(missing)}: it is not in the file, and PEFT fills it at random "
                      "(init_lora_weights is false)", run(arguments).stderr)
        self.assertIn("at random", run([*arguments, "--strict"], expect=3).stderr)


if __name__ == "__main__":
    unittest.main()
