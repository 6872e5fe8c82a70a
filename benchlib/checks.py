"""What the entries of a ``params.yaml`` say of each other, checked before any work.

Layer 1. ``check_references`` is cheap and runs on every loading; ``check_choices`` imports what is
named, to check its settings, and runs once before a pipeline's first stage (see ``nbrun.py``).
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchlib import registry
from benchlib.contracts import Backbone, BenchError, entries_read, nearest
from benchlib.names import shown
from benchlib.params import (
    Ablation,
    Choice,
    Control,
    Run,
    Suite,
    Training,
    configure,
    located,
    merged,
)

NO_PRIOR = "none"
NO_NETWORK = "none"  # the backbone of methods that bring what restores
# What tables call their own lines and columns: a set of that name would be taken for one of them.
TAKEN = ("average",)
TEMPORARY = "exps"  # DVC copies the project to .dvc/tmp/exps/ for experiments outside of it


def budgets(suite: Suite, key: str) -> list[Training]:
    """The budgets that a run tries: its own, or that with each of its ``candidates``' changes."""
    budget = suite.training_of(key)
    where = f"params.yaml: runs.{key}.training.candidates"
    tried = [budget]
    for i, one in enumerate(budget.candidates):
        if "candidates" in one:
            raise BenchError(f"{where}.{i}.candidates: a candidate has none of its own; remove it")
        if "devices" in one:
            raise BenchError(
                f"{where}.{i}.devices: a run's candidates share its devices; remove it here, and "
                f"set runs.{key}.training.devices"
            )
    if budget.candidates:
        tried = [merged(budget, one, f"{where}.{i}") for i, one in enumerate(budget.candidates)]
    return [one.model_copy(update={"candidates": []}) for one in tried]


def check_references(suite: Suite, path: Path) -> None:
    """Every key that names another entry names one that is there, and nothing waits for itself.

    Raises BenchError for the first one that does not; ``path`` begins its line.
    """
    from benchlib.sources import check_sources  # it reads what records read, which reads params

    _name("task", suite.task, registry.names("tasks"), path)
    for name in suite.metrics:
        _name("metrics", name, registry.names("metrics"), path)
    _check_once_each("metrics", suite.metrics, path)
    for section in ("data", "weights", "priors", "runs"):
        _check_letters(section, getattr(suite, section), path)
    _check_data(suite, path)
    _check_bundles(suite, path)
    for key, run in suite.runs.items():
        _check_run(suite, path, key, run)
    for key, control in suite.controls.items():
        _check_control(suite, path, key, control)
    for key, ablation in suite.ablations.items():
        _check_ablation(suite, path, key, ablation)
    sources = [f"data/{key}" for key in suite.collections]
    sources += [f"restored/{key}" for key in suite.runs]
    for key, prior in suite.priors.items():
        _name(f"priors.{key}.images", prior.images, sources, path)
        _name(f"priors.{key}.kind", prior.kind, registry.names("priors/kinds"), path)
    for key in suite.runs:
        _check_sides(suite, path, key)
        _check_order(suite, path, key)
    for key in suite.runs:  # it follows what a run starts from: for ever, if that went in a ring
        _check_split(suite, path, key)
    check_sources(suite, path)


def _name(where: str, got: str | None, allowed: Collection[str], path: Path) -> None:
    if got is not None and got not in allowed:
        raise BenchError(f"{path}: {where}: got {got!r}; {nearest(got, allowed)}")


def _check_once_each(where: str, items: Sequence[Any], path: Path) -> None:
    for place, item in enumerate(items):
        if item in items[:place]:
            raise BenchError(f"{path}: {where}: got {item!r} twice; name each once")


