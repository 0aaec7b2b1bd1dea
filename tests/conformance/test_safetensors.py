"""winnow and the safetensors library accept and refuse the same files, and read the same from those they accept.

The differences allowed are listed in STRICTER: above all, the library keeps the last of two tensors (or metadata keys)
of one name; winnow refuses the file. Nothing that the library refuses is accepted.
"""

import copy
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import safetensors
from winnow_program import REAL, Report, TemporaryDirectoryCase, needs_winnow, run

MUTATIONS = int(os.environ.get("WINNOW_CONFORMANCE_MUTATIONS", "6000"))


def file_of(header, data=b"", pad=0):
    """A file with this header (text, bytes or a dict) and data."""
    if isinstance(header, (dict, list)):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode(errors="surrogatepass")
    header += b" " * pad
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype="F32", shape=(2, 2), begin=0, end=16):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def text(tensor='{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', before="", after=""):
    return f'{{{before}"a":{tensor}{after}}}'


EIGHT = b"\0" * 8
SIXTEEN = b"\0" * 16
GOOD = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'

ACCEPTED = {
    "no tensors": file_of("{}"),
    "no tensors, padded": file_of("{}", pad=6),
    "metadata only": file_of({"__metadata__": {"format": "pt"}}),
    "metadata null": file_of(text(before='"__metadata__":null,'), EIGHT),
    "one tensor": file_of({"a": entry()}, SIXTEEN),
    "scalar": file_of({"a": entry(shape=(), end=4)}, b"\0" * 4),
    "zero-size dimension": file_of({"a": entry(shape=(0, 7), end=0)}),
    "zero-size between others": file_of({"a": entry(), "z": entry(shape=(0,), begin=16, end=16),
                                         "b": entry(begin=16, end=32)}, SIXTEEN * 2),
    "huge shape with a zero": file_of({"a": entry(shape=(2**40, 0, 2**10), end=0)}),
    "any key order": file_of({"b": entry(begin=16, end=32), "a": entry()}, SIXTEEN * 2),
    "fields in another order": file_of(text('{"data_offsets":[0,8],"shape":[2],"dtype":"F32"}'), EIGHT),
    "leading white space": file_of(" \n\t\r" + text(), EIGHT),
    "trailing white space": file_of(text() + " \n", EIGHT),
    "unknown keys": file_of(text('{' + GOOD + ',"extra":[1,{"x":null}],"more":1.5e3}'), EIGHT),
    "unknown key nested 127 levels deep": file_of(text('{' + GOOD + ',"x":' + "[" * 125 + "]" * 125 + '}'), EIGHT),
    "escaped name": file_of('{"\\u0061\\n\\ud83d\\ude00":{' + GOOD + '}}', EIGHT),
    "UTF-8 name": file_of('{"größe":{' + GOOD + '}}', EIGHT),
    "empty name": file_of('{"":{' + GOOD + '}}', EIGHT),
    "NUL in a name": file_of('{"a\\u0000b":{' + GOOD + '}}', EIGHT),
    "four-bit pairs": file_of({"a": entry("F4", (4,), 0, 2)}, b"\0\0"),
    "six-bit quartets": file_of({"a": entry("F6_E2M3", (4,), 0, 3), "b": entry("F6_E3M2", (8,), 3, 9)}, b"\0" * 9),
    **{f"dtype {name}": file_of({"a": entry(name, (2,), 0, 2 * size)}, b"\0" * 2 * size)
       for name, size in {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1,
                          "F8_E5M2FNUZ": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
                          "C64": 8, "F64": 8, "I64": 8, "U64": 8}.items()},
}

