"""The results of another checkout come into this one, checked: what ``benchlib merge`` does.

Layer 5. Two machines, each with a checkout of its own, compute some runs each. What the other has
finished is a stage's entry in its ``dvc.lock`` and the files that this names. It is taken only
where it is what this checkout would have made: the same command, parameters, versions and code, and
inputs whose numbers are the same. Everything is compared before anything is copied. Then DVC itself
takes the copies for its own (``dvc commit``), so that ``dvc repro`` finds them done.

Files that tell how long something took, and on which machine, differ between two checkouts by
nature: ``same_numbers`` compares the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib import fanout
from benchlib.contracts import BenchError
from benchlib.files import new_file, new_folder
from benchlib.records import read_table

if TYPE_CHECKING:
    from benchlib.params import Suite

LOCK = "dvc.lock"
NAMES = ".names"  # the output of the first stage: every other one reads it, and it never differs
Entry = dict[str, Any]  # a stage in dvc.lock
Listing = dict[str, str]  # a file's path in its folder -> its MD5
# what a record says of how a thing was made, not of what came out
TIMES = {"seconds", "peak_mib", "memory_by", "train_seconds", "seed_seconds", "evaluate_seconds"}
MACHINE = {"hardware", "revision", "torch", "threads", "evaluate_threads"}
COMMITTED = 100  # stages that one call of DVC takes


@dataclass(frozen=True)
class Asked:
    """What dvc.yaml and params.yaml ask of a stage now.

    params: file -> name -> value. deps, outs: paths from the suite's folder.
    """

    command: Any
    params: dict[str, dict[str, Any]]
    deps: tuple[str, ...]
    outs: tuple[str, ...]


@dataclass
class Plan:
    """What a merge would do.

    brought: stages whose outputs are copied, in order. kept: done here already. absent: not
    finished there, or without what they were made from. misfits: why not, a line each; with one,
    nothing is merged.
    """

    brought: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sides:
    """The two checkouts. here, there: the suite's folder in each. asked: of this one's stages."""

    here: Path
    there: Path
    asked: Mapping[str, Asked]
    lock_here: Mapping[str, Entry]
    lock_there: Mapping[str, Entry]
    listed: dict[Path, Listing] = field(default_factory=dict)

    def listing(self, path: Path) -> Listing:
        """The files of a folder, or a file alone (as ""), with their MD5; read once."""
        if path not in self.listed:
            self.listed[path] = dict(files_in(path))
        return self.listed[path]


# ---------------------------------------------------------------- the two sides


def open_sides(suite: Suite, other: Path) -> Sides:
    """This checkout's suite and another checkout's. other: that checkout's folder.

    Raises BenchError where there is no such checkout, or it has computed nothing of the suite.
    """
    root = (suite.folder / suite.root).resolve()
    here = suite.folder.resolve()
    if not here.is_relative_to(root):
        raise BenchError(f"{here}: lies outside of its root {root}; merging is for those inside")
    there = other.expanduser().resolve() / here.relative_to(root)
    if there == here:
        raise BenchError(f"{other}: is this checkout; name another one's folder")
    if not (there / LOCK).is_file():
        raise BenchError(
            f"{there / LOCK}: not there; expected the folder of another checkout that has computed "
            f"runs of {suite.suite}: its {LOCK}, work/{suite.suite} and results/{suite.suite} "
            "(rsync -a brings them from another machine)"
        )
    lock_here, lock_there = read_lock(here), read_lock(there)
    return Sides(here, there, asked_stages(suite), lock_here, lock_there)


def read_lock(folder: Path) -> dict[str, Entry]:
    """The stages of a dvc.lock; none where it is not there. Raises BenchError if it is damaged."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = folder / LOCK
    if not path.exists():
        return {}
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        return dict((found or {}).get("stages", {}))
    except (OSError, ValueError, AttributeError, YAMLError) as error:
        said = " ".join(str(error).split())[:200]
        raise BenchError(f"{path}: cannot be read ({said}); bring it whole") from None


def asked_stages(suite: Suite) -> dict[str, Asked]:
    """What DVC reads in dvc.yaml and params.yaml of every stage of a suite, by its own code."""
    from dvc.dependency.param import ParamsDependency
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    pipeline = suite.folder.resolve() / "dvc.yaml"
    found = {}
    try:
        repo = Repo(str(suite.folder))
        for stage in repo.stage.load_all(str(pipeline)):
            params: dict[str, dict[str, Any]] = {}
            deps = []
            for dep in stage.deps:
                if isinstance(dep, ParamsDependency):
                    params[dep.def_path] = dep.read_params()
                else:
                    deps.append(dep.def_path)
            outs = tuple(out.def_path for out in stage.outs)
            found[stage.name] = Asked(stage.cmd, params, tuple(deps), outs)
    except DvcException as error:
        said = " ".join(str(error).split())[:300]
        raise BenchError(f"{pipeline}: DVC cannot read it: {said}") from None
    return found


# ---------------------------------------------------------------- what is compared


