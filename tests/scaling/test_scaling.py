"""Numbers of the scaling page worked out by hand, axes over random ranges, and how ranks are laid over nodes."""

import json
import os
import random
import re
import sys
import unittest
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs" / "scaling"))

import report  # noqa: E402
from figures import LogAxis, figure, median  # noqa: E402
from launcher import SrunLauncher  # noqa: E402


def plan(ranks, seconds, crossover=7):
    return {"ranks": ranks, "weight_bytes": 8e9, "total_seconds": seconds, "bytes_per_second": 8e9 / seconds, "team": 1,
            "storage_seconds": 2.0, "arithmetic_seconds": 1.0, "bottleneck": "storage", "crossover_adapters": crossover,
            "stages": {stage: seconds / len(report.STAGES) for stage in report.STAGES}}


def run(study, ranks, adapters, seconds, predicted, layers=4):
    return {"study": study, "repeat": 0, "ranks": ranks, "nodes": 1, "layers": layers, "adapters": adapters,
            "wall_seconds": seconds + 1, "seconds": seconds, "stages": {"read": seconds}, "predicted": plan(ranks, predicted)}


def study():
    """8 GB: 2 GB/s on one rank, 3 on two, where the ideal would be 4; from a quarter less to twice what the model says."""
    runs = [run("strong", 1, 1, 4.0, 5.0), run("strong", 2, 1, 8 / 3, 8 / 3), run("weak", 1, 1, 4.0, 5.0, layers=8),
            run("weak", 2, 1, 2.0, 8 / 3, layers=16), run("adapters", 2, 1, 8 / 3, 8 / 3), run("adapters", 2, 8, 6.0, 3.0)]
    points = [{"nodes": nodes, "file_system_limits": nodes > 1, **plan(8 * nodes, 100 / nodes)} for nodes in (1, 2, 128)]
    return {"schema_version": 1, "created_utc": "2026-01-01T00:00:00Z", "version": "winnow <1>", "machine": {"cpu": "abacus & co"},
            "launcher": "mpirun", "quick": False, "preset": "tiny", "rank": 8, "warm": False, "ranks_per_node": 2, "threads": 1,
            "repeats": 1, "constants": {"created_utc": "2026-01-01", "machine": "abacus", "cores": 2}, "runs": runs,
            "projection": {"preset": "llama-3-405b", "adapters": 1, "rank": 8, "ranks_per_node": 8, "node_bandwidth": 7e9,
                           "node_bandwidth_measured": False, "file_system_bandwidth": 10e9, "points": points}}