def _check_letters(section: str, names: Collection[str], path: Path) -> None:
    """No two names differ by capital letters alone: on many a disk their files are the same."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise BenchError(
                f"{path}: {section}: '{other}' and '{name}' differ by capital letters alone, and "
                "are one file where a disk ignores these; rename one"
            )


def _check_data(suite: Suite, path: Path) -> None:
    """What is read of an entry of ``data`` before its file has checked it has the right type."""
    for key, choice in suite.data.items():
        where = f"data.{key}"
        if key.partition("/")[2].lower() in TAKEN:
            raise BenchError(
                f"{path}: {where}: tables call a column of their own so; give the set another name"
            )
        if choice.get("path") is not None:
            _check_text(f"{where}.path", choice["path"], path)
        images = choice.get("images", [])
        if not isinstance(images, list):
            raise BenchError(
                f"{path}: {where}.images: got {shown(images)}; expected a list: [{shown(images)}]"
            )
        for name in images:
            _check_text(f"{where}.images", name, path)
        _check_once_each(f"{where}.images", images, path)
        if choice.get("part") is not None:
            _check_part(f"{where}.part", choice["part"], path)


def _check_text(where: str, value: Any, path: Path) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise BenchError(f"{path}: {where}: got {shown(value)}; expected text")


def _check_part(where: str, part: Any, path: Path) -> None:
    """``[start, stop)`` of a list of photographs."""
    right = isinstance(part, list) and len(part) == 2
    right = right and all(type(position) is int for position in part)
    if not right or not 0 <= part[0] < part[1]:
        raise BenchError(
            f"{path}: {where}: got {shown(part)}; expected [start, stop], 0 <= start < stop"
        )


def _check_bundles(suite: Suite, path: Path) -> None:
    for key, parts in suite.bundles.items():
        if "" in parts and len(parts) > 1:
            raise BenchError(
                f"{path}: priors.{key}: a prior and a bundle have one name; rename one"
            )
        if len({images_source(suite, prior.images) for prior in parts.values()}) > 1:
            raise BenchError(
                f"{path}: priors.{key}: its parts are of different images; expected one"
            )


def _check_run(suite: Suite, path: Path, key: str, run: Run) -> None:
    starts = [f"weights/{name}" for name in suite.weights] + [f"runs/{name}" for name in suite.runs]
    collections = suite.collections
    held_out = collections.get(run.images.train, {})
    references: list[tuple[str, str | None, Collection[str]]] = [
        ("images.train", run.images.train, collections),
        ("validation", run.validation, held_out),
        ("images.test", run.images.test, collections),
        ("prior.train", run.prior.train, suite.bundles),
        ("prior.test", run.prior.test, suite.bundles),
        ("reference", run.reference, suite.runs),
        ("init", run.init, starts),
    ]
    for field, value, allowed in references:
        _name(f"runs.{key}.{field}", value, allowed, path)
    if run.reference and suite.runs[run.reference].images.test != run.images.test:
        raise BenchError(
            f"{path}: runs.{key}.reference: {run.reference!r} tests on other images than {key!r}"
        )
    if run.reference == key:
        raise BenchError(
            f"{path}: runs.{key}.reference: got itself; name another run, or leave it out"
        )
    if len(set(run.seeds)) < len(run.seeds):
        raise BenchError(f"{path}: runs.{key}.seeds: got {shown(run.seeds)}; each seed once")
    for budget in budgets(suite, key):
        _check_budget(suite, path, key, budget)
    _check_evaluation(suite, path, key)


def _check_budget(suite: Suite, path: Path, key: str, budget: Training) -> None:
    """A budget that chooses has something to choose by; it trains on sets that are not held out."""
    run = suite.runs[key]
    trained = set(suite.collection(run.images.train)) - {run.validation}
    for name in budget.sets or []:
        _name(f"runs.{key}.training.sets", name, trained, path)
    _check_once_each(f"runs.{key}.training.sets", budget.sets or [], path)
    _check_devices(path, key, budget)
    for name in budget.repeats:
        _name(f"runs.{key}.training.repeats", name, set(budget.sets or trained), path)
    if budget.repeats and budget.mix != "size":
        raise BenchError(
            f"{path}: runs.{key}.training.repeats: given with mix {budget.mix!r}, which does not "
            "count pairs; leave it out, or set mix: size"
        )
    if budget.iterations and not trained:
        raise BenchError(
            f"{path}: runs.{key}.validation: got {run.validation!r}, the only set of "
            f"{run.images.train!r}; nothing is left to train on: add a set, or hold out none"
        )
    chooses = budget.keep == "best" or suite.training_of(key).candidates
    if chooses and budget.iterations and run.validation is None:
        raise BenchError(
            f"{path}: runs.{key}.validation: missing; training.keep and candidates choose by it"
        )


def _check_devices(path: Path, key: str, budget: Training) -> None:
    """Each device gets as many crops of a batch as any other."""
    if not isinstance(budget.devices, int) or not budget.iterations:
        return
    if budget.batch % budget.devices:
        fit = [str(n) for n in range(1, budget.batch + 1) if budget.batch % n == 0]
        raise BenchError(
            f"{path}: runs.{key}.training.devices: got {budget.devices}, which do not share a "
            f"batch of {budget.batch} evenly; may be {', '.join(fit)}, or change training.batch"
        )


def _check_evaluation(suite: Suite, path: Path, key: str) -> None:
    how = suite.evaluation_of(key)
    if how.tile is not None and how.overlap >= how.tile:
        raise BenchError(
            f"{path}: runs.{key}: evaluation.overlap: got {how.overlap}; less than tile, {how.tile}"
        )
    if how.tile is not None and how.quantise == "truncate":
        raise BenchError(
            f"{path}: runs.{key}: evaluation.quantise: got 'truncate' and a tile; the mean of "
            "overlapping tiles cannot be truncated tile by tile: set tile null, or quantise: round"
        )
    _check_once_each(f"runs.{key}: evaluation.protocols", how.protocols, path)
    _check_once_each(f"runs.{key}: evaluation.swap", how.swap, path)
    _check_once_each(f"runs.{key}: evaluation.tlc_sets", how.tlc_sets or [], path)
    sets = suite.collection(suite.runs[key].images.test)
    for name in how.tlc_sets or []:
        if name not in sets:
            said = nearest(name, sets)
            raise BenchError(f"{path}: runs.{key}: evaluation.tlc_sets: got {name!r}; {said}")


def _check_control(suite: Suite, path: Path, key: str, control: Control) -> None:
    """All runs of a control are there and test on the same images."""
    if control.segmentation and control.random:
        raise BenchError(
            f"{path}: controls.{key}.random: got {control.random!r} beside a segmentation; one "
            "run stands in the prior's place: leave one of them out"
        )
    fields = ("base", "trained", "zeroed", "segmentation", "random", "prior")
    steps = [(field, getattr(control, field)) for field in fields]
    steps += [("others", run) for run in control.others]
    for field, run in steps:
        _name(f"controls.{key}.{field}", run, suite.runs, path)
    used: dict[str, str] = {}
    for field, run in steps:
        if run is not None and used.setdefault(run, field) != field:
            raise BenchError(
                f"{path}: controls.{key}.{field}: got {run!r}, which is {used[run]} too; a step "
                "goes from one run to another"
            )
    _check_once_each(f"controls.{key}.others", control.others, path)
    last = suite.runs[control.prior].images.test
    for field, run in steps:
        if run is not None and suite.runs[run].images.test != last:
            raise BenchError(
                f"{path}: controls.{key}.{field}: {run!r} tests on other images than "
                f"{control.prior!r}"
            )


def _check_ablation(suite: Suite, path: Path, key: str, ablation: Ablation) -> None:
    """All runs of an ablation are there and test on the same images."""
    for run in ablation.runs:
        _name(f"ablations.{key}.runs", run, suite.runs, path)
    _check_once_each(f"ablations.{key}.runs", ablation.runs, path)
    tests = {suite.runs[run].images.test for run in ablation.runs}
    if len(tests) > 1:
        said = ", ".join(sorted(tests))
        raise BenchError(f"{path}: ablations.{key}.runs: they test on {said}; expected one")


def images_source(suite: Suite, source: str) -> str:
    """The collection whose images ``data/<key>`` or ``restored/<run>`` are."""
    kind, _, key = source.partition("/")
    if kind == "restored" and key in suite.runs:
        return suite.runs[key].images.test
    return key


def _check_sides(suite: Suite, path: Path, key: str) -> None:
    """A run's priors are those of its own images, of the kinds that a control can stand in for."""
    run = suite.runs[key]
    sides = (
        ("train", run.images.train, run.prior.train),
        ("test", run.images.test, run.prior.test),
    )
    for side, collection, name in sides:
        for prior in suite.bundles[name].values():
            images = images_source(suite, prior.images)
            if prior.kind == NO_PRIOR or images == collection:
                continue
            own = [
                other
                for other, parts in suite.bundles.items()
                if f"data/{collection}" in {part.images for part in parts.values()}
            ]
            raise BenchError(
                f"{path}: runs.{key}.prior.{side}: got {name!r}, a prior of the images of "
                f"{images!r}; the run's are {collection!r}; {nearest(name, {*own, NO_PRIOR})}"
            )


