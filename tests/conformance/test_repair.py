"""Pruned adapters load in PEFT without a warning, and merge to exactly the kept modules' update; adapters repaired in
another way merge to what the formula makes of the dense updates.

What vLLM and llama.cpp need of an adapter cannot be tried here; it is written down as checks on the files.
"""

import json
import shutil
import unittest

import peft_reference as reference
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from winnow_program import REAL, Report, TemporaryDirectoryCase, audit, needs_winnow, run

MODELS = sorted(path.parent.name for path in REAL.glob("*/expected.json"))
PREFIX = "base_model.model."


def parent_of(parameter):
    return parameter.rpartition(".")[0]


def is_parameter(module, config, fused=True):
    """Whether PEFT targets the module's weight as a parameter, as it does with routers (and all in fused experts)."""
    entries = config.get("target_parameters") or []
    if fused and entries and module.endswith((".experts", ".base_layer")):
        return True
    return any(f".{module}.weight".endswith(f".{entry}") for entry in entries)


def is_expert(module):
    return ".experts." in module


def check_files(case, source, written, pruned, repair):
    """The written files against what PEFT, vLLM and llama.cpp read of them. Fused experts stay in them, whichever are
    pruned; check_merge says of what is left of each."""
    experts = [module for module in pruned if is_expert(module)]
    pruned = [module for module in pruned if not is_expert(module)]
    before = json.loads((source / "adapter_config.json").read_text())
    after = json.loads((written / "adapter_config.json").read_text())
    with safe_open(source / "adapter_model.safetensors", "pt") as file:
        old = {key: file.get_tensor(key) for key in file.keys()}
    with safe_open(written / "adapter_model.safetensors", "pt") as file:
        new = {key: file.get_tensor(key) for key in file.keys()}
        case.assertEqual(file.metadata().get("format"), "pt")
    with open(written / "adapter_model.safetensors", "rb") as file:
        case.assertEqual((8 + int.from_bytes(file.read(8), "little")) % 8, 0, "data not aligned to 8 bytes")

    # vLLM and llama.cpp: these three must be there, and an adapter is never empty.
    for key in ("r", "lora_alpha"):
        case.assertTrue(after.get(key), f"{key} is missing")
    modules = {key.split(".lora_")[0].removeprefix(PREFIX) for key in new if ".lora_" in key}
    if all(is_parameter(module, before) for module in modules):
        case.assertEqual(after["target_modules"], [])  # null is PEFT's own choice for the model
    else:
        case.assertTrue(after.get("target_modules"), "target_modules is missing")
    factors = {kind: {key.rsplit(f".{kind}", 1)[0] for key in new if f".{kind}." in key} for kind in ("lora_A", "lora_B")}
    case.assertEqual(factors["lora_A"], factors["lora_B"], "half of a LoRA pair")
    case.assertTrue(factors["lora_A"] or any("lora_embedding_A" in key for key in new))
    case.assertFalse([rank for rank in (after.get("rank_pattern") or {}).values() if rank < 1], "PEFT refuses rank 0")

    of_pruned = {key for key in old for module in pruned if key.startswith(f"{PREFIX}{module}.lora_")}
    case.assertTrue(of_pruned or not pruned)
    blocks = {key for key in old if ".experts." in key and ".lora_B." in key} if experts else set()
    if repair == "drop":
        case.assertFalse(of_pruned & set(new), "a pruned module's factors are still there")
        extra = {key for key in old if any(key.startswith(f"{PREFIX}{module}.") for module in pruned)} - of_pruned
        case.assertEqual(set(old) - of_pruned - extra, set(new) - extra)
        if pruned:
            case.assertIsInstance(after["target_modules"], list)
            lora = {key.split(".lora_")[0].removeprefix(PREFIX) for key in new if ".lora_" in key}
            lora -= {module for module in lora if is_parameter(module, before)}
            case.assertEqual(set(after["target_modules"]), lora)
            case.assertFalse([module for module in pruned if is_parameter(module, after, fused=False)],
                             "target_parameters still has a pruned module")
            for key in ("layers_to_transform", "layers_pattern", "exclude_modules"):
                case.assertFalse(after.get(key), f"{key} would leave out or catch other modules")
    else:
        case.assertEqual(set(new), set(old))
        for key in of_pruned:
            if ".lora_B" in key:
                case.assertFalse(bool(new[key].any()), f"{key} is not zero")
    for key in set(new) - of_pruned:
        case.assertEqual(new[key].dtype, old[key].dtype, key)
        if key in blocks:
            continue
        case.assertTrue(torch.equal(new[key], old[key]), f"{key} changed")
    may_change = {"target_modules", "target_parameters", "layers_to_transform", "layers_pattern", "exclude_modules", "rank_pattern",
                  "alpha_pattern"}
    for key in set(before) | set(after):
        if key not in may_change:
            case.assertEqual(after.get(key), before.get(key), f"{key} of adapter_config.json changed")


