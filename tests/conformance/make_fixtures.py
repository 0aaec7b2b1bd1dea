#!/usr/bin/env python3
"""Writes tests/data/real: tiny models and adapters as released transformers and peft save them, and what PEFT makes of them.

    python3 make_fixtures.py [OUTPUT]        default: ../data/real

    OUTPUT/versions.json                     generator, package versions
    OUTPUT/<model>/base, aligned             checkpoints in bfloat16; aligned = base + a perturbation of rank 6 + rounding
    OUTPUT/<model>/adapters/<name>           adapters with B != 0
    OUTPUT/<model>/expected.json             per adapter: status, and per module the metrics in dense float64

Seeds are fixed: the same package versions on the same kind of processor write the same files.
"""

import json
import math
import os
import platform
import shutil
import sys
import warnings
import zlib
from importlib.metadata import version
from pathlib import Path

import peft_reference as reference  # sets the offline variables before transformers is imported
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.pytorch_utils import Conv1D

PERTURBATION_RANK = 6


def llama():
    return LlamaForCausalLM(LlamaConfig(
        hidden_size=48, intermediate_size=112, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, vocab_size=160, max_position_embeddings=64, tie_word_embeddings=True))


def qwen2():
    return Qwen2ForCausalLM(Qwen2Config(
        hidden_size=40, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=120, max_position_embeddings=64, tie_word_embeddings=False))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(
        n_embd=48, n_layer=3, n_head=4, vocab_size=128, n_positions=64, bos_token_id=0, eos_token_id=0))


def gpt2_bare():
    return GPT2LMHeadModel(GPT2Config(
        n_embd=16, n_layer=12, n_head=2, vocab_size=64, n_positions=32, bos_token_id=0, eos_token_id=0))


def phi3():
    return Phi3ForCausalLM(Phi3Config(
        hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=128, max_position_embeddings=64, original_max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
        eos_token_id=2))


def qwen3_moe():
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(
        hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2, vocab_size=96,
        max_position_embeddings=64))


LLAMA_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GPT2_ALL = ["c_attn", "c_proj", "c_fc"]

