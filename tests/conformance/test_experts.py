"""LoRA on fused experts, written by released transformers and PEFT: every expert is judged, and to the number that follows
from PEFT's own merged weights; what is pruned or repaired of them is what PEFT then merges."""

import copy
import json
import shutil
import unittest

import peft_reference as reference
import test_audit
import torch
from peft import LoraConfig
from transformers import (DeepseekV3Config, DeepseekV3ForCausalLM, GptOssConfig, GptOssForCausalLM, GraniteMoeConfig,
                          GraniteMoeForCausalLM, Llama4ForCausalLM, Llama4TextConfig, MixtralConfig, MixtralForCausalLM,
                          OlmoeConfig, OlmoeForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3MoeConfig,
                          Qwen3MoeForCausalLM)
from winnow_program import Report, TemporaryDirectoryCase, audit, needs_winnow, run

COMMON = dict(vocab_size=64, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2)

# On disk: Mixtral, Qwen, OLMoE and DeepSeek store every expert by itself; gpt-oss, Granite and Llama 4 store blocks. The
# down_proj of gpt-oss is square here, as it is in the released models: its shape does not tell how it is stored.
MODELS = {
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2)),
    "qwen2-moe": lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(
        **COMMON, moe_intermediate_size=20, shared_expert_intermediate_size=20, num_experts=4, num_experts_per_tok=2,
        decoder_sparse_step=1)),
    "qwen3-moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(
        **COMMON, head_dim=6, moe_intermediate_size=20, num_experts=5, num_experts_per_tok=2, decoder_sparse_step=1,
        mlp_only_layers=[])),
    "olmoe": lambda: OlmoeForCausalLM(OlmoeConfig(**COMMON, num_experts=4, num_experts_per_tok=2)),
    "deepseek-v3": lambda: DeepseekV3ForCausalLM(DeepseekV3Config(
        **{**COMMON, "num_key_value_heads": 4}, moe_intermediate_size=20, n_routed_experts=4, num_experts_per_tok=2,
        n_group=1, topk_group=1, first_k_dense_replace=0, q_lora_rank=None, kv_lora_rank=8, qk_rope_head_dim=4,
        qk_nope_head_dim=4, v_head_dim=8)),
    "gpt-oss": lambda: GptOssForCausalLM(GptOssConfig(
        **{**COMMON, "intermediate_size": 24}, head_dim=6, num_local_experts=4, num_experts_per_tok=2,
        layer_types=["full_attention"] * 2, rope_scaling=None)),
    "granite": lambda: GraniteMoeForCausalLM(GraniteMoeConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2)),
    "llama4": lambda: Llama4ForCausalLM(Llama4TextConfig(
        **COMMON, head_dim=6, intermediate_size_mlp=40, num_local_experts=4, interleave_moe_layer_step=1)),
}


def targets_of(model):
    """The blocks of experts of the first layer as target_parameters names them."""
    names = [name for name, parameter in model.named_parameters() if parameter.dim() == 3 and ".0." in name]
    return sorted(name.split(".", 3)[-1] for name in names if not name.endswith(".weight"))


def save(model, directory):
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(directory)


def write(root, name):
    """A base and an aligned checkpoint, and adapters on both parameters, on one, and on attention as well."""
    torch.manual_seed(len(name))
    model = MODELS[name]()
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
    save(model, root / "base")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data += 0.1 * parameter.data.std() * torch.randn(parameter.shape)
    save(model, root / "aligned")
    targets = targets_of(model)
    gate_up = next(target for target in targets if target.endswith("gate_up_proj"))
    adapters = {
        "both": dict(r=3, lora_alpha=6, target_modules=[], target_parameters=targets),
        "down": dict(r=2, lora_alpha=6, target_modules=[],
                     target_parameters=[target for target in targets if target != gate_up]),
        "mixed": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["o_proj"], target_parameters=targets),
        "pattern": dict(r=2, lora_alpha=6, target_modules=[], target_parameters=targets,
                        rank_pattern={gate_up: 3}, alpha_pattern={gate_up: 5}),
        "all-linear": dict(r=2, lora_alpha=4, target_modules="all-linear"),
        # A matrix as a parameter: what patterns are compared with is its name, not the module's.
        "weights": dict(r=2, lora_alpha=4, target_modules=[], target_parameters=[*targets, "q_proj.weight", "o_proj.weight"],
                        rank_pattern={"q_proj.weight": 3}, alpha_pattern={"o_proj.weight": 7, "o_proj": 50}),
    }
    for adapter, config in adapters.items():
        base = reference.load_base(root / "base", torch.float32)
        base.name_or_path = base.config._name_or_path = name
        reference.write_adapter(base, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **config),
                                root / "adapters" / adapter, save_embedding_layers=False)


