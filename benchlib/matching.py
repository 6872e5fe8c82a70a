"""Which image of one folder belongs to which of another: by name, whole sets at a time.

Layer 1. Names are compared without their suffixes, in one form of Unicode (macOS decomposes what
others compose). Sub-folders are sets. Where no name is equal, one ending that a whole set shares
(``_x4``, ``_restored``) may be left out of account, if that pairs the names in one way alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchlib.contracts import BenchError, nearest
from benchlib.files import composed
from benchlib.imageio import SUFFIXES

ARRAYS = (".npy",)  # an lq with noise that is not clipped, see imageio.write_lq
WORDS = (
    "x[0-9]+|sr|hr|lr|lq|hq|gt|in|input|out|output|target|clean|sharp|blur|blurred|blurry|noisy"
    "|noise|rain|haze|hazy|low|high|ref|reference|pred|result|rec|fake|real"
    "|restored|deblurred|denoised|derained|dehazed|enhanced|upscaled"
)
# an ending of ours or theirs alone may be any name (_SwinIR); two endings must be such words
KNOWN_ENDING = re.compile(rf"(?:[_.-](?:{WORDS})|x[0-9]+)+", re.IGNORECASE)
ENDING = re.compile(r"(?:[_.-]|x[0-9]).*")
SHOWN = 3  # names in an error; the others are counted

Sets = dict[str, dict[str, Path]]  # set -> image -> file


@dataclass(frozen=True)
class Match:
    """One restored image, its reference, and the degraded image if there is one.

    dataset: the sub-folder ("": the folder itself). image: the reference's name without suffix.
    """

    dataset: str
    image: str
    restored: Path
    reference: Path
    degraded: Path | None = None


@dataclass(frozen=True)
class Matches:
    """All of two or three folders, ordered by set and name; ``notes``: what was guessed, a line
    each.
    """

    images: tuple[Match, ...]
    notes: tuple[str, ...] = ()


def match_folders(
    restored: str | Path, reference: str | Path, degraded: str | Path | None = None
) -> Matches:
    """Pair the images of two or three folders.

    Raises BenchError in one line for a folder that is absent or empty, one folder (or a part of
    it) on two sides, two images of one name, an image without a partner, or a file that is no
    regular one. No image is opened.
    """
    folders = {"restored": _folder(restored), "reference": _folder(reference)}
    if degraded is not None:
        folders["degraded"] = _folder(degraded)
    _check_apart(folders)
    sets = {"restored": images_below(folders["restored"])}
    sets["reference"] = images_below(folders["reference"])
    notes: list[str] = []
    ours = _partners(folders, sets, "restored", notes)
    lq: dict[tuple[str, str], Path] = {}
    if "degraded" in folders:
        sets["degraded"] = images_below(folders["degraded"], (*SUFFIXES, *ARRAYS))
        lq = _partners(folders, sets, "degraded", notes)
    matches = []
    for dataset, images in sets["reference"].items():
        for image, file in images.items():
            place = (dataset, image)
            matches.append(Match(dataset, image, ours[place], file, lq.get(place)))
    return Matches(tuple(matches), tuple(dict.fromkeys(notes)))


def images_below(folder: Path, suffixes: Collection[str] = SUFFIXES) -> Sets:
    """set -> name -> file, of a folder and those below it, ordered; hidden ones are left out.

    Raises BenchError if there is none, for two of one name, or for what is named like an image
    and is no regular file.
    """
    found: Sets = {}
    for path in _walked(folder):
        if path.suffix.lower() not in suffixes:
            continue
        if not path.is_file():
            raise BenchError(f"{path}: no regular file; expected an image, remove it")
        _check_name(path)
        place = path.parent.relative_to(folder).as_posix()
        images = found.setdefault(composed("" if place == "." else place), {})
        name = composed(path.stem)
        if name in images:
            raise BenchError(
                f"{images[name]} and {path.name} have one name; expected one image each, remove one"
            )
        images[name] = path
    if not found:
        raise BenchError(f"{folder}: no image in it; expected files of {', '.join(suffixes)}")
    return {place: dict(sorted(found[place].items())) for place in sorted(found)}


def _walked(folder: Path) -> Iterable[Path]:
    """All files below a folder, links to folders followed once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_refused, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(root, name)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BenchError(f"{str(path)!a}: a name that is no UTF-8; rename it") from None


def _refused(error: OSError) -> None:
    raise BenchError(f"{error.filename}: {error.strerror}; expected a folder that can be read")


def _folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise BenchError(f"{folder}: no such folder; expected one with images")
    if not folder.is_dir():
        raise BenchError(f"{folder}: a file; expected a folder with images")
    return folder


