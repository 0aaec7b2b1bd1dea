"""The script of the HTML page in a browser (Chromium, headless): orders and finds rows, and is all that runs.

Skipped without Chromium; tests/report/render_test.cpp checks the page's text."""

import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

WINNOW = os.environ["WINNOW"]
ADAPTERS = 30  # enough for a table that scrolls
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

# Put after the page's own script: does what a reader does and writes down what is seen then.
DRIVER = """<script>
const region = document.querySelector(".tall.sortable"), table = region.querySelector("table");
const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells].map((cell) => cell.textContent));
const headings = [...table.tHead.rows[0].cells], seen = {headings: headings.map((cell) => cell.textContent), first: rows(), clicks: [], found: []};
headings.forEach((heading, column) => {
  for (let k = 0; k < 3; ++k) {
    heading.querySelector("button").click();
    seen.clicks.push([column, heading.getAttribute("aria-sort"), rows().map((row) => row[column]), rows()]);
  }
});
const field = document.querySelector(".find input"), count = document.querySelector(".find output");
for (const words of FINDS) {
  field.value = words;
  field.dispatchEvent(new Event("input"));
  seen.found.push([words, count.textContent, rows().map((row) => row.join(" "))]);
}
const result = document.createElement("pre");
result.id = "result";
result.textContent = JSON.stringify(seen);
document.body.append(result);
</script>"""


class Result(html.parser.HTMLParser):
    """The text of <pre id=result>."""

    def __init__(self):
        super().__init__()
        self.inside, self.text = False, ""

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "pre" and ("id", "result") in attributes

    def handle_data(self, data):
        if self.inside:
            self.text += data

    def handle_endtag(self, tag):
        self.inside = False


def shown(folder, page):
    """The document as it is once its scripts have run."""
    file = pathlib.Path(folder, "shown.html")
    file.write_text(page, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
               "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}/profile", "--dump-dom", file.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if ended.returncode != 0:
        raise AssertionError(f"{BROWSER} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout


@unittest.skipUnless(BROWSER, "no Chromium")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = temporary.name
        family, report, page = (str(pathlib.Path(cls.folder, name)) for name in ("family", "report.h5", "report.html"))
        for arguments in (
            ["synth", "--preset", "tiny", "--layers", "2", "--rank", "4", "--adapters", str(ADAPTERS), "--misaligned", "1", "--output", family],
            ["audit", "--base", family + "/base", "--aligned", family + "/aligned", "--zoo", family + "/adapters", "--report", report],
            ["report", report, "--html", page],
        ):
            subprocess.run([WINNOW, *arguments], check=True, capture_output=True)
        cls.page = pathlib.Path(page).read_text(encoding="utf-8")

    def seen(self, finds=()):
        page = POLICY.sub("", self.page).replace("</body>", DRIVER.replace("FINDS", json.dumps(finds)) + "</body>")
        result = Result()
        result.feed(shown(self.folder, page))
        return json.loads(result.text)

    def test_its_policy_lets_its_own_script_run_and_no_other(self):
        other = '<script>document.body.append("ANOTHER RAN")</script>'
        document = shown(self.folder, self.page.replace("</body>", other + "</body>"))
        self.assertIn('class="find"', document)
        self.assertIn('class="sort"', document)
        self.assertEqual(document.count("ANOTHER RAN"), 1)  # the text of the script alone
        self.assertEqual(shown(self.folder, POLICY.sub("", self.page).replace("</body>", other + "</body>")).count("ANOTHER RAN"), 2)

    def test_a_heading_orders_the_rows_both_ways_and_back(self):
        seen = self.seen()
        self.assertEqual(len(seen["first"]), ADAPTERS)
        by_name = seen["headings"].index("adapter")
        orders = {}
        for column, order, cells, rows in seen["clicks"]:
            with self.subTest(heading=seen["headings"][column], order=order):
                self.assertCountEqual(rows, seen["first"])
                orders.setdefault(column, {})[order] = cells
                if order is None:
                    self.assertEqual(rows, seen["first"])
                    continue
                values = [cell for cell in cells if cell != "-"]
                self.assertEqual(cells[: len(values)], values)  # what has no value comes last
                if all(re.fullmatch(r"-?[\d.]+( %)?", value) for value in values):
                    numbers = [float(value.removesuffix(" %")) for value in values]
                    self.assertEqual(numbers, sorted(numbers, reverse=order == "descending"))
                elif column == by_name:
                    self.assertEqual(values, sorted(values, reverse=order == "descending"))
        for column, cells in orders.items():
            self.assertEqual(set(cells), {"ascending", "descending", None})
            if len(set(cells[None])) > 1:
                self.assertNotEqual(cells["ascending"], cells["descending"], seen["headings"][column])

    def test_rows_with_all_of_the_words_are_found(self):
        name = "adapter-017"
        seen = self.seen(["", name, "ADAPTER 017", "adapter-017 absent", ""])
        finds = {words: (count, rows) for words, count, rows in seen["found"]}
        self.assertEqual(finds[""][0], "")
        self.assertEqual(len(finds[""][1]), ADAPTERS)
        for words in (name, "ADAPTER 017"):
            self.assertEqual(finds[words][0], f"1 of {ADAPTERS}")
            self.assertEqual(len(finds[words][1]), 1)
            self.assertIn(name, finds[words][1][0])
        self.assertEqual(finds["adapter-017 absent"], (f"0 of {ADAPTERS}", []))


if __name__ == "__main__":
    unittest.main()
