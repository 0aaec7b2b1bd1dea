"""The metrics of real checkpoints and adapters equal a dense float64 computation from PEFT's own merged weights."""

import json
import math
import unittest

from safetensors import safe_open

from winnow_program import REAL, Report, TemporaryDirectoryCase, audit, backends, needs_winnow, run

MODELS = sorted(path.parent.name for path in REAL.glob("*/expected.json"))
METRICS = ("distance", "rms_distance", "update_norm", "projected_norm", "cosine", "alignment_cosine",
           "alignment_removed")

WEIGHT_METRICS = ("ablation", "ablation_singular", "weight_cosine", "overlap_left", "relative_norm",
                  "overlap_right", "intruder_dimensions")
LINE_METRICS = ("row_concentration", "column_concentration", "row_sparsity", "column_sparsity")
WEIGHT_TOLERANCE = {"reference": 1e-7, "torch": 2e-6, "cpu": 2e-6}  # absolute, of numbers up to about 1

TOLERANCE = {"reference": 1e-9, "torch": 1e-4, "cpu": 1e-4}  # relative
SUBSPACE_TOLERANCE = 0.03  # of the random sketch, absolute: that of the golden data


@needs_winnow
class Audit(TemporaryDirectoryCase):
    worst = {}

    @classmethod
    def tearDownClass(cls):
        for (backend, metric), (error, where) in sorted(cls.worst.items()):
            print(f"\n  {backend:9} {metric:18} largest relative difference {error:.1e} ({where})", end="")
        super().tearDownClass()

    def note(self, backend, metric, error, where):
        if error > self.worst.get((backend, metric), (-1.0, ""))[0]:
            self.worst[backend, metric] = (error, where)

    def check_module(self, report, adapter, module, values, backend, where):
        name = report.name_of(module)
        row = report.modules.index(name)
        self.assertEqual(report.datasets["modules/out_features"][row], values["out_features"], where)
        self.assertEqual(report.datasets["modules/in_features"][row], values["in_features"], where)
        found = {metric: report.metric(metric, adapter)[name] for metric in (*METRICS, "subspace_energy")}
        found["alignment_norm"] = report.datasets["modules/alignment_norm"][row]
        for metric in (*METRICS, "alignment_norm"):
            difference = abs(found[metric] - values[metric])
            allowed = TOLERANCE[backend] * abs(values[metric])
            self.assertLessEqual(difference, allowed, f"{where} {metric}: {found[metric]}, expected {values[metric]}")
            if values[metric] != 0:
                self.note(backend, metric, difference / abs(values[metric]), where)
        self.check_weight_metrics(report, adapter, module, values, backend, where)
        if values["subspace_energy"] is None:  # no alignment signal
            self.assertTrue(math.isnan(found["subspace_energy"]), where)
            self.assertEqual(report.datasets["modules/flags"][row] & 1, 1, where)
        else:
            self.assertAlmostEqual(found["subspace_energy"], values["subspace_energy"], delta=SUBSPACE_TOLERANCE,
                                   msg=where)
            self.assertEqual(report.datasets["modules/flags"][row], 0, where)

    def check_weight_metrics(self, report, adapter, module, values, backend, where):
        for metric in (*WEIGHT_METRICS, *LINE_METRICS):
            found = report.metric(metric, adapter)[report.name_of(module)]
            if values[metric] is None:
                self.assertTrue(math.isnan(found), f"{where} {metric}")
                continue
            allowed = WEIGHT_TOLERANCE[backend] * max(1.0, abs(values[metric]))
            if metric == "ablation" and values[metric] < 0.01:
                allowed = 1e-4  # steps of l do not go further down
            self.assertAlmostEqual(found, values[metric], delta=allowed, msg=f"{where} {metric}")
            self.note(backend, metric, abs(found - values[metric]), where)

    def check_model(self, model, backend, ranks):
        path = self.directory / f"{model}-{backend}-{ranks}.h5"
        audit(REAL / model, path, "--methods", "default,concentration,intruders,overlap_right", backend=backend, ranks=ranks)
        report = Report(path)
        expected = json.loads((REAL / model / "expected.json").read_text())
        self.assertEqual(sorted(report.adapters), sorted(expected))
        for adapter, entry in expected.items():
            with self.subTest(adapter=adapter):
                if entry.get("reason") == "dora" and model != "gpt2":  # whose layers are stored [in, out]
                    self.check_dora(report, adapter)
                    continue
                self.assertEqual(report.status[adapter], entry["status"], report.reason[adapter])
                if entry["status"] != "ok":
                    self.assertIn(entry["reason"], report.reason[adapter].lower())
                    for metric in METRICS:
                        self.assertTrue(all(map(math.isnan, report.metric(metric, adapter).values())))
                    self.assertEqual(set(report.action(adapter).values()), {0})
                    continue
                for module, values in entry["modules"].items():
                    self.check_module(report, adapter, module, values, backend, f"{model}/{adapter}/{module}")
                scored = {report.name_of(module) for module in entry["modules"]}
                for metric in METRICS:
                    for name, value in report.metric(metric, adapter).items():
                        if report.present(adapter)[name] != 2:  # a whole weight: test_dense.py
                            self.assertEqual(math.isnan(value), name not in scored, f"{adapter} {name} {metric}")
        return report

    def check_dora(self, report, adapter):
        """Judged as a dense update; by which numbers: test_dense.py."""
        self.assertEqual(report.status[adapter], "ok", report.reason[adapter])
        row = report.adapters.index(adapter)
        self.assertEqual(report.datasets["adapters/parameters"][row], report.datasets["adapters/parameters_judged"][row])
        self.assertEqual(set(report.present(adapter).values()), {0, 2})
        self.assertTrue(all(map(math.isnan, report.metric("distance", adapter).values())))
        self.assertEqual(set(report.action(adapter).values()), {0})

    def test_metrics_and_rank_counts(self):
        """Every metric of every module; and the same bits on 1, 2, 3 and 5 ranks."""
        for model in MODELS:
            for backend in backends():
                first = None
                for ranks in (1, 2, 3, 5):
                    with self.subTest(model=model, backend=backend, ranks=ranks):
                        report = self.check_model(model, backend, ranks)
                        first = first or report
                        self.assertEqual(first.same_datasets(report), [])

    def test_the_aligned_weights_alone_say_the_same_of_themselves(self):
        """To the bit, on 1, 2, 3 and 5 ranks: the sweep over W does not depend on those over V."""
        for model in MODELS:
            for backend in backends():
                pair, alone = self.directory / f"{model}-{backend}-pair.h5", self.directory / f"{model}-{backend}.h5"
                audit(REAL / model, pair, "--methods", "all", backend=backend)
                both = Report(pair)
                first = None
                for ranks in (1, 2, 3, 5):
                    with self.subTest(model=model, backend=backend, ranks=ranks):
                        audit(REAL / model, alone, "--methods", "default,intruders,overlap_right", backend=backend,
                              ranks=ranks, pair=False)
                        report = Report(alone)
                        first = first or report
                        self.assertEqual(first.same_datasets(report), [])
                        self.assertNotIn("metrics/ediem", report.datasets)
                        for metric in WEIGHT_METRICS:
                            for adapter in report.adapters:
                                found, expected = report.metric(metric, adapter), both.metric(metric, adapter)
                                dense = report.present(adapter)
                                for name, value in expected.items():
                                    # A head that is the base model's, with LoRA: which it is the pair alone tells.
                                    if dense[name] == 2 and both.present(adapter)[name] == 1:
                                        self.assertIn((adapter, name), (("lm-head", "lm_head"), ("lm-head-tied", "model.embed_tokens")))
                                        continue
                                    self.assertTrue(found[name] == value or math.isnan(value), f"{adapter} {name}")

    def test_what_was_judged_of_what_an_adapter_ships(self):
        """Numbers in the file, and those in factors of the modules that PEFT's merged weights were compared on."""
        for model in MODELS:
            path = self.directory / f"{model}-coverage.h5"
            audit(REAL / model, path)
            report = Report(path)
            expected = json.loads((REAL / model / "expected.json").read_text())
            bases = report.texts("adapters/base_model")
            for row, adapter in enumerate(report.adapters):
                with self.subTest(model=model, adapter=adapter):
                    directory = REAL / model / "adapters" / adapter
                    config = json.loads((directory / "adapter_config.json").read_text())
                    with safe_open(directory / "adapter_model.safetensors", "numpy") as file:
                        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
                    sizes = {key: math.prod(shape) for key, shape in shapes.items()}
                    entry = expected[adapter]
                    factors = {f"base_model.model.{module}.lora_{factor}.weight"
                               for module in entry.get("modules", {}) for factor in "AB"}
                    if any(".experts." in module for module in entry.get("modules", {})):  # all of them, in blocks
                        factors = {key for key in factors if ".experts." not in key}
                        factors |= {key for key in sizes if ".experts." in key}
                    # Whole weights that are matrices.
                    factors |= {key for key, shape in shapes.items()
                                if key.endswith((".lm_head.weight", "embed_tokens.weight")) and len(shape) == 2}
                    judged = sum(sizes[key] for key in factors) if entry["status"] == "ok" else 0
                    if entry.get("reason") == "dora" and model != "gpt2":
                        judged = sum(sizes.values())
                    self.assertEqual(report.datasets["adapters/parameters"][row], sum(sizes.values()))
                    self.assertEqual(report.datasets["adapters/parameters_judged"][row], judged)
                    if entry["status"] == "ok":
                        self.assertEqual(bases[row].partition("@")[0], config["base_model_name_or_path"] or "")

    def test_strict_refuses_what_would_be_quarantined(self):
        done = audit(REAL / "llama", self.directory / "strict.h5", "--strict", adapters=["plain", "pissa"], expect=3)
        self.assertIn("pissa", done.stderr.lower())
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertFalse((self.directory / "strict.h5").exists())

    def test_dora_on_request(self):
        """Without the weights --dora compares the s*B*A part, and says so; without it nothing is judged."""
        probe = ("--probe", f"harmful={REAL / 'llama' / 'adapters' / 'plain'}")
        for options, status in (((), "quarantined"), (("--dora",), "ok")):
            path = self.directory / f"dora-{status}.h5"
            done = run(["audit", *probe, *options, "--adapter", REAL / "llama" / "adapters" / "dora", "--adapter",
                        REAL / "llama" / "adapters" / "undoing", "--report", path])
            report = Report(path)
            self.assertEqual(report.status["dora"], status)
            self.assertIn("only its s*B*A part is scored" if options else "an audit with --aligned DIR judges all of it", done.stderr)


if __name__ == "__main__":
    unittest.main()