def _check_apart(folders: dict[str, Path]) -> None:
    """No folder is another one, or lies in it: its images would be measured against themselves."""
    real = {side: folder.resolve() for side, folder in folders.items()}
    for side, folder in real.items():
        for other, place in real.items():
            if side < other and folder == place:
                raise BenchError(
                    f"{folders[side]}: the same folder as {side} and as {other}; expected two"
                )
            if side != other and place in folder.parents:
                raise BenchError(
                    f"{folders[side]}: the {side} images lie inside the folder of the {other} "
                    "ones; name folders that do not hold each other"
                )


def _partners(
    folders: dict[str, Path], sets: dict[str, Sets], side: str, notes: list[str]
) -> dict[tuple[str, str], Path]:
    """(set, image) of the reference -> the file of ``side``; every image has a partner."""
    own, theirs = sets[side], sets["reference"]
    _check_sets(folders[side], own, folders["reference"], theirs)
    files = {}
    for dataset, images in theirs.items():
        names = _paired(set(own[dataset]), set(images), folders[side] / dataset, notes)
        if names is None:
            _raise_alone(folders[side], own[dataset], folders["reference"], images, dataset)
            continue
        for image, name in names.items():
            files[dataset, image] = own[dataset][name]
    return files


def _check_sets(folder: Path, own: Sets, other: Path, theirs: Sets) -> None:
    for here, sets, there, known in ((folder, own, other, theirs), (other, theirs, folder, own)):
        for name in sets:
            if name not in known:
                said = nearest(name or ".", [each or "." for each in known])
                raise BenchError(
                    f"{here / name}: its images have no partner folder in {there}: got "
                    f"'{name or '.'}'; {said}"
                )


def _raise_alone(
    folder: Path, own: Iterable[str], other: Path, theirs: Iterable[str], dataset: str
) -> None:
    """Say which images are alone; of the side that has more of them."""
    alone = {folder: sorted(set(own) - set(theirs)), other: sorted(set(theirs) - set(own))}
    here, there = folder, other
    if len(alone[other]) > len(alone[folder]):
        here, there = other, folder
    names = alone[here]
    said = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        said += f" and {len(names) - SHOWN} more"
    raise BenchError(
        f"{here / dataset}: no partner in {there / dataset} for {said}; expected the same names, "
        "each once, with any image suffix"
    )


def _paired(
    own: set[str], theirs: set[str], where: Path, notes: list[str]
) -> dict[str, str] | None:
    """Their name -> ours; None where some have no partner."""
    if own == theirs:
        return {name: name for name in theirs}
    if len(own) != len(theirs) or own & theirs:
        return None
    found: dict[tuple[tuple[str, str], ...], tuple[str, str]] = {}
    first = min(own)
    for name in sorted(theirs):
        for ours, other in _endings(first, name, len(own)):
            names = _without(own, ours, theirs, other)
            if names:
                found.setdefault(tuple(sorted(names.items())), (ours, other))
                break
    if len(found) > 1:
        raise BenchError(
            f"{where}: names that fit the reference's in {len(found)} ways; give both the same ones"
        )
    for pairs, (ours, other) in found.items():
        ends = [repr(ours)] if ours else []
        ends += [f"the reference's {other!r}"] if other else []
        notes.append(f"{where}: paired by name without {' and '.join(ends)} at the end")
        return dict(pairs)
    return None


def _endings(ours: str, theirs: str, count: int) -> Iterable[tuple[str, str]]:
    """Endings of two names that would leave an equal beginning, the shortest first."""
    for cut in range(_shared_length(ours, theirs), 0, -1):
        ends = (ours[cut:], theirs[cut:])
        known = all(not end or KNOWN_ENDING.fullmatch(end) for end in ends)
        if known or ("" in ends and count > 1 and _is_ending("".join(ends))):
            yield ends


def _shared_length(one: str, other: str) -> int:
    """How many letters two names begin with in common."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length


def _is_ending(text: str) -> bool:
    """A number alone tells images apart, and is no ending."""
    return bool(ENDING.fullmatch(text)) and any(each.isalpha() for each in text)


def _without(own: set[str], ours: str, theirs: set[str], other: str) -> dict[str, str] | None:
    """Their name -> ours, if all are equal once each has lost its ending."""
    if not all(name.endswith(ours) for name in own):
        return None
    if not all(name.endswith(other) for name in theirs):
        return None
    short = {name.removesuffix(ours): name for name in own}
    pairs = {}
    for name in theirs:
        if name.removesuffix(other) not in short:
            return None
        pairs[name] = short[name.removesuffix(other)]
    return pairs
