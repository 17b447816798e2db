"""A list in a JSON file, packed or not, read element by element with the place of each."""

from __future__ import annotations

import gzip
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mindvideo.errors import UserError

CHUNK = 1 << 20  # bytes
MAX_ELEMENT = 1 << 28  # bytes; the masks of one object through a video have some millions
# Masks shrink to a quarter when packed, and long rows of null to a hundredth.
MAX_UNPACKED_RATIO, SMALL = 100, 1 << 28
_NEAR_END = 16  # characters that a value which the buffer's end cuts can be from that end
_PACKED_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


def open_plain(path: Path) -> BinaryIO:
    """The JSON itself, unpacked to a temporary file where need be."""
    try:
        if path.suffix == ".gz":
            return _unpacked(path, gzip.open(path, "rb"))
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return _unpacked(path, archive.open("results.json"))
        return open(path, "rb")  # kept open for the records
    except FileNotFoundError as error:
        raise UserError(f"no result file {path}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder; a result file is needed") from error
    except KeyError as error:
        raise UserError(f"{path}: the archive holds no results.json") from error
    except (gzip.BadGzipFile, *_PACKED_ERRORS) as error:
        raise UserError(f"{path}: not readable as {path.suffix} ({error}); cut short or damaged?") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _unpacked(path: Path, packed: Any) -> BinaryIO:
    """A temporary file with the content; refused when a small file makes a large one."""
    limit = max(SMALL, MAX_UNPACKED_RATIO * path.stat().st_size)
    plain = tempfile.TemporaryFile()  # noqa: SIM115  (closed by whoever reads the records)
    with packed:
        while block := packed.read(CHUNK):
            if plain.tell() + len(block) > limit:
                plain.close()
                raise UserError(
                    f"{path}: unpacks to more than {limit / 1e6:.0f} MB, over {MAX_UNPACKED_RATIO} times its size; "
                    "unpack it yourself if that is right, and give the .json"
                )
            plain.write(block)
    plain.seek(0)
    return plain


def scan_list(stream: BinaryIO, source: str) -> Iterator[tuple[Any, int, int]]:
    """Each element of the list in ``stream`` with its place in bytes."""
    return _Scanner(stream, source).elements()


class _Scanner:
    """``buffer`` is what was read and not yet used, as Latin-1, so that places stay exact; ``offset`` its place."""

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self.stream = stream
        self.source = source
        self.decoder = json.JSONDecoder()
        self.buffer, self.offset, self.position = "", 0, 0

    def elements(self) -> Iterator[tuple[Any, int, int]]:
        self._more(CHUNK)
        if self.buffer.startswith("\u00ef\u00bb\u00bf"):  # a byte order mark
            self.position = 3
        if self._next(may_end=True) != "[":
            is_annotations = '"videos"' in self.buffer
            hint = (
                "it is an annotation file, give it as --annotations" if is_annotations else "it does not begin with ["
            )
            raise UserError(f"{self.source}: not a result file, which is a list of records; {hint}")
        self.position += 1
        is_first = True
        while (character := self._next()) != "]":
            if not is_first:
                if character != ",":
                    raise self._fault("expected ',' or ']' after a record")
                self.position += 1
                self._next()
            is_first = False
            yield self._element()
        self.position += 1
        if self._next(may_end=True):
            raise self._fault("something follows after the list has ended")

    def _next(self, *, may_end: bool = False) -> str:
        """The next character that is no blank; the position is set to it. Empty at the end, where that may be."""
        while True:
            while self.position < len(self.buffer) and self.buffer[self.position] in " \t\r\n":
                self.position += 1
            if self.position < len(self.buffer):
                return self.buffer[self.position]
            if not self._more(CHUNK):
                if may_end:
                    return ""
                raise UserError(f"{self.source}: the file ends before its list does (cut off while it was written?)")

    def _element(self) -> tuple[Any, int, int]:
        while True:
            try:
                element, end = self.decoder.raw_decode(self.buffer, self.position)
                break
            except json.JSONDecodeError as error:
                # A value cut by the end of the buffer goes on after it; one that is wrong before stays wrong.
                is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.buffer) - _NEAR_END
                if is_cut and len(self.buffer) - self.position > MAX_ELEMENT:
                    raise self._fault(f"a record of more than {MAX_ELEMENT} bytes") from error
                if not is_cut or not self._more(max(CHUNK, len(self.buffer))):
                    raise self._fault(error.msg) from error
            except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists in lists
                raise self._fault(f"{error}"[:80]) from error
        begin = self.position
        content = self.buffer[begin:end]
        if not content.isascii():
            element = self._as_utf8(content)
        self.position = end
        return element, self.offset + begin, self.offset + end

    def _as_utf8(self, content: str) -> Any:
        try:
            return json.loads(content.encode("latin-1").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self._fault("not UTF-8; save the file as UTF-8") from error

    def _more(self, size: int) -> bool:
        chunk = self.stream.read(size).decode("latin-1")
        if self.position:
            self.offset, self.buffer, self.position = self.offset + self.position, self.buffer[self.position :], 0
        self.buffer += chunk
        return bool(chunk)

    def _fault(self, message: str) -> UserError:
        return UserError(f"{self.source}: not valid JSON near byte {self.offset + self.position} ({message})")