def _waits_for(suite: Suite, key: str) -> list[tuple[str, str]]:
    """(where it says so, run) of the runs that a run's stages wait for."""
    run = suite.runs[key]
    ways = [(f"runs.{key}.init", run.init)]
    for name in (run.prior.train, run.prior.test):
        ways += [(f"priors.{name}.images", part.images) for part in suite.bundles[name].values()]
    waits = []
    for where, way in ways:
        kind, _, source = way.partition("/")
        if kind in ("restored", "runs") and source in suite.runs:
            waits.append((where, source))
    return waits


def _check_order(suite: Suite, path: Path, key: str) -> None:
    """Nothing depends on itself."""
    waiting, seen = [key], set()
    while waiting:
        for where, source in _waits_for(suite, waiting.pop()):
            if source == key:
                raise BenchError(
                    f"{path}: {where}: run '{key}' would wait for itself; name another run"
                )
            if source not in seen:
                seen.add(source)
                waiting.append(source)


def _check_split(suite: Suite, path: Path, key: str) -> None:
    """No photograph on two sides: none that a run trains on is one it is chosen by or tested on."""
    run = suite.runs[key]
    sets = suite.collection(run.images.train)
    trained = {name: choice for name, choice in sets.items() if name != run.validation}
    if run.validation:
        both = _shared(trained, {run.validation: sets[run.validation]})
        if both:
            raise BenchError(
                f"{path}: runs.{key}.validation: {both[0]} is trained on too, in set {both[1]}"
            )
    source = run
    while source.images.train != run.images.test:  # what it started from has seen images as well
        seen = source.images.train
        both = _shared(suite.collection(seen), suite.collection(run.images.test))
        if both:
            raise BenchError(
                f"{path}: runs.{key}.images.test: {both[0]} is trained on too, in "
                f"data.{seen}/{both[1]}"
            )
        if not source.init.startswith("runs/"):
            break
        source = suite.runs[source.init.removeprefix("runs/")]


