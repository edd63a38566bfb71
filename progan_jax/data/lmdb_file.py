"""An LMDB's file, read by positions that are checked before they are followed.

LMDB's own library maps the file into memory and trusts what it finds there: a damaged
number ends the process (SIGBUS), or returns the value of another key. Here a page must
lie in the file and be what leads to it, keys must ascend, and there must be as many as
the file says. Values have no checksum: damage within one shows where it is decoded, if
there.

`lmdb.verify` checks more, and reads a page of every image for that before the first one
is read; it refuses sound files, too, where a transaction replaced a value of its own by
a shorter one.

Source: the format of LMDB 0.9 and 1.0 on 64-bit little-endian machines, as mdb.c and
`lmdb.verify` describe it.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_MAGIC = struct.pack("<I", 0xBEEFC0DE)
# A page begins with its number, and ends its header with flags, the end of the nodes'
# offsets and the start of the nodes, or with flags and the pages of a value.
_NUMBER = struct.Struct("<Q")
_NODES = struct.Struct("<HHH")
_EXTENT = struct.Struct("<HI")
# A node: the size of the value or the page below, flags, the size of the key.
_NODE = struct.Struct("<IHH")
# What a page of the file's own says after magic and version: of the map, two numbers;
# of each of two trees (free pages, keys) the page size, flags, depth, pages of three
# kinds, entries and root; the last page and the number of the transaction.
_TREE = "IHHQQQQQ"
_META = struct.Struct(f"<QQ{_TREE}{_TREE}QQ")

_BRANCH, _LEAF, _OVERFLOW, _DIRTY = 1, 2, 4, 16  # Flags of pages.
_ELSEWHERE = 1  # Flag of a node whose value has pages of its own.
_FIRST = 2  # Page after those of the file's own.
_EMPTY = 2**64 - 1  # Root of a tree without pages.
_DEEPEST = 32


class DamagedLmdb(Exception):
    """What is wrong with a file, or with one value of it."""


class _Form(NamedTuple):
    """What versions of the format differ in.

    Attributes:
      header: Bytes of a page before its content.
      base: From where in a page offsets of nodes are counted.
      step: Of which a key takes a multiple in bytes.
    """

    header: int
    base: int
    step: int


_FORMS = {1: _Form(16, 0, 1), 3: _Form(24, 24, 2)}  # LMDB 0.9 and 1.0.


class _Meta(NamedTuple):
    """What a page of the file's own says of the others."""

    page_size: int
    depth: int
    entries: int
    root: int
    last: int
    transaction: int


class _Value(NamedTuple):
    """Where a value lies.

    Attributes:
      size: Its bytes.
      start: Position of the first, if it lies among nodes.
      number: Of the first page, if it has its own; -1 otherwise.
    """

    size: int
    start: int
    number: int


