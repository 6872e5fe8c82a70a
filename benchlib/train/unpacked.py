"""What training reads, decoded once: files of arrays that are mapped to memory. Layer 3.

A pair of 720p takes some 50 ms to decode, each time that it is opened, and memory holds few of a
paper's thousands. So what was decoded is written to ``work/.unpacked`` when it is first opened, one
file an item and one a part of its prior. From then on it is mapped, and a crop reads its own rows.

A file is named by what it was made from: the content of the files, what reads them, and versions.
It appears whole. So runs, loading processes and machines that share the folder fill it together,
and what a killed one has finished is found. Nothing needs what lies there: it may go at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL

from benchlib import registry
from benchlib.contracts import BenchError
from benchlib.files import new_file, sha256
from benchlib.priors._read import Part, PriorSet, Stored
from benchlib.records import Pair

LAYOUT = 1  # of the files; another one is another name
SPARE = 2**30  # bytes of the disk that are left to others
LARGE = 2**16  # bytes of an array from which on it stays in its file and is no copy of it
PLAIN = (bool, int, float, str)
MAPS = 16_384  # files that a process holds mapped; Linux lets it hold 65,530
NEVER = "set training.unpack: never"
# In a file, what no field is called in Python: the dataclass's name, and the end of a tuple's.
CLASS, TUPLE = "class", "()"


@dataclass
class Unpacked:
    """A folder of unpacked items and priors, and what this process knows of it.

    writes: False once the disk has refused something: that is said once, and nothing is written
    any more. names: the file of each item and part that was asked for. maps: what files hold that
    are mapped; to open one anew would take as long as a crop.
    """

    folder: Path
    writes: bool = True
    names: dict[tuple[str, ...], str] = field(default_factory=dict)
    maps: dict[Path, Any] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process gets that is no fork: a map would be copied to it whole."""
        return self.__dict__ | {"maps": {}}

    def item(self, task: str, pair: Pair) -> Any:
        """What ``read`` of a file of ``tasks`` gives of a pair.

        Raises BenchError as that does, and if a file is not the one of its manifest.
        """
        place = self._path(("item", pair.dataset, pair.image), partial(_item_words, task, pair))
        module = registry.loaded("tasks", task)
        return self._found(place, module, partial(_read_item, module, pair))

    def prior(self, prior: PriorSet, pair: Pair, shape: tuple[int, int]) -> Stored:
        """What ``prior.load`` gives of a pair's image of ``(H,W)`` pixels. Raises as that does."""
        stored = {}
        for part in prior.read():
            load = partial(prior.load_part, part, pair.dataset, pair.image, shape)
            place = self._path(
                ("prior", part.name, pair.dataset, pair.image),
                partial(_prior_words, prior, part, pair, shape),
            )
            stored[part.name] = self._found(place, part.module(), load)
        return stored

    def has(self, task: str, prior: PriorSet, pair: Pair) -> bool:
        """Whether a pair, and all that is read of its prior, has been unpacked before."""
        module = registry.loaded("tasks", task)
        item = _mapped(self.folder / _named(_item_words(task, pair)), module)
        if item is None:
            return False
        words = [_prior_words(prior, part, pair, module.size(item)) for part in prior.read()]
        return all((self.folder / _named(one)).exists() for one in words)

    def _path(self, asked: tuple[str, ...], words: Callable[[], list[str]]) -> Path:
        """The file of what is asked for; its name is made once, since that reads a prior's file."""
        if asked not in self.names:
            self.names[asked] = _named(words())
        return self.folder / self.names[asked]

    def _found(self, place: Path, module: ModuleType, read: Callable[[], Any]) -> Any:
        """What lies in a file; where there is none, or a damaged one, it is read and written."""
        if place in self.maps:
            return self.maps[place]
        found = _mapped(place, module)
        if found is None:
            found = read()
            self._write(place, module, found)
            return found
        if len(self.maps) >= MAPS:
            del self.maps[next(iter(self.maps))]
        self.maps[place] = found
        return found

    def _write(self, place: Path, module: ModuleType, value: Any) -> None:
        if not self.writes:
            return
        try:
            write(place, module, value)
        except BenchError as error:
            self.writes = False
            said = f"training: no more is unpacked, which is slower: {error}"
            print(said, file=sys.stderr, flush=True)


# --- what a file is named by ----------------------------------------------------------------------


def _named(words: list[str]) -> str:
    """In one of 4,096 folders: one that holds millions of files is slow everywhere."""
    name = hashlib.sha256("\0".join(words).encode()).hexdigest()
    return f"{name[:3]}/{name[3:40]}.npy"


