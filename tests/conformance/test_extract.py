"""`winnow extract` on what PEFT merged: the rank that was planted, in modules that PEFT finds again, to what rounding leaves."""

import copy
import json
import shutil
import unittest

import peft_reference as reference
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from winnow_program import REAL, Report, TemporaryDirectoryCase, needs_winnow, run

TARGETS = {"llama": ["q_proj", "o_proj", "up_proj", "down_proj"], "qwen2": "all-linear", "phi3": ["qkv_proj", "down_proj"],
           "gpt2": ["c_attn", "c_fc", "c_proj"]}
LARGEST = 1e-3  # of a merged weight's change that the extracted update may differ by beyond what rounding did


def planted(model, name, rank):
    """The model with a random adapter on it, a tenth of each weight in size."""
    torch.manual_seed(rank)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS[name], task_type="CAUSAL_LM",
                        fan_in_fan_out=name == "gpt2", init_lora_weights=False)
    adapted = get_peft_model(copy.deepcopy(model), config)
    with torch.no_grad():
        for layer in adapted.modules():
            if isinstance(layer, reference.LoraLayer):
                update = layer.get_delta_weight("default")
                layer.lora_B["default"].weight *= 0.1 * layer.get_base_layer().weight.norm() / update.norm()
    return adapted


@needs_winnow
class Extract(TemporaryDirectoryCase):
    def merge(self, name, rank, dtype):
        """Directories of a model before and after a merge, and the updates by module."""
        model = reference.load_base(REAL / name / "aligned", dtype)
        where = self.directory / f"{name}-{rank}-{dtype}".replace("torch.", "")
        model.save_pretrained(where / "from")
        adapted = planted(model, name, rank)
        updates = {module.removeprefix("base_model.model."): layer.get_delta_weight("default").double()
                   for module, layer in adapted.named_modules() if isinstance(layer, reference.LoraLayer)}
        adapted.merge_and_unload().save_pretrained(where / "merged")
        return where, updates

    def check(self, name, rank, dtype):
        where, updates = self.merge(name, rank, dtype)
        run(["extract", "--from", where / "from", "--merged", where / "merged", "--output", where / "adapter"])
        noted = json.loads((where / "adapter" / "winnow.json").read_text())["pruned_adapter"]
        self.assertEqual(set(noted["ranks"]), set(updates))
        self.assertEqual(set(noted["ranks"].values()), {rank})
        before, after = (reference.module_weights(reference.load_base(where / part, dtype)) for part in ("from", "merged"))
        merged = reference.Merged(where / "from", where / "adapter", torch.float64)
        self.assertEqual(merged.messages, [], "PEFT has something to say")
        self.assertEqual(set(merged.lora), set(updates))
        for module, update in updates.items():
            found = (merged.merged[module] - merged.base[module]).double()
            change = (after[module].double() - before[module].double())
            rounding = (change - update).norm()
            self.assertLessEqual((found - update).norm(), rounding + LARGEST * update.norm(), f"{module}")
            self.assertLessEqual((found - change).norm(), 1.01 * rounding + LARGEST * update.norm(), f"{module}")

    def test_finds_the_rank_that_peft_merged(self):
        for name in TARGETS:
            for rank in (1, 2, 6):
                with self.subTest(model=name, rank=rank):
                    self.check(name, rank, torch.bfloat16)
        for dtype in (torch.float16, torch.float32):
            with self.subTest(dtype=dtype):
                self.check("llama", 3, dtype)

    def test_an_audit_scores_it_like_the_adapter_that_was_merged(self):
        where, _ = self.merge("llama", 4, torch.float32)
        model = reference.load_base(where / "from", torch.float32)
        planted(model, "llama", 4).save_pretrained(where / "original")
        run(["extract", "--from", where / "from", "--merged", where / "merged", "--output", where / "adapter"])
        run(["audit", "--base", REAL / "llama" / "base", "--aligned", REAL / "llama" / "aligned", "--backend", "reference",
             "--adapter", where / "original", "--adapter", where / "adapter", "--report", where / "report.h5"])
        report = Report(where / "report.h5")
        for metric in ("update_norm", "cosine", "alignment_removed", "subspace_energy"):
            original, extracted = (report.metric(metric, adapter) for adapter in ("original", "adapter"))
            for module, value in original.items():
                self.assertAlmostEqual(extracted[module], value, delta=1e-4 * max(1, abs(value)), msg=f"{metric} of {module}")

    def test_the_same_adapter_on_any_number_of_ranks(self):
        where, _ = self.merge("qwen2", 3, torch.bfloat16)
        written = []
        for ranks in (1, 2, 3, 5):
            output = where / f"adapter-{ranks}"
            run(["extract", "--from", where / "from", "--merged", where / "merged", "--output", output], ranks)
            written.append({path.name: path.read_bytes() for path in sorted(output.iterdir())})
        for other in written[1:]:
            self.assertEqual(written[0], other)

    def test_names_what_is_no_linear_layer(self):
        where, _ = self.merge("llama", 2, torch.bfloat16)
        tensors = load_file(where / "merged" / "model.safetensors")
        tensors["model.norm.weight"] += 1
        tensors["model.embed_tokens.weight"] += 1
        tensors["model.new.weight"] = torch.ones(3, 3)
        del tensors["model.layers.0.input_layernorm.weight"]
        save_file(tensors, where / "merged" / "model.safetensors", {"format": "pt"})
        said = run(["extract", "--from", where / "from", "--merged", where / "merged", "--output", where / "other"]).stdout
        for text in ("model.norm.weight (no weight of a linear layer)", "model.embed_tokens.weight (an embedding)",
                     "model.new.weight (in the merged checkpoint alone)",
                     "model.layers.0.input_layernorm.weight (not in the merged checkpoint)"):
            self.assertIn(text, said)

    def test_finds_modules_of_a_checkpoint_without_the_inner_models_name(self):
        where, updates = self.merge("gpt2", 2, torch.bfloat16)
        for part in ("from", "merged"):
            tensors = load_file(where / part / "model.safetensors")
            bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
            save_file(bare, where / part / "model.safetensors", {"format": "pt"})
        run(["extract", "--from", where / "from", "--merged", where / "merged", "--output", where / "adapter"])
        merged = reference.Merged(where / "from", where / "adapter", torch.float64)
        self.assertEqual(merged.messages, [], "PEFT has something to say")
        self.assertEqual(set(merged.lora), set(updates))

    def test_says_that_nothing_was_merged(self):
        where, _ = self.merge("phi3", 1, torch.bfloat16)
        shutil.copytree(where / "from", where / "copy")
        said = run(["extract", "--from", where / "from", "--merged", where / "copy", "--output", where / "none"], expect=3)
        self.assertIn("no weight of a linear layer differs, so no adapter is written", said.stderr)
        self.assertFalse((where / "none").exists())
        self.assertEqual([path.name for path in where.glob(".*")], [])


if __name__ == "__main__":
    unittest.main()
