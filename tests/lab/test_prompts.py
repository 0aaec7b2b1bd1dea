"""The file of prompts: what is read, and what is refused with its line."""

import json
import tempfile
import unittest
from pathlib import Path

from probe.errors import UserError
from probe.prompts import Prompt, batches, read_prompts


class Tokenizer:
    """A letter is a token. With a chat template it writes [u]…[a]."""

    def __init__(self, chat: bool = False) -> None:
        self.chat_template = "yes" if chat else None

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": ([1] if add_special_tokens else []) + [ord(letter) for letter in text]}

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool, tokenize: bool) -> str:
        return "".join(f"[{message['role'][0]}]{message['content']}" for message in messages) + (
            "[a]" if add_generation_prompt else ""
        )


class Prompts(unittest.TestCase):
    def read(self, *lines: object, tokenizer: Tokenizer | None = None):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompts.jsonl"
            path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
            return read_prompts(path, tokenizer)

    def test_token_numbers_need_no_tokenizer(self):
        found = self.read(
            {"refusal_ids": [[7, 8], [9]]}, "", {"input_ids": [1, 2], "response_ids": [3]}, {"input_ids": [4]}
        )
        self.assertEqual(found.refusals, (7, 9))
        self.assertEqual(found.prompts, (Prompt((1, 2), (3,)), Prompt((4,), None)))

    def test_text(self):
        found = self.read({"refusals": ["No", "Sorry"]}, {"prompt": "ab", "response": "c"}, tokenizer=Tokenizer())
        self.assertEqual(
            found.prompts, (Prompt((1, 97, 98), (99,)),)
        )  # with the special token of a beginning, the response without
        self.assertEqual(found.refusals, (ord("N"), ord("S")))  # " No" begins with a blank here, which is no refusal

    def test_chat_template_is_used_unless_told(self):
        def text(prompt: Prompt) -> str:
            return "".join(map(chr, prompt.ids))

        found = self.read(
            {"refusals": ["No"]},
            {"prompt": "x"},
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "y"}]},
            {"prompt": "z", "raw": True},
            tokenizer=Tokenizer(chat=True),
        )
        self.assertEqual([text(prompt) for prompt in found.prompts], ["[u]x[a]", "[s]s[u]y[a]", "\x01z"])

    def test_refused_with_the_line(self):
        good = {"refusal_ids": [[7]]}
        for bad, what in (
            ("{", "line 2"),
            ("[1]", "line 2: not an object"),
            ({"input_ids": []}, "line 2: input_ids"),
            ({"input_ids": [1.5]}, "line 2"),
            ({"input_ids": [True]}, "line 2"),
            ({"prompt": "x"}, "no tokenizer"),
            ({}, "line 2"),
            ({"refusal_ids": [[]]}, "line 2"),
            ({"input_ids": [1], "response_ids": []}, "line 2"),
        ):
            with self.subTest(bad=bad), self.assertRaisesRegex(UserError, what):
                self.read(good, bad)
        with self.assertRaisesRegex(UserError, "no prompts"):
            self.read(good)
        with self.assertRaisesRegex(UserError, "what a refusal is"):
            self.read({"input_ids": [1]})
        with self.assertRaisesRegex(UserError, "cannot read"):
            read_prompts(Path("/nowhere/prompts.jsonl"), None)

    def test_missing_responses_are_counted(self):
        found = self.read({"refusal_ids": [[7]]}, {"input_ids": [1], "response_ids": [3]}, {"input_ids": [4]})
        with self.assertRaisesRegex(UserError, "1 of 2 prompts have no response"):
            found.require_responses("kind gradient")

    def test_batches_hold_all_once(self):
        prompts = [Prompt(tuple(range(length))) for length in (5, 1, 4, 4, 2, 9, 3)]
        parts = list(batches(prompts, 3))
        self.assertEqual(
            sorted((prompt for part in parts for prompt in part), key=lambda prompt: len(prompt.ids)),
            sorted(prompts, key=lambda prompt: len(prompt.ids)),
        )
        self.assertEqual([len(part) for part in parts], [3, 3, 1])


if __name__ == "__main__":
    unittest.main()
