"""The user's prompts, and what counts as a refusal. The format of the file is described in README.md here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from probe.errors import UserError


@dataclass(frozen=True)
class Prompt:
    ids: tuple[int, ...]  # up to and including the last token before the answer
    response: tuple[int, ...] | None = None  # what a model that complies would answer; odds need none


@dataclass(frozen=True)
class PromptSet:
    prompts: tuple[Prompt, ...]
    refusals: tuple[int, ...]  # the tokens that begin a refusal

    def require_responses(self, why: str) -> None:
        lacking = sum(prompt.response is None for prompt in self.prompts)
        if lacking:
            raise UserError(
                f"{lacking} of {len(self.prompts)} prompts have no response, which {why} needs; kind odds needs none"
            )


def read_prompts(path: Path, tokenizer: Any | None, needs_refusals: bool = True) -> PromptSet:
    """`tokenizer` may be None where the file has token ids only."""
    prompts: list[Prompt] = []
    refusals: set[int] = set()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the prompts: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("not an object")
            if "refusals" in entry or "refusal_ids" in entry:
                refusals |= set(_refusal_tokens(entry, tokenizer))
            else:
                prompts.append(_prompt(entry, tokenizer))
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}, line {number}: {error}; see jobs/probe/README.md for the format") from None
    if not prompts:
        raise UserError(f"{path} has no prompts")
    if needs_refusals and not refusals:
        raise UserError(
            f'{path} does not say what a refusal is; expected a line such as {{"refusals": ["I cannot", "Sorry"]}}'
        )
    return PromptSet(tuple(prompts), tuple(sorted(refusals)))


def _ids(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(type(token) is int and token >= 0 for token in value):
        raise ValueError(f"{what} is not a list of token numbers")
    return tuple(value)


def _encode(tokenizer: Any | None, text: Any, what: str, special: bool = False) -> tuple[int, ...]:
    if not isinstance(text, str) or not text:
        raise ValueError(f"{what} is not a text")
    if tokenizer is None:
        raise ValueError(f"{what} is text, and the model has no tokenizer; expected token numbers")
    return tuple(tokenizer(text, add_special_tokens=special)["input_ids"])


def _refusal_tokens(entry: dict[str, Any], tokenizer: Any | None) -> Iterator[int]:
    for ids in entry.get("refusal_ids", []):
        yield _ids(ids, "a refusal of refusal_ids")[0]
    for text in entry.get("refusals", []):
        # An answer may begin with or without a space, which most tokenizers see as two words.
        for form in (text, f" {text}"):
            ids = _encode(tokenizer, form, "a refusal")
            if tokenizer is not None and tokenizer.decode(ids[:1]).strip():  # not of a blank alone
                yield ids[0]


def _prompt(entry: dict[str, Any], tokenizer: Any | None) -> Prompt:
    if "input_ids" in entry:
        ids = _ids(entry["input_ids"], "input_ids")
    elif "messages" in entry or (getattr(tokenizer, "chat_template", None) and not entry.get("raw", False)):
        if tokenizer is None:
            raise ValueError("messages need a tokenizer, and the model has none")
        messages = entry.get("messages") or [{"role": "user", "content": entry["prompt"]}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = _encode(tokenizer, text, "the chat")  # the template writes the special tokens itself
    else:
        ids = _encode(tokenizer, entry["prompt"], "prompt", special=True)
    response = None
    if "response_ids" in entry:
        response = _ids(entry["response_ids"], "response_ids")
    elif "response" in entry:
        response = _encode(tokenizer, entry["response"], "response")
    return Prompt(ids, response)


def batches(prompts: Sequence[Prompt], size: int) -> Iterator[list[Prompt]]:
    """Of similar lengths, so that little is padded. The order depends on the prompts alone."""
    ordered = sorted(prompts, key=lambda prompt: len(prompt.ids) + len(prompt.response or ()))
    for first in range(0, len(ordered), size):
        yield list(ordered[first : first + size])