def without_experts(block, untouched, parts, pruned):
    block = block.clone()
    rows = block.shape[1] // len(parts)
    for expert in range(block.shape[0]):
        for k, part in enumerate(parts):
            if part.format(expert) in pruned:
                block[expert, k * rows:(k + 1) * rows] = untouched[expert, k * rows:(k + 1) * rows]
    return block


def check_merge(case, base, source, written, pruned):
    """Merged weights: pruned modules are the base's, all others those of the whole adapter, bit for bit."""
    whole = reference.Merged(base, source, torch.float32)
    repaired = reference.Merged(base, written, torch.float32)
    # What PEFT says of the whole adapter as well (a pattern that matches nothing, tied embeddings) is not the pruning's.
    case.assertEqual([text for text in repaired.messages if text not in whole.messages], [], "PEFT has something to say")
    untouched = reference.load_base(base, torch.float32).state_dict()
    pruned = set(pruned)
    if "lm_head" in pruned and untouched["lm_head.weight"].data_ptr() == untouched["model.embed_tokens.weight"].data_ptr():
        pruned.add("model.embed_tokens")
    blocks, tensors = {parameter for parameter, _ in whole.parameters.values()}, reference.tensors_of(base)
    changed = 0
    case.assertEqual(sorted(repaired.state), sorted(whole.state))
    for name, tensor in repaired.state.items():
        expected = untouched[name] if parent_of(name) in pruned else whole.state[name]
        if name in blocks:
            expected = without_experts(expected, untouched[name], reference.stored_experts(name, tensors), pruned)
        case.assertTrue(torch.equal(tensor, expected), f"{name} is not bit for bit what it must be")
        changed += not torch.equal(tensor, untouched[name])
    case.assertGreater(changed, 0, "nothing left of the adapter")
    for name in repaired.lora:
        case.assertEqual(repaired.lora[name], whole.lora[name], f"rank, alpha or scale of {name}")