# name: (maker, shard sizes of base and aligned, modules left as in base, adapters as {name: (options, config)})
# Options: "undo" makes the update a low-rank part of -V; "dtype" is that of the saved adapter; "expect" a quarantine
# with the words its reason must have; "keep_order" writes the patterns in the order given here, where PEFT sorts them:
# the first match in the file decides, so a reader that sorts gets another scale.
MODELS = {
    "llama": (llama, ("80KB", "120KB"), [], {
        "plain": ({}, dict(r=4, lora_alpha=8, target_modules=LLAMA_ALL)),
        "plain-bf16": ({"dtype": torch.bfloat16}, dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
        "rslora": ({}, dict(r=8, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"])),
        "patterns": ({"keep_order": True}, dict(
            r=4, lora_alpha=8, target_modules=LLAMA_ALL,
            rank_pattern={"layers.0.self_attn.q_proj": 2, "q_proj": 6, r"layers\.(?!3\.)\d+\.mlp\.(gate|up)_proj": 3,
                          "model.layers.3.mlp.down_proj": 5},
            alpha_pattern={"self_attn.q_proj": 3, "layers.0.self_attn.q_proj": 99, r".*\.mlp\..*": 5, "o_proj": 12})),
        "patterns-rslora": ({}, dict(
            r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "k_proj", "up_proj"],
            rank_pattern={r"layers\.[02]\.self_attn\..*": 9}, alpha_pattern={"k_proj": 2, "^model.layers.1.*": 6})),
        "patterns-unmatched": ({}, dict(
            r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], rank_pattern={"^q_proj": 7, "v_proj": 3},
            alpha_pattern={"layers.1": 40, "^model.layers.2.self_attn.v_proj": 2})),
        "regex-lookahead": ({}, dict(
            r=4, lora_alpha=8, target_modules=r".*layers\.(?!0\.)\d+\.(self_attn\.(q|v)_proj|mlp\.down_proj)$")),
        "layers-to-transform": ({}, dict(
            r=4, lora_alpha=8, target_modules=["k_proj", "o_proj"], layers_to_transform=[0, 2], layers_pattern="layers")),
        "exclude": ({}, dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
                             exclude_modules=r".*layers\.1\..*")),
        "undoing": ({"undo": 0.5}, dict(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj"])),
        "lm-head-tied": ({"embedding": True}, dict(r=4, lora_alpha=8, target_modules=["lm_head", "q_proj"])),
        "dora": ({"expect": "dora"}, dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "v_proj"])),
        "pissa": ({"expect": "pissa"}, dict(r=4, lora_alpha=4, init_lora_weights="pissa",
                                            target_modules=["q_proj", "v_proj"])),
    }),
    "qwen2": (qwen2, (None, None), ["model.layers.2.mlp.down_proj"], {
        "plain": ({}, dict(r=4, lora_alpha=8, init_lora_weights="gaussian", target_modules=LLAMA_ALL)),
        "lora-bias": ({}, dict(r=4, lora_alpha=8, lora_bias=True, target_modules=["q_proj", "k_proj", "v_proj"])),
        "modules-to-save": ({"embedding": True}, dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"],
                                                      modules_to_save=["lm_head"])),
        "lm-head": ({"embedding": True}, dict(r=4, lora_alpha=8, target_modules=["lm_head", "o_proj"])),
        "embedding": ({"embedding": True}, dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "v_proj"])),
        "trainable-tokens": ({}, dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"],
                                      trainable_token_indices=[1, 5, 7])),
        "pissa-niter": ({"expect": "pissa"}, dict(r=4, lora_alpha=4, init_lora_weights="pissa_niter_4",
                                                  target_modules=["o_proj", "up_proj"])),
        "pissa-converted": ({"convert": True}, dict(r=4, lora_alpha=4, init_lora_weights="pissa",
                                                    target_modules=["q_proj", "o_proj", "up_proj"])),
        "olora": ({"expect": "olora"}, dict(r=4, lora_alpha=4, init_lora_weights="olora", target_modules=["q_proj"])),
    }),
    "gpt2": (gpt2, (None, "100KB"), [], {
        "plain": ({}, dict(r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=GPT2_ALL)),
        "attention": ({}, dict(r=8, lora_alpha=16, fan_in_fan_out=True, use_rslora=True, target_modules=["c_attn"])),
        "square": ({}, dict(r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=["attn.c_proj"])),
        "lora-bias": ({}, dict(r=4, lora_alpha=8, fan_in_fan_out=True, lora_bias=True,
                               target_modules=["c_attn", "mlp.c_proj"])),
        "modules-to-save": ({}, dict(r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=["c_fc"],
                                     modules_to_save=["ln_f"])),
        "dora": ({"expect": "dora"}, dict(r=4, lora_alpha=8, fan_in_fan_out=True, use_dora=True,
                                          target_modules=["c_attn"])),
    }),
    "gpt2-bare": (gpt2_bare, (None, None), [], {
        "patterns": ({}, dict(r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=["c_attn", "c_fc"],
                              rank_pattern={"h.1.attn.c_attn": 2, "h.1.*.c_fc": 3}, alpha_pattern={"h.11.*": 32})),
    }),
    "phi3": (phi3, (None, None), ["model.layers.1.self_attn.o_proj"], {
        "plain": ({}, dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])),
        "fused-patterns": ({}, dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj"],
                                    rank_pattern={"gate_up_proj": 6}, alpha_pattern={r".*[13]\..*qkv_proj": 32})),
        "all-linear": ({"dtype": torch.float16}, dict(r=2, lora_alpha=4, target_modules="all-linear")),
        "pissa": ({"expect": "pissa"}, dict(r=4, lora_alpha=4, init_lora_weights="pissa", target_modules=["qkv_proj"])),
    }),
    # PEFT targets routers and experts through target_parameters; the experts' factors are stacked.
    "qwen3-moe": (qwen3_moe, (None, None), [], {
        "all-linear": ({}, dict(r=2, lora_alpha=4, target_modules="all-linear")),
        "attention": ({}, dict(r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"])),
    }),
}


def seed(*words):
    torch.manual_seed(zlib.crc32("/".join(words).encode()))


def round_to_bf16(model):
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)


def perturb(model, unchanged):
    """Adds to every matrix a part of rank 6 with falling singular values and a little noise, and noise to every bias."""
    for name, module in model.named_modules():
        if name in unchanged or name == "lm_head" and model.config.tie_word_embeddings:
            continue
        bias = getattr(module, "bias", None)
        if isinstance(bias, torch.Tensor):
            bias.data += 0.002 * torch.randn(bias.shape)
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
            continue
        rows, columns = weight.shape
        rank = min(PERTURBATION_RANK, rows, columns)
        left = torch.linalg.qr(torch.randn(rows, rank)).Q
        right = torch.linalg.qr(torch.randn(columns, rank)).Q
        singular = 0.12 * float(weight.norm()) * torch.linspace(1.0, 0.4, rank)
        weight.data += (left * singular) @ right.T + 1e-5 * torch.randn(rows, columns)


def save_checkpoint(model, directory, shard_size, bare):
    saved = type(model)(model.config).to(torch.bfloat16)
    saved.load_state_dict(model.state_dict())
    saved = saved.transformer if bare else saved
    saved.save_pretrained(directory, **({"max_shard_size": shard_size} if shard_size else {}))
    for leftover in directory.glob("generation_config.json"):
        leftover.unlink()