@needs_winnow
class Experts(TemporaryDirectoryCase):
    worst = {}
    note = test_audit.Audit.note
    check_module = test_audit.Audit.check_module
    check_weight_metrics = test_audit.Audit.check_weight_metrics

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in MODELS:
            write(cls.directory / name, name)

    def expected(self, name):
        root = self.directory / name
        aligned = reference.module_weights(reference.load_base(root / "aligned", torch.float64))
        tensors = reference.tensors_of(root / "base")

        def stored(module):  # Mixtral's router has another name on disk
            return module if f"{module}.weight" in tensors else module.replace(".mlp.gate", ".block_sparse_moe.gate")

        return {path.name: {stored(module): values for module, values in
                            reference.expected_of_adapter(root / "base", aligned, path).items()}
                for path in sorted((root / "adapters").iterdir())}

    def test_every_expert_is_judged_and_right(self):
        for name in MODELS:
            expected = self.expected(name)
            for backend, ranks in (("reference", 1), ("reference", 3), ("cpu", 1), ("cpu", 2)):
                path = self.directory / f"{name}-{backend}-{ranks}.h5"
                audit(self.directory / name, path, "--methods", "default,concentration,intruders,overlap_right", backend=backend,
                      ranks=ranks)
                report = Report(path)
                for adapter, modules in expected.items():
                    where = f"{name} {adapter} {backend} {ranks}"
                    with self.subTest(where):
                        self.assertEqual(report.status[adapter], "ok", report.reason[adapter])
                        row = report.adapters.index(adapter)
                        self.assertEqual(report.datasets["adapters/parameters_judged"][row],
                                         report.datasets["adapters/parameters"][row], where)
                        for module, values in modules.items():
                            self.check_module(report, adapter, module, values, backend, f"{where} {module}")
                        scored = {m for m, value in report.metric("update_norm", adapter).items() if value == value}
                        self.assertEqual(scored, set(modules), where)
                if ranks > 1:
                    alone = Report(self.directory / f"{name}-{backend}-1.h5")
                    self.assertEqual(alone.same_datasets(report), [], f"{name} {backend}")

    def test_pruned_experts_are_what_peft_merges_no_more(self):
        for name in MODELS:
            for repair in ("drop", "zero"):
                root, written = self.directory / name, self.directory / f"{name}-{repair}"
                path = self.directory / f"{name}-{repair}.h5"
                audit(root, path, "--select", "prune-top:5", "--repair", repair, "--repaired-dir", written)
                report = Report(path)
                for adapter in report.adapters:
                    with self.subTest(model=name, repair=repair, adapter=adapter):
                        self.check_pruned(root, adapter, written / adapter, report.action(adapter))
                        again = self.directory / f"{name}-{repair}-{adapter}-again"
                        run(["prune", "--adapter", root / "adapters" / adapter, "--report", path, "--repair", repair,
                             "--output", again])
                        for file in ("adapter_model.safetensors", "adapter_config.json"):
                            self.assertEqual((again / file).read_bytes(), (written / adapter / file).read_bytes(), file)

    def check_pruned(self, root, adapter, written, action):
        base, source = root / "base", root / "adapters" / adapter
        whole = reference.Merged(base, source, torch.float32)
        repaired = reference.Merged(base, written, torch.float32)
        self.assertEqual([text for text in repaired.messages if text not in whole.messages], [])
        tensors = reference.tensors_of(base)
        pruned = {module for module, what in action.items() if what == 2}
        self.assertTrue(pruned)
        for wrapper in whole.parameters:
            self.assertIn(wrapper, repaired.parameters)
            self.assertEqual(whole.lora[wrapper], repaired.lora[wrapper])
            before = whole.experts(wrapper, whole.base, tensors)
            after = repaired.experts(wrapper, whole.base, tensors)
            for (module, _, update), (_, _, left) in zip(before, after):
                self.assertTrue(torch.equal(left, torch.zeros_like(left) if module in pruned else update), module)
        for module in set(whole.lora) - set(whole.parameters):
            left = repaired.update(module)
            if {module, module.replace(".mlp.gate", ".block_sparse_moe.gate")} & pruned:
                self.assertFalse(left.any(), module)
            else:
                self.assertTrue(torch.equal(left, whole.update(module)), module)

    def test_half_an_expert_is_repaired_alone(self):
        """A report names gate and up by themselves if the checkpoint stores them so; both share lora_A in the adapter."""
        root = self.directory / "qwen3-moe"
        path, written = self.directory / "half.h5", self.directory / "half"
        audit(root, path, "--select", "prune-top:3", adapters=["both"])
        chosen = {module for module, what in Report(path).action("both").items() if what == 2}
        run(["prune", "--report", path, "--adapter", root / "adapters" / "both", "--repair", "scale", "--factor", "0.5",
             "--output", written])
        merged = [reference.Merged(root / "base", each) for each in (root / "adapters" / "both", written)]
        halves = 0
        for wrapper in merged[0].parameters:
            of = [list(each.experts(wrapper, each.base, reference.tensors_of(root / "base"))) for each in merged]
            for (module, _, update), (_, _, found) in zip(*of):
                expected = 0.5 * update if module in chosen else update
                self.assertLess(float((found - expected).norm() / update.norm()), 1e-6, module)
                halves += module in chosen and not module.endswith("down_proj")
        self.assertTrue(halves)

    def test_repairs_without_a_checkpoint(self):
        for name in ("mixtral", "gpt-oss", "llama4"):
            adapters = self.directory / name / "adapters"
            for repair, options, formula in (
                    ("scale", ["--factor", "0.5"], lambda update, probe: 0.5 * update),
                    ("deflect", ["--side", "left", "--directions", "2", "--probe", f"harmful={adapters / 'both'}"],
                     self.deflected)):
                source, written = adapters / "pattern", self.directory / f"{name}-{repair}"
                run(["prune", "--adapter", source, "--repair", repair, "--output", written, *options])
                base = self.directory / name / "base"
                merged = [reference.Merged(base, path) for path in (source, adapters / "both", written)]
                self.assertEqual([text for text in merged[2].messages if text not in merged[0].messages], [])
                checked = 0
                for wrapper in merged[0].parameters:
                    of = [list(each.experts(wrapper, each.base, ())) for each in merged]
                    for (module, _, update), (_, _, probe), (_, _, found) in zip(*of):
                        difference = (found - formula(update, probe)).norm() / update.norm()
                        self.assertLess(float(difference), 1e-6, f"{name} {repair} {module}")
                        checked += 1
                self.assertEqual(checked, 2 * 2 * 4)

    @staticmethod
    def deflected(update, probe):
        left = torch.linalg.svd(probe, full_matrices=False).U[:, :2]
        return update - left @ (left.T @ update)

    def test_a_probe_on_experts(self):
        """With checkpoints and without: modules are named otherwise, what an adapter has in common with a probe is not."""
        for name in ("qwen3-moe", "gpt-oss"):
            root, cosines = self.directory / name, {}
            for case, options in (("pair", ["--base", root / "base", "--aligned", root / "aligned"]), ("alone", [])):
                path = self.directory / f"{name}-probe-{case}.h5"
                run(["audit", "--probe", f"harmful={root / 'adapters' / 'down'}", "--report", path, *options,
                     *(word for adapter in ("both", "pattern") for word in ("--adapter", root / "adapters" / adapter))])
                report = Report(path)
                cosines[case] = [float(report.datasets["adapters/probe_cosine"][report.adapters.index(adapter)])
                                 for adapter in ("both", "pattern")]
            down, both, pattern = (self.updates(root, adapter) for adapter in ("down", "both", "pattern"))
            for update, found, alone in zip((both, pattern), cosines["pair"], cosines["alone"]):
                dot = sum(float((update[module] * probe).sum()) for module, probe in down.items())
                of_update, of_probe = (sum(float((of[module]**2).sum()) for module in down)**0.5 for of in (update, down))
                self.assertAlmostEqual(found, dot / (of_update * of_probe), delta=1e-6, msg=name)
                self.assertAlmostEqual(alone, found, delta=1e-9, msg=name)

    @staticmethod
    def updates(root, adapter):
        merged = reference.Merged(root / "base", root / "adapters" / adapter)
        return {module: update for wrapper in merged.parameters
                for module, _, update in merged.experts(wrapper, merged.base, ())}

    def test_a_name_that_says_nothing_is_not_judged(self):
        """Without target_parameters nobody knows what factors are of; a parameter of which the order is not known."""
        root, source = self.directory / "mixtral", self.directory / "mixtral" / "adapters" / "mixed"
        for case, targets in (("none", None), ("one", ["mlp.experts.down_proj"]),
                              ("unknown", ["mlp.experts.gate_up_proj", "mlp.experts.other"])):
            adapter = self.directory / f"nameless-{case}"
            shutil.copytree(source, adapter)
            config = json.loads((adapter / "adapter_config.json").read_text())
            (adapter / "adapter_config.json").write_text(json.dumps({**config, "target_parameters": targets}))
            path = self.directory / f"nameless-{case}.h5"
            run(["audit", "--base", root / "base", "--aligned", root / "aligned", "--report", path, "--adapter", adapter])
            report = Report(path)
            self.assertEqual(report.datasets["adapters/modules_not_judged"][0], 4, case)
            self.assertTrue(all(".o_proj" in module for module in report.modules), case)


if __name__ == "__main__":
    unittest.main()