@needs_winnow
class Repair(TemporaryDirectoryCase):
    def pruned_of(self, report, adapter, expected):
        """The modules to prune as PEFT names them."""
        action = report.action(adapter)
        return [module for module in expected["modules"] if action[report.name_of(module)] == 2]

    def check_adapter(self, model, name, entry, report, written, repair):
        pruned = self.pruned_of(report, name, entry)
        source = REAL / model / "adapters" / name
        with safe_open(source / "adapter_model.safetensors", "pt") as file:
            embeddings = [key for key in file.keys() if "lora_embedding_A" in key]
        if len(pruned) == len(entry["modules"]) and not embeddings:
            self.assertFalse(written.exists(), "an adapter without modules was written")
            return 0
        self.assertTrue(written.is_dir())
        check_files(self, source, written, pruned, repair)
        check_merge(self, REAL / model / "base", source, written, pruned)
        return len(pruned)

    def check_audit(self, model, repair, policy, ranks):
        directory = self.directory / f"{model}-{repair}-{policy.replace(':', '')}-{ranks}"
        path = directory.with_suffix(".h5")
        audit(REAL / model, path, "--repair", repair, "--repaired-dir", directory, "--select", policy, ranks=ranks)
        report = Report(path)
        total = 0
        for name, entry in json.loads((REAL / model / "expected.json").read_text()).items():
            with self.subTest(model=model, adapter=name, repair=repair, policy=policy):
                if entry["status"] != "ok":
                    self.assertFalse((directory / name).exists(), "a quarantined adapter was written")
                    continue
                total += self.check_adapter(model, name, entry, report, directory / name, repair)
        self.assertGreater(total, 0, "nothing was pruned: the test shows nothing")
        names = {entry.name for entry in directory.iterdir()}
        self.assertLessEqual(names, set(report.adapters), "something else was left behind")

    def test_drop(self):
        for model in MODELS:
            self.check_audit(model, "drop", "prune-top:3", ranks=1)

    def test_zero(self):
        for model in MODELS:
            self.check_audit(model, "zero", "prune-top:3", ranks=2)

    def test_keep_top(self):
        """Few modules left: most pattern keys and layers go."""
        for model in ("llama", "gpt2-bare", "phi3", "qwen3-moe"):
            self.check_audit(model, "drop", "keep-top:2", ranks=3)

    def test_nothing_pruned(self):
        """The adapter comes out as it went in, weights and config."""
        for repair in ("drop", "zero"):
            directory = self.directory / f"whole-{repair}"
            audit(REAL / "qwen2", self.directory / f"whole-{repair}.h5", "--repair", repair, "--repaired-dir", directory,
                  "--select", "threshold:1e300", adapters=["plain", "embedding", "lora-bias"])
            for name in ("plain", "embedding", "lora-bias"):
                with self.subTest(adapter=name, repair=repair):
                    source = REAL / "qwen2" / "adapters" / name
                    check_files(self, source, directory / name, [], repair)
                    check_merge(self, REAL / "qwen2" / "base", source, directory / name, [])

    def test_all_pruned(self):
        directory = self.directory / "none"
        done = audit(REAL / "gpt2", self.directory / "none.h5", "--repair", "drop", "--repaired-dir", directory, "--select",
                     "prune-top:1000", adapters=["square", "attention"])
        self.assertEqual([path.name for path in directory.iterdir()] if directory.exists() else [], [])
        self.assertIn("square", done.stdout + done.stderr)

    def test_prune_from_a_report(self):
        """`winnow prune` does afterwards what `audit --repair` does at once, and can decide anew."""
        model = "llama"
        path = self.directory / "prune.h5"
        audit(REAL / model, path, "--select", "prune-top:3")
        report = Report(path)
        expected = json.loads((REAL / model / "expected.json").read_text())
        for repair in ("drop", "zero"):
            for name in ("plain", "patterns", "regex-lookahead", "layers-to-transform", "lm-head-tied"):
                with self.subTest(adapter=name, repair=repair):
                    written = self.directory / f"prune-{repair}" / name
                    written.parent.mkdir(exist_ok=True)
                    run(["prune", "--report", path, "--adapter", REAL / model / "adapters" / name, "--output", written,
                         "--repair", repair])
                    self.check_adapter(model, name, expected[name], report, written, repair)
        written = self.directory / "anew"
        source = REAL / model / "adapters" / "plain"
        run(["prune", "--report", path, "--adapter", source, "--output", written, "--select", "prune-top:5", "--rank-by",
             "alignment_removed"])
        removed = report.metric("alignment_removed", "plain")
        worst = sorted(expected["plain"]["modules"], key=lambda module: (-removed[module], module))[:5]
        check_files(self, source, written, worst, "drop")
        check_merge(self, REAL / model / "base", source, written, worst)

    def test_prune_refuses_another_adapter(self):
        """The report is of one adapter's weights; others under its name are not pruned by it."""
        path = self.directory / "other.h5"
        audit(REAL / "llama", path, adapters=["plain"])
        other = self.directory / "plain"
        shutil.copytree(REAL / "llama" / "adapters" / "rslora", other)
        run(["prune", "--report", path, "--adapter", other, "--output", self.directory / "refused"], expect=3)
        self.assertFalse((self.directory / "refused").exists())


DIRECTIONS = 3


def subspace(update, count):
    """The leading singular vectors of a dense update, as columns; fewer where its rank is lower."""
    u, values, vt = torch.linalg.svd(update, full_matrices=False)
    count = min(count, int((values > 1e-9 * values[0]).sum()))
    return u[:, :count], vt[:count].T


def span(columns):
    u, values, _ = torch.linalg.svd(torch.cat(columns, 1), full_matrices=False)
    return u[:, values > 1e-6]


def by_formula(update, probes, repair, side, strength):
    """The repaired update, from dense updates in float64 (methods: repairs by probe)."""
    if repair == "subtract":
        return update - strength * sum(probes)
    spaces = [subspace(probe, DIRECTIONS) for probe in probes]
    u, v = span([left for left, _ in spaces]), span([right for _, right in spaces])
    if side == "left":
        return update - strength * u @ (u.T @ update)
    if side == "right":
        return update - strength * (update @ v) @ v.T
    return update - strength * u @ (u.T @ update @ v) @ v.T