REFUSED = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "no header": struct.pack("<Q", 0),
    "header longer than allowed": struct.pack("<Q", 100_000_001) + b"{}",
    "git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "N of all ones": b"\xff" * 8 + b"{}",
    "header past the end": struct.pack("<Q", 100) + b"{}",
    "not UTF-8": file_of(b'{"\xff":{' + GOOD.encode() + b'}}', EIGHT),
    "overlong UTF-8": file_of(b'{"\xc0\xaf":{' + GOOD.encode() + b'}}', EIGHT),
    "UTF-8 surrogate": file_of(b'{"\xed\xa0\x80":{' + GOOD.encode() + b'}}', EIGHT),
    "lone escaped surrogate": file_of('{"\\ud800":{' + GOOD + '}}', EIGHT),
    "byte order mark": file_of("\ufeff" + text(), EIGHT),
    "bad JSON": file_of("{bad}"),
    "truncated JSON": file_of(text()[:-1], EIGHT),
    "trailing comma": file_of(text(after=","), EIGHT),
    "text after the object": file_of(text() + "x", EIGHT),
    "two objects": file_of(text() + "{}", EIGHT),
    "NUL padding": file_of(text() + "\0", EIGHT),
    "comment": file_of("/**/" + text(), EIGHT),
    "control character in a name": file_of('{"a\x01":{' + GOOD + '}}', EIGHT),
    "array": file_of("[]"),
    "null": file_of("null"),
    "number": file_of("1"),
    "tensor null": file_of(text("null"), EIGHT),
    "tensor number": file_of(text("3"), EIGHT),
    "tensor text": file_of(text('"x"'), EIGHT),
    "unknown dtype": file_of({"a": entry("F31")}, SIXTEEN),
    "dtype in lower case": file_of({"a": entry("f32")}, SIXTEEN),
    "dtype number": file_of(text('{"dtype":1,"shape":[2],"data_offsets":[0,8]}'), EIGHT),
    "dtype null": file_of(text('{"dtype":null,"shape":[2],"data_offsets":[0,8]}'), EIGHT),
    "missing dtype": file_of(text('{"shape":[2],"data_offsets":[0,8]}'), EIGHT),
    "missing shape": file_of(text('{"dtype":"F32","data_offsets":[0,8]}'), EIGHT),
    "missing offsets": file_of(text('{"dtype":"F32","shape":[2]}'), EIGHT),
    "negative dimension": file_of({"a": entry(shape=(-1,), end=8)}, EIGHT),
    "minus zero": file_of(text('{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}')),
    "fractional dimension": file_of(text('{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}'), EIGHT),
    "exponent": file_of(text('{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}'), EIGHT),
    "leading zero": file_of(text('{"dtype":"F32","shape":[02],"data_offsets":[0,8]}'), EIGHT),
    "plus sign": file_of(text('{"dtype":"F32","shape":[+2],"data_offsets":[0,8]}'), EIGHT),
    "dimension of 2^64": file_of({"a": entry(shape=(2**64,), end=0)}),
    "text as dimension": file_of(text('{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}'), EIGHT),
    "shape null": file_of(text('{"dtype":"F32","shape":null,"data_offsets":[0,8]}'), EIGHT),
    "shape number": file_of(text('{"dtype":"F32","shape":2,"data_offsets":[0,8]}'), EIGHT),
    "no offsets": file_of(text('{"dtype":"F32","shape":[2],"data_offsets":[]}'), EIGHT),
    "one offset": file_of(text('{"dtype":"F32","shape":[2],"data_offsets":[8]}'), EIGHT),
    "three offsets": file_of(text('{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}'), EIGHT),
    "negative offset": file_of({"a": entry(begin=-8, end=8)}, EIGHT),
    "metadata array": file_of(text(before='"__metadata__":[],'), EIGHT),
    "metadata number": file_of(text(before='"__metadata__":{"a":1},'), EIGHT),
    "metadata value null": file_of(text(before='"__metadata__":{"a":null},'), EIGHT),
    "metadata nested": file_of(text(before='"__metadata__":{"a":{}},'), EIGHT),
    "first offset not 0": file_of({"a": entry(begin=8, end=24)}, SIXTEEN + EIGHT),
    "gap": file_of({"a": entry(), "b": entry(begin=20, end=36)}, SIXTEEN * 2 + EIGHT),
    "overlap": file_of({"a": entry(), "b": entry(begin=8, end=24)}, SIXTEEN + EIGHT),
    "same range twice": file_of({"a": entry(), "b": entry()}, SIXTEEN),
    "end before begin": file_of({"a": entry(begin=16, end=0)}, SIXTEEN),
    "shape product overflows": file_of({"a": entry(shape=(2**32, 2**32), end=0)}),
    "bit count overflows": file_of({"a": entry("F64", (2**61,), 0, 0)}),
    "half a byte": file_of({"a": entry("F4", (3,), 0, 2)}, b"\0\0"),
    "six bits": file_of({"a": entry("F6_E2M3", (1,), 0, 1)}, b"\0"),
    "size differs from shape": file_of({"a": entry(end=12)}, b"\0" * 12),
    "truncated data": file_of({"a": entry()}, SIXTEEN[:-1]),
    "trailing byte": file_of({"a": entry()}, SIXTEEN + b"\0"),
    "data without tensors": file_of("{}", b"\0"),
    "unknown key nested 128 levels deep": file_of(text('{' + GOOD + ',"x":' + "[" * 126 + "]" * 126 + '}'), EIGHT),
    "unknown key nested 100,000 levels deep": file_of(
        text('{' + GOOD + ',"x":' + "[" * 100_000 + "]" * 100_000 + '}'), EIGHT),
    "number out of range": file_of(text('{' + GOOD + ',"x":1e999}'), EIGHT),
    "metadata twice": file_of(text(before='"__metadata__":{},"__metadata__":{},'), EIGHT),
    "field twice": file_of(text('{' + GOOD + ',"dtype":"F32"}'), EIGHT),
}

