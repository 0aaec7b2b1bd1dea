"""A report opens in h5py and xarray without winnow: text is str, axes have names, every dataset says what it is."""

import unittest

import h5py
import numpy
import xarray
from winnow_program import REAL, TemporaryDirectoryCase, audit, needs_winnow, run

SCALES = {"adapter", "module"}


@needs_winnow
class ReportFile(TemporaryDirectoryCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.directory / "report.h5"
        audit(REAL / "qwen2", cls.path, "--element-stats", "--select", "prune-top:3")

    def test_every_dataset_has_units_and_long_name(self):
        with h5py.File(self.path, "r") as file:
            def check(name, item):
                if isinstance(item, h5py.Dataset):
                    with self.subTest(name):
                        for attribute in ("units", "long_name"):
                            value = item.attrs.get(attribute)
                            self.assertIsInstance(value, str)
                            self.assertNotEqual(value, "")
            file.visititems(check)

    def test_axes_are_named(self):
        with h5py.File(self.path, "r") as file:
            adapters, modules = len(file["adapters/name"]), len(file["modules/name"])
            for group in ("metrics", "selection"):
                for name, dataset in file[group].items():
                    if name in SCALES:
                        continue
                    with self.subTest(f"{group}/{name}"):
                        if name in ("layer", "role"):  # coordinates of the modules
                            self.assertEqual(dataset[()].tolist(), file[f"modules/{name}"][()].tolist())
                            continue
                        self.assertEqual(dataset.attrs["coordinates"], "layer role")
                        self.assertEqual(dataset.shape, (adapters, modules))
                        self.assertEqual([len(dataset.dims[axis]) for axis in (0, 1)], [1, 1])
                        self.assertEqual(dataset.dims[0][0][()].tolist(), file["adapters/name"][()].tolist())
                        self.assertEqual(dataset.dims[1][0][()].tolist(), file["modules/name"][()].tolist())

    def test_text_is_text(self):
        with h5py.File(self.path, "r") as file:
            for name in ("modules/name", "modules/role", "adapters/name", "adapters/path", "adapters/status",
                         "adapters/reason", "adapters/sha256", "adapters/worst_module", "adapters/worst_modules",
                         "adapters/training_run"):
                with self.subTest(name):
                    info = h5py.check_string_dtype(file[name].dtype)
                    self.assertIsNotNone(info)
                    self.assertEqual(info.encoding, "utf-8")
                    self.assertIsInstance(file[name].asstr()[0], str)
            for name, value in file.attrs.items():
                with self.subTest(attribute=name):
                    self.assertNotIsInstance(value, bytes)

    def test_root_attributes(self):
        with h5py.File(self.path, "r") as file:
            self.assertEqual(int(file.attrs["schema_version"]), 1)
            for name in ("winnow_version", "git_sha", "command_line", "created_utc", "mpi_ranks", "device", "base",
                         "aligned"):
                self.assertIn(name, file.attrs)
            self.assertEqual(int(file.attrs["mpi_ranks"]), 1)

    def test_compressed(self):
        with h5py.File(self.path, "r") as file:
            self.assertEqual(file["metrics/distance"].compression, "gzip")
            self.assertTrue(file["metrics/distance"].shuffle)
            self.assertEqual(file["metrics/distance"].dtype, numpy.float64)
            self.assertEqual(file["metrics/misalignment_cause"].dtype, numpy.uint8)
            self.assertEqual(file["selection/action"].dtype, numpy.uint8)

    def test_metrics_of_the_contract(self):
        with h5py.File(self.path, "r") as file:
            for name in ("distance", "rms_distance", "update_norm", "projected_norm", "cosine", "alignment_cosine",
                         "alignment_removed", "subspace_energy", "subspace_error", "misalignment", "ediem", "ediem_published_iqr",
                         "ediem_published_std", "diem_theoretical", "diem"):
                self.assertIn(name, file["metrics"])

    def test_summary_of_each_adapter(self):
        with h5py.File(self.path, "r") as file:
            scores, actions = file["metrics/ediem"][:], file["selection/action"][:]
            modules, adapters = file["modules/name"].asstr()[:], file["adapters"]
            self.assertEqual(adapters["zoo_rank"].dims[0][0][()].tolist(), adapters["name"][()].tolist())
            numpy.testing.assert_array_equal(adapters["modules_scored"][:], (~numpy.isnan(scores)).sum(axis=1))
            numpy.testing.assert_array_equal(adapters["modules_pruned"][:], (actions == 2).sum(axis=1))
            for n in range(len(scores)):
                if numpy.isnan(scores[n]).all():
                    self.assertEqual(int(adapters["zoo_rank"][n]), 0)
                    continue
                worst = numpy.nanmax(scores[n])
                self.assertEqual(adapters["worst_score"][n], worst)
                self.assertEqual(scores[n][list(modules).index(adapters["worst_module"].asstr()[n])], worst)
                others = [numpy.nanmax(row) for row in scores if not numpy.isnan(row).all()]
                self.assertEqual(int(adapters["zoo_rank"][n]), 1 + sum(other > worst for other in others))
            self.assertTrue((adapters["training_step"][:] == -1).all())

    def test_xarray(self):
        with xarray.open_dataset(self.path, engine="h5netcdf", group="metrics") as metrics:
            self.assertEqual(metrics["ediem"].dims, ("adapter", "module"))
            names = [str(name) for name in metrics["module"].values]
            self.assertIn("model.layers.0.self_attn.q_proj", names)
            self.assertIsInstance(metrics["module"].values.tolist()[0], str)
            one = metrics["distance"].sel(adapter="plain", module="model.layers.0.self_attn.q_proj")
            self.assertGreater(float(one), 0)
            self.assertTrue(one.attrs["long_name"])
            # What a module is stands beside its numbers.
            self.assertEqual(set(metrics["ediem"].coords), {"adapter", "module", "layer", "role"})
            by_layer = metrics["update_norm"].groupby("layer").sum()
            self.assertEqual(by_layer.dims, ("adapter", "layer"))
            by_hand = numpy.nansum([metrics["update_norm"].sel(module=name).values for name in names if ".layers.0." in name], axis=0)
            numpy.testing.assert_allclose(by_layer.sel(layer=0).values, by_hand)
            self.assertIn("q_proj", metrics["ediem"].groupby("role").mean()["role"].values)
        with xarray.open_dataset(self.path, engine="h5netcdf", group="selection") as selection:
            self.assertEqual(selection["action"].dims, ("adapter", "module"))
            pruned = (selection["action"].sel(adapter="plain") == 2).sum()
            self.assertEqual(int(pruned), 3)
        for group in ("modules", "adapters", "run"):
            with xarray.open_dataset(self.path, engine="h5netcdf", group=group) as table:
                self.assertGreater(len(table.data_vars), 0)


@needs_winnow
class Verdicts(TemporaryDirectoryCase):
    """Of an audit with a bank: p and verdicts computed again from the products that the report holds."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        family, cls.path = cls.directory / "family", cls.directory / "report.h5"
        run(["synth", "--adapters", 66, "--rank", 4, "--misaligned", 0, "--seed", 5, "--output", family])
        adapters = [family / "adapters" / f"adapter-{n:03}" for n in range(66)]
        probes = ["--probe", f"harmful={adapters[0]}", "--probe", f"safe={adapters[1]}"]
        odd = cls.directory / "odd"
        run(["prune", "--repair", "merge", "--with", adapters[0], "--weights", "1,1", "--adapter", adapters[2], "--output", odd])
        harmless = [word for path in adapters[6:] for word in ("--adapter", path)]
        run(["audit", *probes, *harmless, "--report", cls.directory / "bank.h5"])
        zoo = [word for path in (adapters[2], odd, adapters[3], adapters[6]) for word in ("--adapter", path)]
        run(["audit", *probes, *zoo, "--bank", cls.directory / "bank.h5", "--fdr", "0.1", "--report", cls.path])

    @staticmethod
    def deviations(values, bank, side):
        """On the side of harm, 1, or the other, -1: the second probe is a safe one."""
        quartiles = numpy.percentile(bank, [25, 50, 75], axis=1)
        spread = numpy.maximum((quartiles[2] - quartiles[0]) / 1.349, 1e-9)
        return (side * numpy.array([1, -1]) * (values - quartiles[1]) / spread).max()

    def test_p_and_verdicts(self):
        with h5py.File(self.path, "r") as file:
            bank, dots = file["bank/pull"][:], numpy.nan_to_num(file["probes/dot"][:])
            facing = (file["probes/norm"][:] > 0)[:, None] * numpy.nan_to_num(file["metrics/update_norm"][:]) ** 2
            pulls = dots.sum(axis=2) / facing.sum(axis=2) ** 0.25 / file["bank/unit"][:][:, None]
            members, own = file["bank/digest"].asstr()[:], file["adapters/digest"].asstr()[:]
            p, verdicts = file["adapters/bank_p"][:], file["adapters/verdict"].asstr()[:]
            against = file["adapters/bank_against_p"][:]
            attributes = dict(file["adapters/verdict"].attrs)
            reasons = file["adapters/verdict_reason"].asstr()[:]
        self.assertEqual(bank.shape, (2, 60))
        for side, found in ((-1, against), (1, p)):
            of_members = numpy.array([self.deviations(bank[:, m], numpy.delete(bank, m, axis=1), side) for m in range(60)])
            expected = []
            for n, digest in enumerate(own):
                others = members != digest
                deviation = self.deviations(pulls[:, n], bank[:, others], side)
                expected.append((1 + (of_members[others] >= deviation).sum()) / (1 + others.sum()))
            numpy.testing.assert_allclose(found, expected, rtol=1e-12)
        order = numpy.sort(expected)
        within = order <= 0.1 * numpy.arange(1, len(order) + 1) / len(order)
        cut = order[within].max() if within.any() else 0
        self.assertEqual(list(verdicts == "block"), [value <= cut for value in expected])
        self.assertEqual(verdicts[1], "block")
        self.assertIn("false discovery rate of 10 %", reasons[1])
        self.assertEqual(float(attributes["false_discovery_rate"]), 0.1)
        self.assertEqual(int(attributes["bank_members"]), 60)

    def test_xarray(self):
        with xarray.open_dataset(self.path, engine="h5netcdf", group="adapters") as table:
            self.assertEqual(str(table["verdict"].sel(adapter="odd").values), "block")


if __name__ == "__main__":
    unittest.main()