class RepairedModules(TemporaryDirectoryCase):
    """Against PEFT's own merged weights, in float64."""

    def compare(self, model, name, arguments, expected_of, keeps_rank=False, experts=None):
        """Runs prune and holds every module's merged update against expected_of(module, update, before), and of fused experts
        against experts(wrapper), updates in their order; None: it stays."""
        source, base = REAL / model / "adapters" / name, REAL / model / "base"
        written = self.directory / "-".join([model, name, *(str(argument).replace("/", "_") for argument in arguments)])[-200:]
        self.done = done = run(["prune", "--adapter", source, "--output", written, *arguments])
        before, after = reference.Merged(base, source), reference.Merged(base, written)
        self.assertEqual([text for text in after.messages if text not in before.messages], [], "PEFT has something to say")
        self.assertEqual(set(after.lora), set(before.lora))
        repaired = set()
        for module in before.lora:
            if module in before.parameters and (wanted := experts(module) if experts else None):
                repaired.add(module)
                self.assertEqual(after.lora[module], before.lora[module])
                for (expert, _, found), one in zip(after.experts(module, after.base, ()), wanted, strict=True):
                    self.assertLess(float((found - one).norm() / one.norm()), self.tolerance(source), expert)
                continue
            update = before.update(module) if module in before.base else None
            expected = None if update is None else expected_of(module, update, before)
            self.assertAlmostEqual(after.lora[module]["scale"], before.lora[module]["scale"], delta=1e-12)
            if expected is None:
                for old, new in zip(before.factors[module], after.factors[module]):
                    self.assertTrue(torch.equal(old, new), f"{module} changed")
                self.assertEqual(after.lora[module], before.lora[module])
                continue
            repaired.add(module)
            error = (after.update(module) - expected).norm() / torch.maximum(update.norm(), expected.norm())
            self.assertLess(error.item(), self.tolerance(source), module)
            if keeps_rank:
                self.assertEqual(after.lora[module], before.lora[module])
        self.assertTrue(repaired)
        self.check_files(source, written, before, repaired, done)
        return before, after

    @staticmethod
    def tolerance(source):
        with safe_open(source / "adapter_model.safetensors", "pt") as file:
            dtypes = {file.get_tensor(key).dtype for key in file.keys()}
        return 1e-6 if dtypes == {torch.float32} else 2e-2

    def check_files(self, source, written, before, repaired, done):
        """Tensors of other modules bit for bit, and what vLLM reads: r is the largest rank, lora_alpha / r the scale."""
        with safe_open(source / "adapter_model.safetensors", "pt") as file:
            old = {key: file.get_tensor(key) for key in file.keys()}
        with safe_open(written / "adapter_model.safetensors", "pt") as file:
            new = {key: file.get_tensor(key) for key in file.keys()}
        self.assertEqual(list(old), list(new))
        for key in old:
            self.assertEqual(old[key].dtype, new[key].dtype, key)
            if key.split(".lora_")[0].removeprefix(PREFIX) not in repaired:
                self.assertTrue(torch.equal(old[key], new[key]), f"{key} changed")
        config = json.loads((written / "adapter_config.json").read_text())
        ranks = [tensor.shape[0] for key, tensor in new.items() if ".lora_A." in key]
        if max(ranks) > max(tensor.shape[0] for key, tensor in old.items() if ".lora_A." in key):
            self.assertEqual(config["r"], max(ranks))
        scales = {entry["scale"] for entry in before.lora.values()}
        if len(scales) == 1:
            root = 0.5 if config.get("use_rslora") else 1.0
            self.assertAlmostEqual(config["lora_alpha"] / config["r"] ** root, scales.pop(), delta=1e-12)
        if set(ranks) == {config["r"]} and not config.get("use_rslora"):
            told = ("alignment did not change", "of its tensors stay")  # which llama.cpp does not ignore
            said = [line for line in done.stderr.splitlines() if not any(text in line for text in told)]
            self.assertEqual(said, [], "nothing here that llama.cpp ignores")


