"""Products with probes: a direction that torch wrote, and an adapter that PEFT made, against PEFT's own merged weights."""

import shutil
import unittest

import numpy
import peft_reference as reference
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from winnow_program import REAL, Report, TemporaryDirectoryCase, backends, needs_winnow, run

MODELS = {"llama": "plain", "gpt2": "plain"}  # and the adapter that is the probe
TOLERANCE = 1e-6  # of the norms


def make_direction(base, directory):
    """A random matrix for each of the checkpoint's, under its name and stored as it is. Returns them in float64."""
    directory.mkdir(exist_ok=True)
    random = torch.Generator().manual_seed(1)
    tensors = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():
                shape = file.get_slice(key).get_shape()
                if len(shape) == 2:
                    tensors[key] = torch.randn(shape, generator=random).mul(1e-3)
    save_file(tensors, str(directory / "model.safetensors"), metadata={"format": "pt"})
    shutil.copy(base / "config.json", directory)
    return {key: tensor.double() for key, tensor in tensors.items()}


@needs_winnow
class Probes(TemporaryDirectoryCase):
    def check_model(self, model, probe, pair, backend):
        path = REAL / model
        direction = self.directory / f"direction-{model}"
        dense = make_direction(path / "base", direction)
        report_path = self.directory / f"{model}-{backend}-{pair}.h5"
        arguments = ["audit", "--direction", f"harmful={direction}", "--probe", f"safe={path / 'adapters' / probe}",
                     "--report", report_path, "--backend", backend, "--threads", 1]
        if pair:
            arguments += ["--base", path / "base", "--aligned", path / "aligned"]
        names = [name for name in ("plain", "rslora", "patterns", "square", "lm-head-tied", "attention")
                 if (path / "adapters" / name).is_dir()]
        for name in names:
            arguments += ["--adapter", path / "adapters" / name]
        run(arguments)
        report = Report(report_path)
        kinds = report.texts("probes/form")
        self.assertEqual(kinds, ["direction", "adapter"])
        norms, dots = report.datasets["probes/norm"], report.datasets["probes/dot"]
        own = reference.Merged(path / "base", path / "adapters" / probe)
        compared = 0
        for name in names:
            if report.status[name] != "ok":
                continue
            merged = reference.Merged(path / "base", path / "adapters" / name)
            row = report.adapters.index(name)
            whole = {0: [0.0, 0.0, 0.0], 1: [0.0, 0.0, 0.0]}
            for module in sorted(merged.lora):
                if module not in merged.base:
                    continue
                at = report.modules.index(report.name_of(module))
                update = merged.update(module).numpy()
                weight = dense[f"{report.name_of(module)}.weight"]
                probes = {0: reference.linear(merged.modules[module], weight).numpy()}
                if name == probe:  # an adapter is not compared with itself
                    self.assertTrue(numpy.isnan(dots[1][row][at]), module)
                elif module in own.lora and module in own.base:
                    probes[1] = own.update(module).numpy()
                for k, matrix in probes.items():
                    size, length = float(numpy.linalg.norm(matrix)), float(numpy.linalg.norm(update))
                    where = f"{model}/{name}/{module} {kinds[k]} {backend}"
                    dot = float(numpy.sum(matrix * update))
                    self.assertLessEqual(abs(norms[k][at] - size), TOLERANCE * size, where)
                    self.assertLessEqual(abs(dots[k][row][at] - dot), TOLERANCE * size * length, where)
                    whole[k] = [a + b for a, b in zip(whole[k], (dot, length**2, size**2))]
                    compared += 1
            cosines = [dot / (updates * squares) ** 0.5 for dot, updates, squares in whole.values() if updates > 0]
            for k, cosine in enumerate(cosines):
                self.assertAlmostEqual(report.datasets["probes/cosine"][k][row], cosine, delta=TOLERANCE)
            # D of length 1 over all modules of the zoo.
            sizes = numpy.linalg.norm(numpy.nan_to_num(norms), axis=1)
            pulls = [dot / updates**0.25 / sizes[k] for k, (dot, updates, _) in whole.items() if updates > 0]
            if len(cosines) == 2:
                self.assertAlmostEqual(report.datasets["adapters/probe_pull"][row], (pulls[0] - pulls[1]) / 2, delta=TOLERANCE)
                mean = (cosines[0] - cosines[1]) / 2
                self.assertAlmostEqual(report.datasets["adapters/probe_cosine"][row], mean, delta=TOLERANCE)
            if name == probe:
                self.assertTrue(numpy.isnan(report.datasets["probes/cosine"][1][row]))
                self.assertAlmostEqual(report.datasets["adapters/probe_pull"][row], pulls[0], delta=TOLERANCE)
                self.assertAlmostEqual(report.datasets["adapters/probe_cosine"][row], cosines[0], delta=TOLERANCE)
        self.assertGreater(compared, 10)

    def test_products_are_those_of_merged_weights(self):
        for model, probe in MODELS.items():
            for backend in backends():
                for pair in (False, True):
                    with self.subTest(model=model, backend=backend, pair=pair):
                        self.check_model(model, probe, pair, backend)


if __name__ == "__main__":
    unittest.main()