class Checked(HTMLParser):
    """Every element closed in its turn, nothing that loads or runs."""

    VOID = {"meta", "path", "rect", "circle", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe"), tag
        assert not {"src", "href", "onclick"} & {name for name, _ in attributes}, (tag, attributes)
        if tag not in self.VOID or (tag in ("circle", "rect", "path") and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert not {"src", "href"} & {name for name, _ in attributes}

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        self.texts.append(data)


class Page(unittest.TestCase):
    def says(self, text, page):
        self.assertTrue(text in page, f"not in the page: {text}")  # assertIn would print all of it

    def test_is_well_formed_and_needs_nothing_else(self):
        page = report.render(study())
        checked = Checked()
        checked.feed(page)
        self.assertEqual(checked.open, [])
        self.assertIsNone(re.search(r"https?://|url\((?!#)|\bnan\b|\binf\b", page))
        self.says("winnow &lt;1&gt;", page)
        self.says("abacus &amp; co", page)

    def test_says_what_was_measured(self):
        page = report.render(study())
        self.says("<dt>of ideal, strong</dt><dd>75% on 2</dd>", page)
        self.says("<dt>of ideal, weak</dt><dd>100% on 2</dd>", page)
        self.says("<dt>arithmetic from adapters</dt><dd>7</dd>", page)
        self.says("<dt>measured against model</dt><dd>-25 to +100 %</dd>", page)
        self.says("<dt>llama-3-405b, 1024 ranks</dt><dd>0.781 s</dd>", page)
        self.says("<td>1</td><td>100</td><td>75 to 200</td>", page)  # one node: the model, and the model times its band
        self.says("storage (file system)", page)
        self.assertFalse("figures mean nothing" in page)

    def test_a_quick_round_is_no_measurement(self):
        self.says("figures mean nothing", report.render({**study(), "quick": True}))

    def test_where_there_is_no_crossover(self):
        result = json.loads(json.dumps(study()))
        for one in result["runs"] + [{"predicted": point} for point in result["projection"]["points"]]:
            one["predicted"]["crossover_adapters"] = None
        self.says("<dt>arithmetic from adapters</dt><dd>-</dd>", report.render(result))


class Numbers(unittest.TestCase):
    def test_a_run_of_two_studies_counts_once_in_the_band(self):
        # The third is the first again, as the largest of another study; ratios 0.5, 1 and 2.
        runs = [run("strong", 1, 1, 1.0, 2.0), run("strong", 2, 1, 2.0, 2.0), run("weak", 1, 1, 1.0, 2.0), run("adapters", 2, 4, 4.0, 2.0)]
        band = report.Band(runs)
        self.assertEqual((band.count, band.low, band.middle, band.high), (3, 0.5, 1.0, 2.0))
        self.assertEqual(band.text(), "-50 to +100 %")

    def test_median(self):
        self.assertEqual(median([3, 1, 2]), 2)
        self.assertEqual(median([4, 1, 2, 3]), 2.5)

    def test_figures_are_short(self):
        self.assertEqual([figure(value) for value in (0, 0.01234, 3.456, 120, 1024, 12345)], ["0", "0.0123", "3.46", "120", "1024", "12.3k"])

    def test_axes_have_a_few_ticks_within_their_range(self):
        generator = random.Random(1)
        for _ in range(2000):
            low = 10 ** generator.uniform(-4, 4)
            values = [low, low * 10 ** generator.uniform(0, 5)]
            for base in (2, 10):
                axis = LogAxis(values, 0, 100, base)
                ticks = axis.ticks()
                self.assertLessEqual(len(ticks), 8, values)
                self.assertGreaterEqual(len(ticks), 1 if base == 2 else 2, values)
                for value in ticks + values:
                    self.assertTrue(-1e-6 <= axis(value) <= 100 + 1e-6, (values, value))
                self.assertEqual(ticks, sorted(set(ticks)))


class Layout(unittest.TestCase):
    def launcher(self, tasks_per_node, nodes):
        variables = {"SLURM_TASKS_PER_NODE": tasks_per_node, "SLURM_JOB_NUM_NODES": str(nodes),
                     "SLURM_JOB_CPUS_PER_NODE": "16,8(x2)", "SLURM_CPUS_PER_TASK": "2"}
        with mock.patch.dict(os.environ, variables, clear=True):  # salloc sets no more than these
            return SrunLauncher()

    def test_ranks_fill_one_node_after_the_other(self):
        slurm = self.launcher("4(x3)", 3)
        self.assertEqual((slurm.ranks, slurm.per_node, slurm.threads), (12, 4, 2))
        for ranks, nodes, on_each in ((1, 1, 1), (4, 1, 4), (5, 2, 4), (12, 3, 4)):
            command = " ".join(str(word) for word in slurm.start(ranks, ["winnow"]))
            self.assertRegex(command, rf"--nodes={nodes} --ntasks={ranks} --ntasks-per-node={on_each} ")

    def test_nodes_that_differ_count_as_the_least_of_them(self):
        slurm = self.launcher("4(x2),3", 3)
        self.assertEqual((slurm.ranks, slurm.per_node), (9, 3))
        self.assertIn("--cpus-per-task=8", slurm.on_one_whole_node(["winnow"]))


if __name__ == "__main__":
    unittest.main()