@needs_winnow
class RepairByProbes(RepairedModules):
    def check(self, model, name, probe_names, repair, side="block", strength=1.0):
        probes = [REAL / model / "adapters" / probe for probe in probe_names]
        others = [reference.Merged(REAL / model / "base", probe) for probe in probes]
        arguments = ["--repair", repair, "--lambda", strength]
        for probe in probes:
            arguments += ["--probe", f"harmful={probe}"]
        if repair == "deflect":
            arguments += ["--side", side, "--directions", DIRECTIONS]

        def expected(module, update, _):
            having = [other.update(module) for other in others if module in other.lora]
            return by_formula(update, having, repair, side, strength) if having else None

        def experts(wrapper):
            having = [[update for _, _, update in other.experts(wrapper, other.base, ())] for other in others
                      if wrapper in other.parameters]
            own = reference.Merged(REAL / model / "base", REAL / model / "adapters" / name)
            return [by_formula(update, list(probes), repair, side, strength) for (_, _, update), *probes in
                    zip(own.experts(wrapper, own.base, ()), *having)] if having else None

        return self.compare(model, name, arguments, expected, keeps_rank=side != "block", experts=experts)

    def test_deflect(self):
        for side in ("block", "left", "right"):
            for name in ("plain", "rslora", "patterns", "patterns-rslora", "exclude", "lm-head-tied", "plain-bf16"):
                with self.subTest(adapter=name, side=side):
                    self.check("llama", name, ["undoing"], "deflect", side)
            self.check("llama", "layers-to-transform", ["plain"], "deflect", side)

    def test_strength(self):
        for side in ("block", "left", "right"):
            self.check("llama", "plain", ["rslora"], "deflect", side, 0.25)
        self.check("llama", "plain", ["undoing"], "subtract", strength=2.5)

    def test_subtract(self):
        for name in ("plain", "rslora", "patterns", "patterns-rslora", "regex-lookahead", "plain-bf16"):
            with self.subTest(adapter=name):
                self.check("llama", name, ["undoing"], "subtract")

    def test_probe_of_some_modules(self):
        """The others stay, and patterns tell PEFT of both ranks."""
        before, after = self.check("llama", "plain", ["layers-to-transform"], "deflect")
        ranks = {entry["rank"] for entry in after.lora.values()}
        self.assertGreater(len(ranks), 1)
        self.check("llama", "plain", ["layers-to-transform"], "subtract")
        self.check("llama", "rslora", ["exclude"], "subtract")

    def test_several_probes(self):
        for repair in ("deflect", "subtract"):
            self.check("llama", "plain", ["undoing", "layers-to-transform", "rslora"], repair, strength=0.5)

    def test_itself(self):
        """All is taken out; what is left still loads."""
        before, after = self.check("llama", "plain", ["plain"], "subtract")
        self.assertEqual(after.lora, before.lora)
        self.check("llama", "plain", ["plain"], "deflect")

    def test_transposed_weights(self):
        """GPT-2 stores its weights [in, out]; factors are as everywhere."""
        for side in ("block", "left", "right"):
            self.check("gpt2", "plain", ["attention"], "deflect", side)
        self.check("gpt2", "square", ["plain"], "subtract")

    def test_biases_and_whole_weights_stay(self):
        self.check("gpt2", "lora-bias", ["plain"], "deflect")
        self.check("gpt2", "modules-to-save", ["plain"], "deflect", "left")

    def test_dora_is_refused(self):
        for adapter, probe, words in (("dora", "plain", "the adapter cannot be repaired: it is a DoRA adapter"),
                                      ("plain", "dora", "the probe cannot be used: it is a DoRA adapter")):
            done = run(["prune", "--repair", "deflect", "--adapter", REAL / "llama" / "adapters" / adapter, "--probe",
                        f"harmful={REAL / 'llama' / 'adapters' / probe}", "--output", self.directory / "dora"], expect=3)
            self.assertIn(words, done.stderr)
            self.assertFalse((self.directory / "dora").exists())

    def test_parameters(self):
        """A router is a bare parameter, whose rank no pattern reaches."""
        model = REAL / "qwen3-moe" / "adapters"
        for path in sorted(model.iterdir()):
            config = json.loads((path / "adapter_config.json").read_text())
            if not config.get("target_parameters"):
                continue
            with self.subTest(adapter=path.name):
                self.check("qwen3-moe", path.name, [path.name], "deflect", "left", 0.5)
                self.check("qwen3-moe", path.name, ["attention"], "deflect")  # ranks rise, the router's does not