def _item_words(task: str, pair: Pair) -> list[str]:
    words = ["item", str(LAYOUT), PIL.__version__, *_code(f"tasks/{task}.py", "imageio.py")]
    if all(pair.sha256):
        return [*words, *pair.sha256]
    return [*words, _content(pair.lq), _content(pair.hq)]


def _prior_words(prior: PriorSet, part: Part, pair: Pair, shape: tuple[int, int]) -> list[str]:
    file, turn = prior.file(part, pair.dataset, pair.image)
    how = [str(prior.swap), str(turn), str(shape), *sorted(prior.entries(part))]
    code = _code(f"priors/kinds/{part.kind}.py", "priors/_read.py")
    return ["prior", str(LAYOUT), PIL.__version__, *code, *how, _content(file)]


def _content(file: Path) -> str:
    """Its SHA-256; of what is not there nothing: who reads it says that better."""
    if not file.exists():
        return ""
    return sha256(file)


@cache
def _code(*files: str) -> list[str]:
    """The versions of what reads a file; a plug-in's content too, whose author may forget it."""
    found = [f"{file} {registry.version(file)}" for file in files]
    return [*found, str(registry.fingerprints(files))]


def _read_item(task: ModuleType, pair: Pair) -> Any:
    """Read a pair; what is kept under a content's name must have that content."""
    item = task.read(pair)
    for file, digest in zip((pair.lq, pair.hq), pair.sha256, strict=True):
        if digest and sha256(file) != digest:
            raise BenchError(
                f"{file}: changed since the fetch stage, whose manifest.csv notes its SHA-256; run "
                f"that stage again (dvc repro -f fetch@<collection>/{pair.dataset})"
            )
    return item


# --- a file ---------------------------------------------------------------------------------------


def write(place: Path, module: ModuleType, value: Any) -> None:
    """Write a dataclass of arrays, numbers, text and tuples as one ``.npy`` of one record.

    Whole or not at all, and on the disk before it has its name: a machine that loses its power
    leaves no file of zeros. module: where its class is found again. Raises BenchError if the disk
    refuses, and for a value or a field of another type.
    """
    name = type(value).__name__
    if not dataclasses.is_dataclass(value) or getattr(module, name, None) is not type(value):
        raise BenchError(f"{module.__name__}: {name}: expected a dataclass of that file; {NEVER}")
    arrays = {CLASS: np.array(name)}
    for one in dataclasses.fields(value):
        held = getattr(value, one.name)
        end = TUPLE if isinstance(held, tuple) else ""
        arrays[one.name + end] = _array(f"{name}.{one.name}", held)
    form = [(name, array.dtype, array.shape) for name, array in arrays.items()]
    record = np.zeros(1, np.dtype(form, align=True))
    for name, array in arrays.items():
        record[name] = array
    with new_file(place) as temporary, open(temporary, "wb") as file:
        np.save(file, record, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _array(where: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value
    if isinstance(value, PLAIN):
        return np.array(value)
    if isinstance(value, tuple) and value and all(type(one) is type(value[0]) for one in value):
        return _array(where, np.array(value))
    raise BenchError(
        f"{where}: a {type(value).__name__}; expected an array, a number, text, or a tuple of "
        f"numbers; {NEVER}"
    )


def _mapped(place: Path, module: ModuleType) -> Any | None:
    """What :func:`write` wrote, its large arrays mapped; None where there is no whole file."""
    try:
        record = np.load(place, mmap_mode="c", allow_pickle=False)
        names = list(record.dtype.names or ())
        if names[:1] != [CLASS] or record.shape != (1,):
            return None
    except (OSError, ValueError, EOFError):
        return None
    values = {}
    for name in names:
        values[name.removesuffix(TUPLE)] = _value(name, np.asarray(record[name][0]))
    return getattr(module, values.pop(CLASS))(**values)


def _value(name: str, array: np.ndarray) -> Any:
    if name.endswith(TUPLE):
        return tuple(array.tolist())
    if array.shape == ():
        return array.item()
    if array.nbytes < LARGE:
        return array.copy()
    return array


# --- whether it pays ------------------------------------------------------------------------------


def check_room(folder: Path, needed: int, forced: bool) -> bool:
    """Whether ``needed`` bytes can be written to the folder's disk; says so where they cannot.

    forced: raise BenchError then.
    """
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed + SPARE <= free:
        return True
    said = (
        f"{folder}: unpacked images would take {gib(needed)} of disk, and {gib(free)} are free "
        f"({gib(SPARE)} are left to others)"
    )
    if forced:
        raise BenchError(f"{said}; make room, or set training.unpack: never")
    print(f"training: {said}; so images are decoded each time, which is slower", flush=True)
    return False


def gib(count: int) -> str:
    """Bytes in words.

    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{count / 2**30:.1f} GiB"