def _shared(first: dict[str, Choice], second: dict[str, Choice]) -> tuple[str, str] | None:
    """(what, set of ``first``) of a photograph that sets on both sides take.

    Parts of one collection of photographs may differ.
    """
    for name, one in first.items():
        for other in second.values():
            both = sorted(set(one.get("images", [])) & set(other.get("images", [])))
            if both and _overlap(one, other):
                part = ""
                if one.get("part") and other.get("part"):
                    part = f" {one['part']} and {other['part']}"
                return f"{both[0]!r}{part}", name
    return None


def _overlap(one: Choice, other: Choice) -> bool:
    """Whether two parts share a position; they are comparable only in one list of images."""
    a, b = one.get("part"), other.get("part")
    if not a or not b or one["images"] != other["images"]:
        return True
    return max(a[0], b[0]) < min(a[1], b[1])


def check_choices(suite: Suite, path: Path) -> None:
    """Check the settings of everything that is named; imports those files (torch is slow to load).

    Raises BenchError for a setting that its file does not know, a protocol, asset, paper or
    published row that is not there, a method whose prior does not give what it reads, or a prior
    that was made from images of the test, or of their references where no method says so.
    """
    from benchlib.sources import check_priors, check_told  # as in check_references

    _check_protocols(suite, path)
    for key, choice in suite.data.items():
        _check_degrade(path, key, choice.get("degrade"))
    for folder, choice, where in _choices(suite):
        configure(folder, choice, f"{path}: {where}")
    for key, choice in suite.data.items():
        if choice["degrade"]["name"] != "none" and not _degrades(choice):
            raise BenchError(
                f"{path}: data.{key}.degrade: got {choice['degrade']['name']!r}; the pairs of "
                f"{choice['name']} are finished: write {{name: none}}"
            )
        _check_depth(path, key, choice)
        _check_folder(suite, path, key)
    for key in suite.priors:
        _check_kind(suite, path, key)
    check_priors(suite, path)
    check_told(suite, path)
    for key in suite.runs:
        _check_own(suite, path, key)
        _check_clips(suite, path, key)
        _check_needs(suite, path, key)
    _check_assets(suite, path)
    for key, run in suite.runs.items():
        if run.paper:
            _check_published(path, key, run)