# Accepted by the library, refused here (src/adapter/README.md): what is said twice, and what no writer writes but serde,
# which the library parses with, also takes for a record or an enumerator.
STRICTER = {
    "tensor as an array": (file_of('{"a":["F32",[2],[0,8]]}', EIGHT), "not an object"),
    "dtype as an object": (file_of(text('{"dtype":{"F32":null},"shape":[2],"data_offsets":[0,8]}'), EIGHT), "dtype"),
    "tensor twice": (file_of('{"a":{%s},"a":{%s}}' % (GOOD, GOOD), EIGHT), "twice"),
    "tensor twice, escaped": (file_of('{"a":{%s},"\\u0061":{%s}}' % (GOOD, GOOD), EIGHT), "twice"),
    "metadata key twice": (file_of('{"__metadata__":{"k":"1","k":"2"},"a":{%s}}' % GOOD, EIGHT), "twice"),
}


def library(data):
    """(accepted, {name: [dtype, shape, begin, end]} or the message)."""
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        return False, str(error)
    return True, {name: (value["dtype"], list(value["shape"]), bytes(value["data"])) for name, value in tensors}


class Probe:
    def __init__(self, directory):
        self.program = os.environ["WINNOW_SAFETENSORS_PROBE"]
        self.directory = Path(directory)

    def __call__(self, files):
        """For each byte string (accepted, tensors as `library` gives them, or the message)."""
        paths = []
        for number, data in enumerate(files):
            paths.append(self.directory / f"{number}.safetensors")
            paths[-1].write_bytes(data)
        done = subprocess.run([self.program], input="".join(f"{path}\n" for path in paths).encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1800)
        if done.returncode != 0:
            raise AssertionError(f"the probe failed ({done.returncode}): {done.stderr.decode(errors='replace')}")
        lines = done.stdout.decode().split("\n")[:-1]
        if len(lines) != len(paths):
            raise AssertionError(f"{len(paths)} files, {len(lines)} lines: a message of more than one line?")
        return [self.parse(line, data) for line, data in zip(lines, files)]

    @staticmethod
    def parse(line, data):
        verdict, _, rest = line.partition("\t")
        if verdict != "ok":
            return False, rest
        payload = data[8 + struct.unpack("<Q", data[:8])[0]:]
        return True, {name: (dtype, shape, payload[begin:end])
                      for name, (dtype, shape, begin, end) in json.loads(rest).items()}


def says_something_twice(data):
    """Whether an object of the header holds a key twice, counted by Python's own JSON reader."""
    twice = []

    def pairs(items):
        keys = [key for key, _ in items]
        if len(set(keys)) != len(keys):
            twice.append(keys)
        return dict(items)

    length = struct.unpack("<Q", data[:8])[0]
    json.loads(data[8:8 + length].decode(), object_pairs_hook=pairs)
    return bool(twice)


def mutate_bytes(generator, data):
    data = bytearray(data)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        position = generator.randrange(len(data)) if data else 0
        kind = generator.randrange(8)
        structural = [index for index, byte in enumerate(data) if byte in b'{}[],:']
        if kind >= 6 and structural:
            data.insert(generator.choice(structural), generator.choice(b' \t\n\r    \f\v'))
        elif kind == 0 and data:
            data[position] = generator.randrange(256)
        elif kind == 1 and data:
            data[position] ^= 1 << generator.randrange(8)
        elif kind == 2 and data:
            del data[position:position + generator.randint(1, 4)]
        elif kind == 3:
            data[position:position] = bytes(generator.choice(b'{}[]",:0123456789.eE+-\\ \n\t    null') for _ in range(2))
        elif kind == 4 and data:
            data = data[:generator.randrange(len(data) + 1)]
        else:
            data += bytes(generator.randint(1, 9))
    return bytes(data)