def lora_layers(peft_model):
    return {name: layer for name, layer in peft_model.base_model.model.named_modules()
            if hasattr(layer, "lora_A") and "default" in layer.lora_A}


def train(peft_model, updates):
    """Stands for training: gives every trainable tensor plausible values, B above all."""
    for name, parameter in peft_model.named_parameters():
        if not parameter.requires_grad:
            continue
        if "lora_B" in name or "lora_embedding_A" in name:
            parameter.data += 0.02 * torch.randn(parameter.shape)
        else:  # A, magnitudes, modules to save, token embeddings
            parameter.data += 0.05 * parameter.data.std().nan_to_num(1.0) * torch.randn(parameter.shape)
    for name, update in updates.items():
        layer = lora_layers(peft_model)[name]
        rank, scale = layer.r["default"], layer.scaling["default"]
        left, singular, right = torch.linalg.svd(update / scale, full_matrices=False)
        root = singular[:rank].sqrt()
        layer.lora_B["default"].weight.data = (left[:, :rank] * root).float()
        layer.lora_A["default"].weight.data = (root[:, None] * right[:rank]).float()


def write_adapter(model_name, adapter_name, options, config, base_directory, aligned_weights, directory):
    seed(model_name, adapter_name)
    model = reference.load_base(base_directory, torch.float32)
    model.name_or_path = model.config._name_or_path = f"winnow-fixtures/{model_name}"
    base_weights = reference.module_weights(model)
    peft_model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    extra = {}
    if "convert" in options:  # PEFT's recipe: the state before training, then the difference to it
        initial = directory.parent / "initial"
        peft_model.peft_config["default"].init_lora_weights = True
        peft_model.save_pretrained(initial, save_embedding_layers=False)
        peft_model.peft_config["default"].init_lora_weights = config["init_lora_weights"]
        extra["path_initial_model_for_weight_conversion"] = str(initial)
    updates = {}
    if "undo" in options:
        for name in lora_layers(peft_model):
            updates[name] = -options["undo"] * (aligned_weights[name].double() - base_weights[name].double())
    train(peft_model, updates)
    if "dtype" in options:
        for parameter in peft_model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(options["dtype"])
    peft_model.save_pretrained(directory, save_embedding_layers="auto" if "embedding" in options else False, **extra)
    if "convert" in options:
        shutil.rmtree(directory.parent / "initial")
        text = (directory / "adapter_config.json").read_text()
        if str(directory.parent) in text:
            raise RuntimeError(f"{directory}: a path of this machine in adapter_config.json")
    if "keep_order" in options:
        path = directory / "adapter_config.json"
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({**saved, **{key: config[key] for key in ("rank_pattern", "alpha_pattern")}}, indent=2))
    (directory / "README.md").unlink(missing_ok=True)  # the model card template


def write_model(root, model_name):
    maker, shard_sizes, unchanged, adapters = MODELS[model_name]
    directory = root / model_name
    shutil.rmtree(directory, ignore_errors=True)
    bare = model_name.endswith("-bare")
    seed(model_name)
    model = maker()
    for module in model.modules():  # biases start at zero; real ones are not
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module.bias is not None:
            module.bias.data = 0.02 * torch.randn(module.bias.shape)
    round_to_bf16(model)
    save_checkpoint(model, directory / "base", shard_sizes[0], bare)
    perturb(model, unchanged)
    save_checkpoint(model, directory / "aligned", shard_sizes[1], bare)

    aligned_weights = reference.module_weights(reference.load_base(directory / "aligned", torch.float64))
    expected = {}
    for name, (options, config) in adapters.items():
        adapter = directory / "adapters" / name
        write_adapter(model_name, name, options, config, directory / "base", aligned_weights, adapter)
        if "expect" in options:
            expected[name] = {"status": "quarantined", "reason": options["expect"]}
        else:
            modules = reference.expected_of_adapter(directory / "base", aligned_weights, adapter)
            expected[name] = {"status": "ok", "modules": modules}
    (directory / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    return expected


def main():
    if os.environ.get("PYTHONHASHSEED") != "0":  # PEFT writes target_modules in the order of a set
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    warnings.simplefilter("ignore")
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "data" / "real")
    root.mkdir(parents=True, exist_ok=True)
    for model_name in MODELS:
        expected = write_model(root, model_name)
        scored = sum(len(entry.get("modules", {})) for entry in expected.values())
        finite = all(math.isfinite(value) for entry in expected.values() for module in entry.get("modules", {}).values()
                     for value in module.values() if value is not None)
        print(f"{model_name}: {len(expected)} adapters, {scored} scored modules, finite: {finite}")
    packages = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy")
    versions = {"generator": "tests/conformance/make_fixtures.py", "python": platform.python_version(),
                **{package: version(package) for package in packages}}
    (root / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