def _check_degrade(path: Path, key: str, degrade: Any) -> None:
    """A set says how its lq is made; that it is made of nothing is said too."""
    where = f"{path}: data.{key}.degrade"
    if degrade is None:
        raise BenchError(f"{where}: missing; write {{name: none}} for pairs as they are published")
    if not isinstance(degrade, dict):
        name = "none"
        if degrade in registry.names("degrade"):
            name = degrade
        raise BenchError(f"{where}: got {shown(degrade)}; write {{name: {name}}}")


def _check_depth(path: Path, key: str, choice: Choice) -> None:
    """A degradation that reads each pixel's distance has a source that gives it."""
    where = f"{path}: data.{key}.degrade"
    module, config = configure("degrade", choice["degrade"], where)
    source = registry.load("datasets", choice["name"])
    if not hasattr(module, "needs_depth") or not module.needs_depth(config):
        return
    if not getattr(source, "GIVES_DEPTH", False):
        raise BenchError(
            f"{where}: {choice['degrade']['name']}, so set, reads the distance of each pixel; "
            f"{choice['name']} gives none, photographs_with_depth does"
        )


def _check_folder(suite: Suite, path: Path, key: str) -> None:
    """A folder of the user's own is there, or its images are in the suite already."""
    said = suite.data[key].get("path")
    if said is None or (suite.work / "data" / key / "manifest.csv").exists():
        return
    folder = suite.located(said)
    if folder.is_dir():
        return
    hint = "relative to the folder of params.yaml; correct it"
    if TEMPORARY in suite.folder.parts:
        hint = "`dvc exp run --temp` and queues work in a copy elsewhere: write the whole path"
    raise BenchError(f"{path}: data.{key}.path: got {said!r}: no folder {folder}; {hint}")


def _choices(suite: Suite) -> Iterator[tuple[str, Choice, str]]:
    for key, choice in suite.data.items():
        yield "degrade", choice["degrade"], f"data.{key}.degrade"
        yield "datasets", source_settings(choice), f"data.{key}"
    for key, prior in suite.priors.items():
        yield "priors", prior.prior, f"priors.{key}.prior"
    for key, run in suite.runs.items():
        yield "backbones", run.backbone, f"runs.{key}.backbone"
        yield "methods", run.method, f"runs.{key}.method"


def source_settings(choice: Choice) -> Choice:
    """An entry of ``data`` without its degradation, which is not the source's to know."""
    return {key: value for key, value in choice.items() if key != "degrade"}


def _degrades(choice: Choice) -> bool:
    """Whether the source of a set makes its lq itself."""
    return registry.load("datasets", choice["name"]).DEGRADES


