"""GGUF files: their metadata and list of tensors, without the tensors themselves."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmoa.errors import ConfigError

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"} | {
    10: "Q",
    11: "q",
    12: "d",
}
_ALIGNMENT: Final = 32

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its shape, the number of its format, and where its data starts."""

    name: str
    shape: tuple[int, ...]
    format: int
    offset: int

    @property
    def size(self) -> int:
        """Elements."""
        product = 1
        for length in self.shape:
            product *= length
        return product


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the metadata; `value` is None for arrays, `raw` is it as stored."""

    key: str
    raw: bytes
    value: Value | None


@dataclass(frozen=True, slots=True)
class Header:
    """All that comes before the tensors; their data starts at `data`."""

    version: int
    fields: tuple[Field, ...]
    tensors: tuple[Tensor, ...]
    alignment: int
    data: int

    def get(self, key: str) -> Value | None:
        """Look a field up; None if it is missing or an array."""
        return next((field.value for field in self.fields if field.key == key), None)

    @property
    def context(self) -> int | None:
        """Tokens of context that the model was trained for."""
        found = self.get(f"{self.get('general.architecture')}.context_length")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def parameters(self) -> int:
        """Parameters of the model: the elements of its tensors."""
        return sum(tensor.size for tensor in self.tensors)


class _Reader:
    """A cursor over the bytes of a file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def take(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise ValueError("it ends too early")
        self.at += count

    def text(self) -> str:
        length = self.take("Q")
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Value | None:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self.array()
            return None
        return self.take(_SCALARS[kind])

    def array(self) -> None:
        kind, count = self.take("I"), self.take("Q")
        if kind == _STRING:
            for _ in range(count):
                self.skip(self.take("Q"))
        elif kind == _ARRAY:
            for _ in range(count):
                self.array()
        else:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]))

    def field(self) -> Field:
        key = self.text()
        start = self.at
        value = self.value(self.take("I"))
        return Field(key, self.data[start : self.at], value)

    def tensor(self) -> Tensor:
        name = self.text()
        shape = tuple(self.take("Q") for _ in range(self.take("I")))
        return Tensor(name, shape, self.take("I"), self.take("Q"))


def read_header(path: Path) -> Header:
    """Read what comes before the tensors; ConfigError if this is no GGUF file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Reader(data))
    except (ValueError, KeyError, struct.error) as error:
        raise ConfigError(
            f"{path.name} is not a whole GGUF file: {error}",
            hint="download it again, or name another file",
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _header(reader: _Reader) -> Header:
    reader.skip(len(MAGIC))
    if reader.data[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not start like one")
    version, tensors, fields = reader.take("I"), reader.take("Q"), reader.take("Q")
    if version not in _VERSIONS:
        raise ValueError(f"its version is {version}")
    found = tuple(reader.field() for _ in range(fields))
    shapes = tuple(reader.tensor() for _ in range(tensors))
    by_key = {field.key: field for field in found}
    alignment = by_key["general.alignment"].value if "general.alignment" in by_key else _ALIGNMENT
    if not isinstance(alignment, int) or alignment <= 0:
        raise ValueError("its alignment is wrong")
    return Header(
        version=version,
        fields=found,
        tensors=shapes,
        alignment=alignment,
        data=-(-reader.at // alignment) * alignment,
    )