@needs_winnow
class RepairByAdapters(RepairedModules):
    def check(self, model, name, others, weights):
        paths = [REAL / model / "adapters" / other for other in others]
        added = [reference.Merged(REAL / model / "base", path) for path in paths]
        arguments = ["--repair", "merge", "--weights", ",".join(map(str, weights))]
        for path in paths:
            arguments += ["--with", path]

        def expected(module, update, _):
            return weights[0] * update + sum(weight * other.update(module)
                                             for weight, other in zip(weights[1:], added) if module in other.lora)

        return self.compare(model, name, arguments, expected)

    def test_merge(self):
        for name, other in (("plain", "undoing"), ("patterns", "undoing"), ("plain", "patterns-rslora"), ("rslora", "exclude"),
                            ("plain-bf16", "exclude"), ("undoing", "plain-bf16")):
            with self.subTest(adapter=name, other=other):
                self.check("llama", name, [other], (0.8, 0.2))
        self.check("llama", "plain", ["layers-to-transform", "rslora"], (0.5, 2, 0.25))
        self.check("gpt2", "plain", ["square", "attention"], (1, 0.8, 0.2))

    def test_what_would_be_lost_is_refused(self):
        for name, other, words in (("layers-to-transform", "plain", "has no module model.layers."),
                                   ("plain", "lm-head-tied", "a tensor of the adapter cannot be merged: base weight that "
                                    "PEFT puts in the place of the model's")):
            done = run(["prune", "--repair", "merge", "--adapter", REAL / "llama" / "adapters" / name, "--with",
                        REAL / "llama" / "adapters" / other, "--weights", "0.8,0.2", "--output", self.directory / "lost"],
                       expect=3)
            self.assertIn(words, done.stderr)
        for name, other in (("plain", "lora-bias"), ("lora-bias", "plain"), ("plain", "modules-to-save")):
            done = run(["prune", "--repair", "merge", "--adapter", REAL / "gpt2" / "adapters" / name, "--with",
                        REAL / "gpt2" / "adapters" / other, "--weights", "0.8,0.2", "--output", self.directory / "lost"],
                       expect=3)
            self.assertIn("a tensor of the adapter cannot be merged", done.stderr)
        self.assertFalse((self.directory / "lost").exists())


@needs_winnow
class RepairAlone(RepairedModules):
    def test_scale(self):
        for factor in (0.3, 4):
            for name in ("plain", "rslora", "patterns", "plain-bf16"):
                with self.subTest(adapter=name, factor=factor):
                    self.compare("llama", name, ["--repair", "scale", "--factor", factor],
                                 lambda module, update, before, by=factor: by * update, keeps_rank=True)


def safe_lora(v, update):
    """The published projection: C = V V^T / ||V||, and the update becomes C dW."""
    c = v @ v.T / torch.linalg.norm(v)
    return c @ update


