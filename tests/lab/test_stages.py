"""What a stage makes is there whole or not at all, and a folder holds one kind of laboratory."""

import contextlib
import json
import os
import tempfile
import unittest
from pathlib import Path

from lab.__main__ import check_settings, parse
from lab.stage import stage
from probe.errors import UserError


class Stages(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_done_once(self):
        calls = []

        def make(where: Path) -> dict[str, int]:
            calls.append(where)
            (where / "file").write_text("x")
            return {"n": len(calls)}

        self.assertEqual([stage(self.folder / "a", make) for _ in range(3)], [{"n": 1}] * 3)
        self.assertEqual(len(calls), 1)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a"])
        self.assertEqual((self.folder / "a" / "file").read_text(), "x")

    def test_interrupted_leaves_nothing_that_counts(self):
        def make(where: Path) -> None:
            (where / "half").write_text("x")
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            stage(self.folder / "a", make)
        self.assertFalse((self.folder / "a").exists())
        # What the interrupted one left is not part of the next.
        self.assertEqual(stage(self.folder / "a", lambda where: sorted(os.listdir(where))), [])

    def test_settings(self):
        check_settings(self.folder / "lab", {"scale": "quick"})
        check_settings(self.folder / "lab", {"scale": "quick"})
        with self.assertRaisesRegex(UserError, "of scale quick, not full"):
            check_settings(self.folder / "lab", {"scale": "full"})
        (self.folder / "other").mkdir()
        (self.folder / "other" / "thesis.txt").touch()
        with self.assertRaisesRegex(UserError, "other files"):
            check_settings(self.folder / "other", {"scale": "full"})
        self.assertEqual(json.loads((self.folder / "lab" / "settings.json").read_text()), {"scale": "quick"})

    def test_options(self):
        self.assertEqual(parse(["--output", "x", "--models", "3"]).seeds, (0, 1, 2))
        self.assertEqual(parse(["--output", "x", "--seeds", "3,1"]).seeds, (1, 3))
        self.assertEqual(parse(["--output", "x", "--quick"]).seeds, (0, 2))  # one for choosing, one that confirms
        for wrong in (
            ["--models", "2", "--seeds", "1"],
            ["--models", "0"],
            ["--jobs", "0"],
            ["--seeds", "a"],
            ["--seeds", "-1"],
        ):
            with self.assertRaises(SystemExit), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                parse(["--output", "x", *wrong])


if __name__ == "__main__":
    unittest.main()