class LmdbFile:
    """The keys of an LMDB in ascending order, and the value of each.

    Attributes:
      keys: All of them.
    """

    def __init__(self, path: Path) -> None:
        """Lists the keys.

        Args:
          path: Of the file, data.mdb as a rule.

        Raises:
          DamagedLmdb: if it is no LMDB, is damaged, or holds several databases.
          OSError: if it cannot be read.
        """
        self._path, self._file = path, None
        self._form = self._find_form()
        self._meta = self._find_meta()
        self._check_size()
        self.keys: list[bytes] = []
        values = []
        for key, value in self._walk(self._meta.root, self._meta.depth):
            self._check_key(key)
            self.keys.append(key)
            values.append(value)
        if len(self.keys) != self._meta.entries:
            raise DamagedLmdb(
                f"{len(self.keys):,} keys are there, not {self._meta.entries:,}"
            )
        self._values = np.array(values, np.int64).reshape(-1, 3)
        numbers = self._values[self._values[:, 2] >= 0, 2]
        if len(np.unique(numbers)) < len(numbers):
            raise DamagedLmdb("two of its values lie in the same place")

    def read(self, index: int, most: int) -> bytes:
        """Reads the value of a key.

        Args:
          index: Of the key.
          most: Bytes that the value may have.

        Raises:
          DamagedLmdb: if it has more, or does not lie where the file says.
          OSError: if it cannot be read.
        """
        size, start, number = (int(x) for x in self._values[index])
        if size > most:
            raise DamagedLmdb(f"{size:,} bytes are more than {most:,}")
        if number < 0:  # It lies among nodes, in a page that was checked.
            return self._read(start, size)
        page_size, header = self._meta.page_size, self._form.header
        needed = (header - 1 + size) // page_size + 1
        if not _FIRST <= number <= self._meta.last - needed + 1:
            raise DamagedLmdb("its pages are not in the file")
        value = self._read(number * page_size, header + size)
        flags, pages = _EXTENT.unpack_from(value, header - _EXTENT.size)
        said = _NUMBER.unpack_from(value)[0], flags & ~_DIRTY
        if said != (number, _OVERFLOW) or pages < needed:
            raise DamagedLmdb("its pages hold something else")
        return value[header:]

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def _find_form(self) -> _Form:
        start = self._read(0, 32)
        for version, form in _FORMS.items():
            found = start[form.header : form.header + 8]
            if found == _MAGIC + struct.pack("<I", version):
                return form
        raise DamagedLmdb("it is no LMDB, or not one of a 64-bit little-endian machine")

    def _find_meta(self) -> _Meta:
        """Returns what the last transaction wrote; there are two pages in turn."""
        first = self._read_meta(0)
        if first.page_size not in (2**k for k in range(8, 17)):
            raise DamagedLmdb(f"its pages are of {first.page_size:,} bytes")
        second = self._read_meta(first.page_size)
        newer = max(first, second, key=lambda meta: meta.transaction)
        older = second if newer is first else first
        # An older state is whole, too: it must not pass for the newer one.
        if (
            first.page_size != second.page_size
            or newer.transaction - older.transaction != bool(newer.transaction)
            or newer is not (first, second)[newer.transaction % 2]
            or newer.last < older.last
        ):
            raise DamagedLmdb("its two first pages contradict each other")
        return newer

    def _read_meta(self, start: int) -> _Meta:
        start += self._form.header
        if self._read(start, 4) != _MAGIC:
            raise DamagedLmdb("one of its two first pages is damaged")
        _, _, *numbers = _META.unpack(self._read(start + 8, _META.size))
        free, tree = numbers[:8], numbers[8:16]
        return _Meta(free[0], tree[2], *tree[6:8], *numbers[16:])

    def _check_size(self) -> None:
        """Refuses a file that was cut."""
        size = self._path.stat().st_size
        needed = (self._meta.last + 1) * self._meta.page_size
        if size < needed:
            raise DamagedLmdb(f"it has {size:,} of its {needed:,} bytes")

    def _check_key(self, key: bytes) -> None:
        """Refuses a key that comes before the last one, or is one too many."""
        meta = self._meta
        # Each takes 8 bytes besides its own: a small file cannot hold millions.
        if len(self.keys) >= min(meta.entries, meta.last * meta.page_size // 8):
            raise DamagedLmdb("it has more keys than it says")
        if self.keys and key <= self.keys[-1]:
            raise DamagedLmdb("its keys are out of order")

    def _walk(self, number: int, depth: int) -> Iterator[tuple[bytes, _Value]]:
        """Yields the keys below a page, and where their values lie.

        Args:
          number: Of the page.
          depth: Pages on the way down from it, itself counted.
        """
        if number == _EMPTY and depth == 0:
            return
        if not 1 <= depth <= _DEEPEST:
            raise DamagedLmdb(f"it is {depth} pages deep")
        page = self._read_page(number, _BRANCH if depth > 1 else _LEAF)
        for offset in self._offsets(page):
            low, flags, key_size = _NODE.unpack_from(page, offset)
            start = offset + _NODE.size
            key = page[start : start + key_size]
            end = start + key_size + key_size % self._form.step
            if depth > 1:
                yield from self._walk(low | flags << 32, depth - 1)
            elif flags == _ELSEWHERE and end + _NUMBER.size <= len(page):
                apart = min(_NUMBER.unpack_from(page, end)[0], self._meta.last + 1)
                yield key, _Value(low, 0, apart)
            elif flags == 0 and end + low <= len(page):
                yield key, _Value(low, number * len(page) + end, -1)
            else:
                raise DamagedLmdb(f"page {number} is damaged, or holds a database")

    def _read_page(self, number: int, kind: int) -> bytes:
        """Reads a page of nodes."""
        size = self._meta.page_size
        if not _FIRST <= number <= self._meta.last:
            raise DamagedLmdb(f"page {number} is not in it")
        page = self._read(number * size, size)
        flags = _NODES.unpack_from(page, self._form.header - _NODES.size)[0]
        if _NUMBER.unpack_from(page)[0] != number or flags & ~_DIRTY != kind:
            raise DamagedLmdb(f"page {number} is damaged")
        return page

    def _offsets(self, page: bytes) -> Iterator[int]:
        """Yields where in a page its nodes begin."""
        header, base, _ = self._form
        _, lower, upper = _NODES.unpack_from(page, header - _NODES.size)
        count = (lower + base - header) // 2
        if count < 1 or not lower <= upper <= len(page) - base:
            raise DamagedLmdb("the number of keys of a page is damaged")
        for (offset,) in struct.iter_unpack("<H", page[header : header + 2 * count]):
            if not upper <= offset <= len(page) - base - _NODE.size:
                raise DamagedLmdb("the place of a key is damaged")
            yield offset + base

    def _read(self, start: int, size: int) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb")
        data = os.pread(self._file.fileno(), size, start)
        if len(data) < size:
            raise DamagedLmdb("it is cut short")
        return data