def mutate_header_text(generator, data):
    """Changes the JSON text and corrects N, so that the change reaches the parser behind the length check."""
    if len(data) < 8:
        return mutate_bytes(generator, data)
    length = struct.unpack("<Q", data[:8])[0]
    header, payload = data[8:8 + length], data[8 + length:]
    return file_of(mutate_bytes(generator, header), payload)


SCALARS = [0, 1, 2, 4, 8, 15, 16, 17, 24, 32, -1, 1.0, 2.5, 1e300, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1, 2**64,
           10**30, None, True, "", "F32", "BF16", "f32", "F4", "x\u0000", "\ud83d\ude00", [], {}, [0], {"a": "b"}]


def scalar(generator):
    return copy.deepcopy(generator.choice(SCALARS))


def mutate_json(generator, data):
    """Changes a value, a key or the structure of a well-formed header; often keeps sizes consistent."""
    try:
        length = struct.unpack("<Q", data[:8])[0]
        header, payload = json.loads(data[8:8 + length]), data[8 + length:]
    except (struct.error, ValueError):
        return mutate_bytes(generator, data)
    if not isinstance(header, dict):
        return mutate_header_text(generator, data)
    for _ in range(generator.randint(1, 2)):
        tensors = [key for key in header if isinstance(header[key], dict) and key != "__metadata__"]
        kind = generator.randrange(8)
        if kind == 0:
            header["__metadata__"] = generator.choice([{"format": "pt"}, {}, None, {"a": scalar(generator)},
                                                       scalar(generator)])
        elif kind == 1 or not tensors:
            size = generator.choice([0, 1, 2, 3, 8])
            header[generator.choice(["n", "m", "", "é"])] = entry(
                generator.choice(["U8", "F32", "F4", "BF16"]), (size,), len(payload), len(payload) + size)
            payload += bytes(size)
        elif kind == 2:
            name = generator.choice(tensors)
            header[name][generator.choice(["dtype", "shape", "data_offsets", "extra"])] = scalar(generator)
        elif kind == 3:
            name = generator.choice(tensors)
            header[name].pop(generator.choice(sorted(header[name]) or ["dtype"]), None)
        elif kind in (4, 5):
            values = header[generator.choice(tensors)].get("shape" if kind == 4 else "data_offsets")
            if isinstance(values, list) and values:
                values[generator.randrange(len(values))] = scalar(generator)
            elif isinstance(values, list):
                values.append(scalar(generator))
        elif kind == 6:
            payload = payload[:generator.randrange(len(payload) + 1)] if generator.random() < 0.5 else payload + b"\0"
        else:
            names = list(header)
            generator.shuffle(names)
            header = {name: header[name] for name in names}
    return file_of(json.dumps(header, ensure_ascii=generator.random() < 0.5,
                              indent=generator.choice([None, None, 1])), payload, generator.choice([0, 0, 3]))