def _check_protocols(suite: Suite, path: Path) -> None:
    """Every protocol is known, and some metric of the suite is measured under it."""
    from benchlib.metrics import protocol  # layer 2: names alone, when called

    for key in suite.runs:
        watched = {budget.watch for budget in budgets(suite, key)}
        for name in sorted(watched | set(suite.evaluation_of(key).protocols)):
            try:
                known = protocol(name).metrics
            except BenchError as error:
                raise BenchError(f"{path}: runs.{key}: {error}") from None
            if not set(known) & set(suite.metrics):
                raise BenchError(
                    f"{path}: metrics: got {', '.join(suite.metrics)}; {name} measures none of "
                    f"them, but {', '.join(known)}; add one"
                )


def _check_kind(suite: Suite, path: Path, key: str) -> None:
    prior = suite.priors[key]
    kind = registry.load("priors", prior.prior["name"]).KIND
    if prior.kind != kind:
        raise BenchError(
            f"{path}: priors.{key}.kind: got {prior.kind!r}; {prior.prior['name']} gives {kind}"
        )


def _check_own(suite: Suite, path: Path, key: str) -> None:
    """A method that trains has a network; one that brings what restores has no other beside it.

    What such a method can find wrong before any work is found here (its ``check``).
    """
    run, where = suite.runs[key], f"{path}: runs.{key}"
    method, config = configure("methods", run.method)
    name, backbone = run.method["name"], run.backbone["name"]
    if backbone == NO_NETWORK and _takes_network(method, config):
        known = set(registry.names("backbones")) - {NO_NETWORK}
        raise BenchError(
            f"{where}.backbone: got 'none', but method {name} needs a network; "
            f"{nearest(backbone, known)}"
        )
    if method.INFO.own and backbone != NO_NETWORK:
        raise BenchError(
            f"{where}.backbone: got {backbone!r}, but method {name} brings its own "
            f"{method.INFO.own}; write {{name: none}}"
        )
    if method.INFO.trains and backbone != NO_NETWORK and not _takes_network(method, config):
        raise BenchError(
            f"{where}.backbone: got {backbone!r}, but method {name}, so set, goes on from what a "
            "run has restored; write {name: none}"
        )
    if method.INFO.own and run.init not in _random_starts(suite):
        raise BenchError(
            f"{where}.init: got {run.init!r}, but method {name} starts from no other weights; "
            f"{nearest(run.init, _random_starts(suite) or ['weights/<one without asset>'])}"
        )
    if hasattr(method, "check"):
        try:
            method.check(located(method, config, suite.folder))
        except BenchError as error:
            raise BenchError(f"{where}.method: {error}") from None
    module, settings = configure("backbones", run.backbone)
    if hasattr(module, "check"):
        try:
            module.check(settings)
        except BenchError as error:
            raise BenchError(f"{where}.backbone: {error}") from None
    if hasattr(method, "check_network"):
        try:
            method.check_network(config, Backbone.from_module(module, settings))
        except BenchError as error:
            raise BenchError(f"{where}.method: {error}") from None


def _check_clips(suite: Suite, path: Path, key: str) -> None:
    """A network of clips has a task of frames, a method that knows clips, and no tiles of a whole
    one.
    """
    run, where = suite.runs[key], f"{path}: runs.{key}"
    module, settings = configure("backbones", run.backbone)
    name, of_clips = run.backbone["name"], Backbone.from_module(module, settings).frames
    method, config = configure("methods", run.method)
    if of_clips is None or not _takes_network(method, config):
        return
    if not getattr(registry.load("tasks", suite.task), "CLIPS", False):
        raise BenchError(
            f"{where}.backbone: got {name!r}, which reads clips, but the suite's task is "
            f"{suite.task!r}, of single images; write task: video, or take another network"
        )
    plain = not (entries_read(method, config) or method.INFO.truth or method.INFO.unpaired)
    if not (method.INFO.clips or (plain and not hasattr(method, "objective"))):
        raise BenchError(
            f"{where}.method: got {run.method['name']!r}, which knows single images alone, but "
            f"{name} reads clips; take a method of clips (none, seem), or another network"
        )
    if of_clips.window is None and suite.evaluation_of(key).tile is not None:
        raise BenchError(
            f"{where}: evaluation.tile: got {suite.evaluation_of(key).tile}, but {name} restores "
            "clips whole; set null"
        )


