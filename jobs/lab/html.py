"""Pieces of a page: the style sheet, tables, sections, the document around them."""

import re
from html import escape
from pathlib import Path
from typing import Any, Sequence

from lab.drawing import STYLE

# The style sheet of winnow's own report page, so that the two never differ.
STYLE_SOURCE = Path(__file__).resolve().parents[2] / "src" / "report" / "html" / "style.hpp"

Json = dict[str, Any]


def style() -> str:
    found = re.search(r'R"css\((.*)\)css"', STYLE_SOURCE.read_text(), re.DOTALL)
    if found is None:
        raise RuntimeError(f"no style sheet in {STYLE_SOURCE}")
    return found[1] + STYLE


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    tall = " tall" if len(rows) > 24 else ""
    return (
        f'<div class="scroll{tall}" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def section(name: str, title: str, text: str, *cards: str) -> str:
    body = "".join(f'<div class="card">{card}</div>\n' for card in cards if card)
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>\n<p>{text}</p>\n{body}</section>\n'


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def points(value: float | None) -> str:
    """A loss, as the change it is."""
    return "–" if value is None else f"{-100 * value:+.1f}"


def document(title: str, subtitle: str, *sections: str, head: str = "") -> str:
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width,initial-scale=1">\n',
            # Whatever a name held, nothing is loaded and nothing runs.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
            f"<title>{escape(title)}</title>\n<style>{style()}</style>\n</head>\n<body>\n<header>\n<h1>{escape(title)}</h1>\n",
            f'<p class="soft">{escape(subtitle)}</p>\n{head}</header>\n<main>\n',
            *sections,
            "</main>\n</body>\n</html>\n",
        )
    )
