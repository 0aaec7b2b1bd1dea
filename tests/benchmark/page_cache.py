#!/usr/bin/env python3
"""Puts files out of the page cache or into it, and proves it with mincore(2): a cold measurement that was half warm is
worth nothing.

    page_cache.py show FILE...      share of each file that is resident
    page_cache.py evict FILE...     writes dirty pages back, drops all, fails where 1 % or more stays
    page_cache.py load FILE...      reads, fails where less than 99 % is resident then
"""

import ctypes
import mmap
import os
import sys

PAGE = mmap.PAGESIZE
COLD_SHARE, WARM_SHARE = 0.01, 0.9999  # a few holes make the program read whole slabs anew
READ_BYTES = 8 << 20
LOAD_ATTEMPTS = 4  # what is read first may be dropped for what is read last; read again, it is preferred to older files


class CacheError(Exception):
    """A file is not as cold or as warm as it was to be."""


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def _fail(path):
    number = ctypes.get_errno()
    raise CacheError(f"{path}: {os.strerror(number)}")


def resident_pages(path, offset, size):
    """(resident, all) pages of a byte range; looking at them does not load them."""
    first = offset // PAGE * PAGE
    length = offset + size - first
    if size == 0:
        return 0, 0
    with open(path, "rb") as file:
        address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), first)
    if address == ctypes.c_void_p(-1).value:
        _fail(path)
    try:
        pages = (length + PAGE - 1) // PAGE
        vector = ctypes.create_string_buffer(pages)
        if _libc.mincore(address, length, vector) != 0:
            _fail(path)
    finally:
        _libc.munmap(address, length)
    return pages - vector.raw.count(b"\0"), pages


def resident_share(ranges):
    """Share of the given (path, offset, bytes) that is resident."""
    counts = [resident_pages(*one) for one in ranges]
    return sum(resident for resident, _ in counts) / max(1, sum(pages for _, pages in counts))


def whole(paths):
    return [(path, 0, os.path.getsize(path)) for path in paths]


def evict(paths):
    """Returns the share that is still resident, below COLD_SHARE; raises CacheError where it is not."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # a dirty page cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    share = resident_share(whole(paths))
    if share >= COLD_SHARE:
        raise CacheError(f"{share:.1%} of {paths[0]} and {len(paths) - 1} more files stays resident; are they in use?")
    return share


def load(ranges):
    """Reads what is not resident; returns the resident share. Raises CacheError below WARM_SHARE: memory is short."""
    for _ in range(LOAD_ATTEMPTS):
        for one in ranges:
            resident, pages = resident_pages(*one)
            if resident < pages:
                _read(*one)
        share = resident_share(ranges)
        if share >= WARM_SHARE:
            return share
    raise CacheError(f"only {share:.1%} of {sum(one[2] for one in ranges) / 1e9:.1f} GB stays in the page cache")


def _read(path, offset, size):
    buffer = bytearray(READ_BYTES)
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while size > 0:
            count = file.readinto(memoryview(buffer)[:min(size, READ_BYTES)])
            if not count:
                raise CacheError(f"{path}: ends inside a range")
            size -= count


def main(arguments):
    if len(arguments) < 2 or arguments[0] not in ("show", "evict", "load"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    action, paths = arguments[0], arguments[1:]
    try:
        if action == "evict":
            evict(paths)
        if action == "load":
            load(whole(paths))
        for path in paths:
            print(f"{resident_share(whole([path])):7.2%}  {path}")
    except (CacheError, OSError) as error:
        print(f"page_cache.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