def plan_merge(sides: Sides, graph: fanout.Graph, runs: Sequence[str] = ()) -> Plan:
    """Compare the two sides, stage by stage; nothing is written.

    graph: of the suite (``fanout.graph``). runs: those to merge, with all that they need; none for
    every stage that is finished there.
    """
    part = graph
    if runs:
        part = fanout.needed(graph, [f"evaluate@{run}" for run in runs])
    plan = Plan()
    settled = {"names"}  # stages whose results lie here when the merge is done, the same as there
    unfit: dict[str, str] = {}  # done here, and there in a way that is not asked for
    for stage in TopologicalSorter(part).static_order():
        if stage == "names" or stage in fanout.LAST:
            continue
        missing = part[stage] - settled
        if not _is_finished(sides.lock_there.get(stage), sides.there, sides.asked[stage]):
            plan.absent.append(stage)
        elif not missing:
            if _settle(sides, plan, unfit, stage):
                settled.add(stage)
        elif _is_done(sides, stage):
            plan.kept.append(stage)
        else:
            _say_blocked(plan, unfit, stage, missing)
    return plan


def _say_blocked(plan: Plan, unfit: Mapping[str, str], stage: str, missing: set[str]) -> None:
    """A stage of which something that it was made from is not settled."""
    for above in sorted(missing & unfit.keys()):
        plan.misfits.append(f"{stage}: was made from {above}, which does not fit: {unfit[above]}")
        return
    plan.absent.append(stage)


def _is_finished(entry: Entry | None, folder: Path, asked: Asked) -> bool:
    """Whether a stage has been run in a checkout and its outputs lie there."""
    return bool(entry) and all((folder / path).exists() for path in asked.outs)


def _is_done(sides: Sides, stage: str) -> bool:
    """Whether a stage is done here, as the parameters ask for it now."""
    entry, asked = sides.lock_here.get(stage, {}), sides.asked[stage]
    return _is_finished(entry, sides.here, asked) and not _unlike(entry, asked, sides.here)


def _settle(sides: Sides, plan: Plan, unfit: dict[str, str], stage: str) -> bool:
    """Decide about one stage that is finished there. Returns whether what needs it may follow."""
    done = _is_done(sides, stage)
    wrong = _unlike(sides.lock_there[stage], sides.asked[stage], sides.here)
    wrong = wrong or _changed_since(sides, stage)
    if wrong and done:  # nothing to bring, and ours is what the parameters ask for
        plan.kept.append(stage)
        unfit[stage] = wrong
        return False
    if not wrong and done:
        wrong = _other_numbers(sides, stage)
    elif not wrong:
        wrong = _other_inputs(sides, plan, stage)
    if wrong:
        plan.misfits.append(f"{stage}: {wrong}")
        return False
    chosen = plan.kept if done else plan.brought
    chosen.append(stage)
    return True


def _unlike(entry: Entry, asked: Asked, here: Path) -> str:
    """In what an entry of a lock is not what a stage would be made of now; "" if in nothing."""
    if entry.get("cmd") != asked.command:
        return f"its command is another: {entry.get('cmd')!r}, here {asked.command!r}"
    for file, wanted in asked.params.items():
        had = entry.get("params", {}).get(file, {})
        for name, value in wanted.items():
            if name not in had or had[name] != value:
                was = _short(had.get(name, "nothing"))
                return f"{file}: {name} was {was} there, is {_short(value)} here"
    if _paths(entry, "outs") != set(asked.outs):
        return "its outputs are others: " + ", ".join(sorted(_paths(entry, "outs")))
    if _paths(entry, "deps") != set(asked.deps):
        return "its inputs are others: " + ", ".join(sorted(_paths(entry, "deps")))
    for dep in entry.get("deps", []):
        code = here / dep["path"]
        if code.suffix == ".py" and (not code.is_file() or md5(code) != dep["md5"]):
            return f"{dep['path']} is another file there; bring both checkouts to one revision"
    return ""


def _paths(entry: Entry, kind: str) -> set[str]:
    return {one["path"] for one in entry.get(kind, [])}


def _short(value: Any) -> str:
    said = json.dumps(value, default=str)
    if len(said) > 120:
        return f"{said[:117]}..."
    return said


def _changed_since(sides: Sides, stage: str) -> str:
    """Which output or input there is not what its own dvc.lock says; "" if all are."""
    entry = sides.lock_there[stage]
    for kind in ("outs", "deps"):
        for one in entry.get(kind, []):
            path = sides.there / one["path"]
            if one["path"] == NAMES or path.suffix == ".py":
                continue
            if digest(sides.listing(path)) != one.get("md5"):
                return (
                    f"{path}: not what its {LOCK} says (being computed, changed or copied in part);"
                    f" there: dvc repro {stage}"
                )
    return ""