def _takes_network(method: Any, config: Any) -> bool:
    """Whether a method restores by the run's backbone."""
    if hasattr(method, "takes_network"):
        return method.takes_network(config)
    return method.INFO.trains


def _random_starts(suite: Suite) -> list[str]:
    return [f"weights/{key}" for key, start in suite.weights.items() if start.asset is None]


def _check_needs(suite: Suite, path: Path, key: str) -> None:
    """A method gets from its priors what it reads, in training and test, of the right size."""
    run = suite.runs[key]
    method, config = configure("methods", run.method)
    needs = entries_read(method, config)
    for side in ("train", "test"):
        name = getattr(run.prior, side)
        gives = entries_given(suite, name)
        missing = [entry for entry in needs if entry not in gives]
        if missing:
            said = ", ".join(gives) or "nothing"
            raise BenchError(
                f"{path}: runs.{key}.prior.{side}: got {name!r}, which gives {said}; "
                f"method {run.method['name']} needs {', '.join(needs)}"
            )
        _check_size(suite, path, key, side, getattr(config, "size", None))


def entries_given(suite: Suite, name: str) -> list[str]:
    """The batch entries of what a run names as its prior.

    ``<entry>``; in a bundle ``<part>.<entry>``, and ``<entry>`` too where one part alone has it.
    """
    given: list[str] = []
    named = []
    for part, prior in suite.bundle(name).items():
        entries = registry.load("priors/kinds", prior.kind).ENTRIES
        given += entries
        if part:
            named += [f"{part}.{entry}" for entry in entries]
    alone = [entry for entry in given if given.count(entry) == 1]
    return alone + named


def _check_size(suite: Suite, path: Path, key: str, side: str, size: int | None) -> None:
    """A method that reads a vector is built for the length that its prior gives."""
    name = getattr(suite.runs[key].prior, side)
    for part in suite.bundle(name).values():
        if part.kind != "vector" or size is None:
            continue
        module, config = configure("priors", part.prior)
        if module.size(config) != size:
            raise BenchError(
                f"{path}: runs.{key}.method.size: got {size}; prior {name!r} gives vectors of "
                f"{module.size(config)}"
            )


def _check_assets(suite: Suite, path: Path) -> None:
    """What is named of the catalogue is there."""
    from benchlib.assets import load_catalogue

    named = []
    for key, choice in suite.data.items():
        for images in ("images", "depths"):
            named += [(f"data.{key}", name) for name in choice.get(images, [])]
        if "asset" in choice:
            named.append((f"data.{key}", choice["asset"]))
    for key, weights in suite.weights.items():
        if weights.asset:
            named.append((f"weights.{key}.asset", weights.asset))
    catalogue = load_catalogue()
    for where, entry in named:
        if entry not in catalogue:
            said = nearest(entry, catalogue)
            raise BenchError(
                f"{path}: {where}: got {entry!r}, no entry of the catalogue, which `benchlib ls "
                f"assets` lists; {said}"
            )


def _check_published(path: Path, key: str, run: Run) -> None:
    """The paper and its row are there."""
    folder = Path(__file__).parent / "papers"
    papers = {file.stem: file for file in folder.glob("*.csv")}
    _name(f"runs.{key}.paper", run.paper, papers, path)
    if not run.row:
        return
    with open(papers[run.paper], encoding="utf-8", newline="") as file:
        lines: list[dict[str, Any]] = list(csv.DictReader(file))
    known = {line["row"] for line in lines if line["table"] == run.table}
    _name(f"runs.{key}.row", run.row, known, path)