@unittest.skipUnless(os.environ.get("WINNOW_SAFETENSORS_PROBE"), "WINNOW_SAFETENSORS_PROBE is not set")
class SafetensorsAgreement(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.probe = Probe(directory.name)

    def test_written_by_hand_accepted(self):
        for (name, data), ours in zip(ACCEPTED.items(), self.probe(ACCEPTED.values())):
            with self.subTest(name):
                theirs = library(data)
                self.assertTrue(theirs[0], f"the library refuses it: {theirs[1]}")
                self.assertTrue(ours[0], f"winnow refuses it: {ours[1]}")
                self.assertEqual(ours[1], theirs[1])

    def test_written_by_hand_refused(self):
        for (name, data), ours in zip(REFUSED.items(), self.probe(REFUSED.values())):
            with self.subTest(name):
                theirs = library(data)
                self.assertFalse(theirs[0], "the library accepts it")
                self.assertFalse(ours[0], f"winnow accepts it, the library says: {theirs[1]}")
                self.assertIn(".safetensors", ours[1])

    def test_each_refusal_has_its_own_words(self):
        """Messages of the classes that a user must tell apart do not coincide."""
        classes = ["empty file", "header longer than allowed", "header past the end", "not UTF-8", "bad JSON",
                   "unknown dtype", "missing shape", "negative dimension", "three offsets", "metadata number",
                   "first offset not 0", "gap", "overlap", "end before begin", "shape product overflows", "half a byte",
                   "size differs from shape", "truncated data", "trailing byte"]
        messages = [message for _, message in self.probe([REFUSED[name] for name in classes])]
        summaries = [message.split(".safetensors")[0].rsplit(":", 1)[0] for message in messages]
        for name, summary in zip(classes, summaries):
            others = [other for other, text_ in zip(classes, summaries) if text_ == summary and other != name]
            self.assertEqual(others, [], f"'{name}' reads like them: {summary}")

    def test_stricter_where_documented(self):
        results = self.probe([data for data, _ in STRICTER.values()])
        for (name, (data, words)), ours in zip(STRICTER.items(), results):
            with self.subTest(name):
                self.assertTrue(library(data)[0], "no longer a difference: move it to REFUSED")
                self.assertFalse(ours[0], "winnow accepts it")
                self.assertIn(words, ours[1])

    def check_mutations(self, mutate, seed):
        generator = random.Random(seed)
        seeds = [data for data in [*ACCEPTED.values()] * 4 + [*REFUSED.values()]
                 if b"[[[[" not in data]  # a depth limit is one known case, above, not a thousand
        files = [mutate(generator, generator.choice(seeds)) for _ in range(MUTATIONS)]
        differences, accepted, twice = [], 0, 0
        for data, ours in zip(files, self.probe(files)):
            theirs = library(data)
            accepted += theirs[0]
            if ours == theirs or not ours[0] and not theirs[0]:
                continue
            if theirs[0] and not ours[0] and says_something_twice(data):
                twice += 1
                continue
            differences.append(f"{data!r}\n  winnow: {ours}\n  library: {theirs}")
        self.assertEqual(differences[:5], [], f"{len(differences)} of {len(files)} differ")
        self.assertGreater(accepted, len(files) // 100, "hardly any mutated file is accepted: the mutations are too wild")
        self.assertLess(accepted, len(files), "every mutated file is accepted: the mutations do nothing")
        print(f"\n  {mutate.__name__}: {len(files)} files, {accepted} accepted by the library, {twice} refused as "
              "saying something twice, no other difference", end="", flush=True)

    def test_mutated_bytes(self):
        self.check_mutations(mutate_bytes, 1)

    def test_mutated_header_text(self):
        self.check_mutations(mutate_header_text, 2)

    def test_mutated_json(self):
        self.check_mutations(mutate_json, 3)


@needs_winnow
class RefusedByTheProgram(TemporaryDirectoryCase):
    def test_checkpoint(self):
        """A malformed checkpoint ends the run before any work: exit 3, one line, naming the file, no report."""
        for number, (name, data) in enumerate({**REFUSED, **{key: pair[0] for key, pair in STRICTER.items()}}.items()):
            with self.subTest(name):
                base = self.directory / f"base-{number}"
                base.mkdir()
                shutil.copy(REAL / "qwen2/base/config.json", base)
                (base / "model.safetensors").write_bytes(data)
                report = self.directory / f"{number}.h5"
                done = run(["audit", "--base", base, "--aligned", REAL / "qwen2/aligned", "--adapter",
                            REAL / "qwen2/adapters/plain", "--report", report], expect=3)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.assertIn("model.safetensors", done.stderr)
                self.assertFalse(report.exists())

    def test_adapters_of_a_zoo(self):
        """Malformed adapters are quarantined, each with a reason that names the file; the sound one is scored."""
        zoo = self.directory / "zoo"
        shutil.copytree(REAL / "qwen2/adapters/plain", zoo / "sound")
        bad = {f"bad-{number:03}": data for number, data in enumerate(REFUSED.values())}
        bad["bad-no-tensors"] = file_of("{}", pad=38)
        for name, data in bad.items():
            (zoo / name).mkdir()
            shutil.copy(REAL / "qwen2/adapters/plain/adapter_config.json", zoo / name)
            (zoo / name / "adapter_model.safetensors").write_bytes(data)
        path = self.directory / "zoo.h5"
        run(["audit", "--base", REAL / "qwen2/base", "--aligned", REAL / "qwen2/aligned", "--zoo", zoo, "--report", path])
        report = Report(path)
        self.assertEqual(report.status["sound"], "ok")
        for name in bad:
            with self.subTest(name):
                self.assertEqual(report.status[name], "quarantined")
                self.assertIn("adapter_model.safetensors", report.reason[name])


if __name__ == "__main__":
    unittest.main()
