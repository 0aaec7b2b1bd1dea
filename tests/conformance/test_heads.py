"""Products by attention head: of models of transformers, against weights that PEFT merged, on any number of ranks; and whether a
head is what transformers takes for one."""

import unittest

import h5py
import numpy
import peft_reference as reference
import torch
import xarray
from test_probes import make_direction
from winnow_program import REAL, Report, TemporaryDirectoryCase, backends, needs_winnow, run

# model -> the adapter that is the probe, and others
MODELS = {"llama": ("plain", "rslora"), "qwen2": ("plain", "pissa-converted"), "phi3": ("plain", "all-linear"), "qwen3-moe": ("attention",)}
HEADS, KEYS = 4, 2  # of all of them
TOLERANCE = 1e-6  # of the norms


def rows_of(module, shape, width):
    """[head] -> weights of the entries of a module's matrix, [out, in], that belong to it. None of a module without heads."""
    kind = module.rsplit(".", 1)[-1]
    group = HEADS // KEYS
    weights = numpy.zeros((HEADS, *shape))
    for head in range(HEADS):
        own, shared = slice(head * width, (head + 1) * width), slice(head // group * width, (head // group + 1) * width)
        if kind == "q_proj":
            weights[head, own] = 1
        elif kind in ("k_proj", "v_proj"):
            weights[head, shared] = 1 / group
        elif kind == "o_proj":
            weights[head, :, own] = 1
        elif kind == "qkv_proj":
            weights[head, own] = 1
            for begin in (HEADS * width, (HEADS + KEYS) * width):
                weights[head, begin + shared.start : begin + shared.stop] = 1 / group
        else:
            return None
    return weights


@needs_winnow
class Heads(TemporaryDirectoryCase):
    def audit(self, model, report, *options, ranks=1):
        path = REAL / model
        direction = self.directory / f"direction-{model}"
        if not direction.is_dir():
            make_direction(path / "base", direction)
        arguments = ["audit", "--heads", "--direction", f"harmful={direction}", "--probe", f"safe={path / 'adapters' / MODELS[model][0]}",
                     "--report", report, "--threads", 1, "--team", 1]
        for name in MODELS[model]:
            arguments += ["--adapter", path / "adapters" / name]
        run([*arguments, *options], ranks)
        return Report(report)

    def check(self, model, backend):
        path = REAL / model
        report = self.audit(model, self.directory / f"{model}-{backend}.h5", "--backend", backend)
        dense = make_direction(path / "base", self.directory / f"direction-{model}")
        width = int(h5py.File(self.directory / f"{model}-{backend}.h5")["heads"].attrs["head_dim"])
        attention, dots = report.texts("heads/attention"), report.datasets["heads/dot"]
        self.assertEqual(dots.shape, (2, len(report.adapters), len(attention), HEADS))
        self.assertNotIn("heads/headless_module", report.datasets)
        own = reference.Merged(path / "base", path / "adapters" / MODELS[model][0])
        compared = 0
        for name in MODELS[model]:
            merged = reference.Merged(path / "base", path / "adapters" / name)
            row = report.adapters.index(name)
            expected, scale = numpy.zeros((2, len(attention), HEADS)), numpy.zeros((2, len(attention), HEADS))
            for module in merged.lora:
                update = merged.update(module).numpy()
                weights = rows_of(module, update.shape, width)
                if weights is None:
                    continue
                place = attention.index(report.name_of(module).rsplit(".", 1)[0])
                direction = dense[f"{report.name_of(module)}.weight"]
                probes = [reference.linear(merged.modules[module], direction).numpy()]
                if module in own.lora:
                    probes.append(own.update(module).numpy())
                for k, probe in enumerate(probes):
                    expected[k, place] += (weights * (probe * update)).sum((1, 2))
                    scale[k, place] += numpy.linalg.norm(probe) * numpy.linalg.norm(update)
            for k in range(2):
                if k == 1 and name == MODELS[model][0]:  # a safe probe is not compared with itself
                    self.assertTrue(numpy.isnan(dots[k, row]).all())
                    continue
                for place in numpy.flatnonzero(scale[k].max(axis=1)):
                    error = numpy.abs(dots[k, row, place] - expected[k, place])
                    self.assertLessEqual(error.max(), TOLERANCE * scale[k, place].max(), f"{model}/{name} {attention[place]} {k} {backend}")
                    compared += 1
        self.assertGreaterEqual(compared, 2 * len(MODELS[model]) - 1)

    def test_products_are_those_of_merged_weights(self):
        for model in MODELS:
            for backend in backends():
                with self.subTest(model=model, backend=backend):
                    self.check(model, backend)

    def test_any_number_of_ranks_and_a_merge_give_the_same_bits(self):
        model = "qwen2"
        whole = self.audit(model, self.directory / "one.h5").datasets["heads/dot"]
        for ranks in (2, 3, 5):
            found = self.audit(model, self.directory / f"{ranks}.h5", ranks=ranks).datasets["heads/dot"]
            self.assertEqual(found.tobytes(), whole.tobytes(), ranks)
        for _ in range(2):
            cached = self.audit(model, self.directory / "cached.h5", "--cache", self.directory / "cache").datasets["heads/dot"]
            self.assertEqual(cached.tobytes(), whole.tobytes())
        self.audit(model, self.directory / "noted.h5", "--journal", self.directory / "journal")
        resumed = self.audit(model, self.directory / "resumed.h5", "--journal", self.directory / "journal", "--resume", ranks=2)
        self.assertEqual(resumed.datasets["heads/dot"].tobytes(), whole.tobytes())
        run(["merge", self.directory / "one.h5", "--report", self.directory / "merged.h5"])
        self.assertEqual(Report(self.directory / "merged.h5").datasets["heads/dot"].tobytes(), whole.tobytes())

    def test_what_mixes_them_is_named(self):
        path = REAL / "gpt2"
        direction = self.directory / "direction-gpt2"
        make_direction(path / "base", direction)
        report = self.directory / "gpt2.h5"
        ended = run(["audit", "--heads", "--direction", f"harmful={direction}", "--adapter", path / "adapters" / "plain", "--report", report])
        self.assertIn("modules of attention are in no head, the first: ", ended.stderr)
        found = Report(report)
        self.assertEqual(found.datasets["heads/dot"].shape, (1, 1, 0, 4))
        self.assertTrue(all(name.rsplit(".", 1)[-1] in ("c_attn", "c_proj") for name in found.texts("heads/headless_module")))
        self.assertIn("holds q, k and v in an order that is not known", found.texts("heads/headless_reason"))
        self.assertIn("Modules of attention that are in no head", run(["report", report]).stdout)

    def test_axes_are_named_and_layers_are_coordinates(self):
        path = self.directory / "axes.h5"
        self.audit("llama", path)
        with h5py.File(path) as file:
            dot = file["heads/dot"]
            self.assertEqual([dot.dims[axis][0].name.rsplit("/", 1)[-1] for axis in range(4)], ["probe", "adapter", "attention", "head"])
            self.assertEqual(dot.attrs["coordinates"], "layer")
            for dataset in file["heads"].values():
                self.assertTrue(dataset.attrs["units"] and dataset.attrs["long_name"])
        with xarray.open_dataset(path, engine="h5netcdf", group="heads") as heads:
            self.assertEqual(heads.dot.dims, ("probe", "adapter", "attention", "head"))
            by_layer = heads.dot.groupby("layer").sum()
            self.assertEqual(by_layer.sizes["layer"], len(set(heads.layer.values.tolist())))


class Meaning(unittest.TestCase):
    """Weights of one head reach the inputs of o that belong to it, and no others: so transformers cuts them."""

    def test_rows_of_a_head_reach_its_columns_of_o(self):
        tokens = torch.arange(1, 9)[None]
        for name in MODELS:
            model = reference.load_base(REAL / name / "base", torch.float32)
            attention = model.model.layers[0].self_attn
            width, seen = attention.head_dim, []
            hook = attention.o_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
            with torch.no_grad():
                model(tokens)
                for projection, module in attention.named_children():
                    weights = rows_of(projection, tuple(module.weight.shape), width) if hasattr(module, "weight") else None
                    if weights is None or projection == "o_proj" or module.weight.dim() != 2:
                        continue
                    for begin in range(0, module.weight.shape[0], width):
                        rows = slice(begin, begin + width)
                        kept = module.weight[rows].clone()
                        module.weight[rows] += torch.randn(kept.shape, generator=torch.Generator().manual_seed(begin))
                        model(tokens)
                        module.weight[rows] = kept
                        changed = (seen[-1] - seen[0]).abs().amax((0, 1)).reshape(HEADS, width).amax(1) > 1e-6
                        expected = [bool(weights[head, rows].any()) for head in range(HEADS)]
                        self.assertEqual(changed.tolist(), expected, f"{name} {projection} from row {begin}")
            hook.remove()
            self.assertGreater(len(seen), HEADS)


if __name__ == "__main__":
    unittest.main()