def _other_numbers(sides: Sides, stage: str) -> str:
    """Where the outputs of a stage that is done on both sides differ in more than time."""
    for out in sides.asked[stage].outs:
        here, there = sides.here / out, sides.there / out
        wrong = _differ(sides.listing(here), sides.listing(there), here, there)
        if wrong:
            return (
                f"done on both sides, with other numbers: {wrong}; merge other runs alone (--run), "
                "or remove one side's result"
            )
    return ""


def _other_inputs(sides: Sides, plan: Plan, stage: str) -> str:
    """Where an input that the stage was made of there is not what will lie here."""
    for dep in sides.asked[stage].deps:
        here, there = sides.here / dep, sides.there / dep
        if dep == NAMES or there.suffix == ".py":
            continue
        theirs = sides.listing(there)
        ours = sides.listing(here) | _to_come(sides, plan, dep)
        wrong = _differ(ours, theirs, here, there)
        if wrong:
            return f"was made from another {dep}: {wrong}"
    return ""


def _to_come(sides: Sides, plan: Plan, dep: str) -> Listing:
    """What the stages that are brought will put into an input's folder."""
    found: Listing = {}
    for stage in plan.brought:
        for out in sides.asked[stage].outs:
            if out != dep and not out.startswith(f"{dep}/"):
                continue
            inner = out[len(dep) :].strip("/")
            for name, digits in sides.listing(sides.there / out).items():
                found[f"{inner}/{name}".strip("/")] = digits
    return found


def _differ(ours: Listing, theirs: Listing, here: Path, there: Path) -> str:
    """The first file in which two folders differ in more than time; "" if in none."""
    for name in sorted(ours.keys() ^ theirs.keys()):
        side = "here" if name in ours else "there"
        return f"{(here / name).name} is {side} alone"
    for name, digits in ours.items():
        if digits == theirs[name]:
            continue
        if not same_numbers(here / name, there / name):
            return f"{here / name} and {there / name} differ"
    return ""


def same_numbers(first: Path, second: Path) -> bool:
    """Whether two files of ours differ in nothing but what tells of time and machine.

    Raises BenchError for a damaged one.
    """
    if first.suffix == ".json":
        return _timeless(_json(first)) == _timeless(_json(second))
    if first.suffix == ".csv":
        return _lines(first) == _lines(second)
    return False


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BenchError(f"{path}: is no whole JSON ({error}); make it again there") from None


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMES | MACHINE}
    if isinstance(value, list):
        return [_timeless(one) for one in value]
    return value


def _lines(path: Path) -> list[dict[str, str]]:
    return [_timeless(row) for row in read_table(path)]


# ---------------------------------------------------------------- digests, as DVC has them


def files_in(path: Path) -> Iterator[tuple[str, str]]:
    """Each file of a folder, but for unfinished ones, and its MD5; a file itself as ""."""
    if path.is_file():
        yield "", md5(path)
        return
    for folder, _, names in os.walk(path, followlinks=True):
        inner = Path(folder).relative_to(path)
        if any(part.startswith(".new-") for part in inner.parts):
            continue
        for name in names:
            if not name.startswith(".new-"):
                yield (inner / name).as_posix(), md5(Path(folder) / name)


def md5(path: Path) -> str:
    """What DVC knows a file by; no safeguard against anybody."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest(listing: Listing) -> str:
    """What DVC knows a file or a folder by, from its listing."""
    if "" in listing:
        return listing[""]
    lines = [{"md5": listing[name], "relpath": name} for name in sorted(listing)]
    words = json.dumps(lines, sort_keys=True).encode()
    return hashlib.md5(words, usedforsecurity=False).hexdigest() + ".dir"


# ---------------------------------------------------------------- bringing it


def bring(sides: Sides, plan: Plan, env: Mapping[str, str]) -> None:
    """Copy what a plan brings, and let DVC take it for done.

    A merge that is interrupted leaves files that DVC does not count as done; the same command again
    finishes it. Raises BenchError for what changed there meanwhile, what the disk refuses, and what
    DVC says.
    """
    if not (sides.here / NAMES).exists():
        _dvc(sides.here, env, ["repro", "--single-item", "names"])
    for stage in plan.brought:
        for out in sides.asked[stage].outs:
            _copy(sides, out)
    for start in range(0, len(plan.brought), COMMITTED):
        some = plan.brought[start : start + COMMITTED]
        _dvc(sides.here, env, ["commit", "--force", *some])


def _copy(sides: Sides, out: str) -> None:
    source, target = sides.there / out, sides.here / out
    wanted = sides.listing(source)
    making = new_file if source.is_file() else new_folder
    with making(target) as temporary:
        for name in wanted:
            to = temporary / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, to)
        if dict(files_in(temporary)) != wanted:
            raise BenchError(f"{source}: changed while it was copied; merge again when it is done")


def _dvc(folder: Path, env: Mapping[str, str], words: Sequence[str]) -> None:
    command = [*fanout.dvc_command(), "--wait-for-lock", *words]
    done = subprocess.run(command, cwd=folder, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        said = fanout.last_reason(done.stderr or done.stdout)
        raise BenchError(f"{folder}: dvc {words[0]}: {said.removeprefix('ERROR: ')}")