@needs_winnow
class RepairByWeights(RepairedModules):
    ADAPTERS = {"llama": ("plain", "rslora", "patterns", "patterns-rslora", "exclude", "lm-head-tied", "layers-to-transform",
                          "plain-bf16", "undoing"),
                "gpt2": ("plain", "attention", "square", "lora-bias"),  # stored transposed
                "phi3": ("plain", "all-linear"), "qwen2": ("plain", "lm-head")}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.aligned = {}

    def step(self, model, module, before):
        """V of a module, [out, in]."""
        if model not in self.aligned:
            self.aligned[model] = reference.module_weights(reference.load_base(REAL / model / "aligned", torch.float64))
        return reference.linear(before.modules[module], self.aligned[model][module] - before.base[module])

    def check(self, model, name, repair, formula, *options, keeps_rank=False):
        arguments = ["--repair", repair, "--base", REAL / model / "base", "--aligned", REAL / model / "aligned", *options]

        def expected(module, update, before):
            v = self.step(model, module, before)
            return formula(v, update) if v.any() else None  # of two models alignment did not change a module

        before, after = self.compare(model, name, arguments, expected, keeps_rank)
        unmoved = [module for module in before.lora if not self.step(model, module, before).any()]
        said = f"alignment did not change the weights of {len(unmoved)} of its modules" in self.done.stderr
        self.assertEqual(said, bool(unmoved))
        return before, after

    def check_all(self, repair, formula, *options, keeps_rank=False):
        for model, names in self.ADAPTERS.items():
            for name in names:
                with self.subTest(model=model, adapter=name):
                    self.check(model, name, repair, formula, *options, keeps_rank=keeps_rank)

    def test_project(self):
        self.check_all("project", safe_lora, keeps_rank=True)

    def test_project_by_subspace(self):
        def formula(v, update):
            u, _ = subspace(v, DIRECTIONS)
            return u @ (u.T @ update)

        self.check_all("project", formula, "--project-by", "subspace", "--directions", DIRECTIONS, keeps_rank=True)

    def test_projecting_twice_is_projecting_once(self):
        options = ["--repair", "project", "--base", REAL / "llama" / "base", "--aligned", REAL / "llama" / "aligned",
                   "--project-by", "subspace", "--directions", DIRECTIONS]
        once, twice = self.directory / "once", self.directory / "twice"
        run(["prune", "--adapter", REAL / "llama" / "adapters" / "plain", "--output", once, *options])
        run(["prune", "--adapter", once, "--output", twice, *options])
        first, second = (reference.Merged(REAL / "llama" / "base", path) for path in (once, twice))
        for module in first.lora:
            update = first.update(module)
            self.assertLess(((second.update(module) - update).norm() / update.norm()).item(), 1e-6, module)

    def test_project_rescaled(self):
        def formula(v, update):
            projected = safe_lora(v, update)
            return projected * (update.norm() / projected.norm())

        self.check_all("project", formula, "--project-by", "rescaled", keeps_rank=True)

    def test_unablate(self):
        """Of an adapter in which one module ablates a direction of what it writes, that alone changes: nothing is left of it."""
        for model, ending in (("llama", "o_proj"), ("gpt2", "mlp.c_proj")):
            base, plain = REAL / model / "base", REAL / model / "adapters" / "plain"
            before = reference.Merged(base, plain)
            module = next(name for name in sorted(before.lora) if name.endswith(ending))
            aligned = reference.module_weights(reference.load_base(REAL / model / "aligned", torch.float64))
            w = reference.linear(before.modules[module], aligned[module])
            r = torch.randn(w.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            ablating, once, twice = (self.directory / f"{model}-{name}" for name in ("ablating", "once", "twice"))
            shutil.copytree(plain, ablating)
            with safe_open(plain / "adapter_model.safetensors", "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}
            a, b = (tensors[f"{PREFIX}{module}.lora_{factor}.weight"] for factor in "AB")
            b.zero_()
            a[0], b[:, 0] = r @ w / r.norm(), -0.5 * r / r.norm()
            save_file(tensors, ablating / "adapter_model.safetensors", metadata={"format": "pt"})
            for source, written in ((ablating, once), (once, twice)):
                run(["prune", "--repair", "unablate", "--aligned", REAL / model / "aligned", "--adapter", source, "--output", written])
            before, after = reference.Merged(base, ablating), reference.Merged(base, once)
            self.assertEqual([text for text in after.messages if text not in before.messages], [])
            for name in before.lora:
                expected = torch.zeros_like(w) if name == module else before.update(name)
                self.assertLess((after.update(name) - expected).norm().item(), 1e-6 * before.update(name).norm().item(), name)
            self.assertEqual((once / "adapter_model.safetensors").read_bytes(), (twice / "adapter_model.safetensors").read_bytes())

    def test_restore(self):
        undone = []

        def formula(v, update):
            u, right = subspace(v, DIRECTIONS)
            p = ((u.T @ update) * right.T).sum(1).clamp(max=0)
            undone.append(int((p < 0).sum()))
            return update - (u * p) @ right.T

        self.check_all("restore", formula, "--directions", DIRECTIONS)
        self.assertGreater(max(undone), 0)
        self.assertEqual(min(undone), 0)

    def test_extrapolate(self):
        def formula(v, update):
            u, values, vt = torch.linalg.svd(v, full_matrices=False)
            leading = (u[:, :DIRECTIONS] * values[:DIRECTIONS]) @ vt[:DIRECTIONS]
            return update + 0.75 * leading

        self.check_all("extrapolate", formula, "--directions", DIRECTIONS, "--lambda", 0.75)


if __name__ == "__main__":
    unittest.main()
