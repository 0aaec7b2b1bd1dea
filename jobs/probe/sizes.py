import re

_UNITS = {
    "": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


def parse_bytes(text: str) -> int:
    """As winnow reads sizes: 4GiB, 500MB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size")
    return int(float(match[1]) * _UNITS[match[2] or ""])
