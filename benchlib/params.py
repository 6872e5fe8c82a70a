"""Typed parameters: one suite is one ``params.yaml``; a mistake in it is one line that names the key.

Floor 1. The YAML is read as DVC reads it (ruamel, YAML 1.2). Settings that belong to one file of a room (a method's
dropout, a prior's grid) are checked against that file's ``Config``; a file of a heavy room is imported for that only
when the parameters or the code have changed since the last check.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from benchlib import registry
from benchlib.contracts import BenchError, nearest, reads

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # no dot: DVC parts a parameter's path there
Choice = dict[str, Any]  # {"name": <file of a room>, ...its Config}
M = TypeVar("M", bound=BaseModel)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Training(Model):
    """The budget and the optimiser; defaults are NAFNet's and SAM-Deblur's (their ``options/train/GoPro``)."""

    iterations: int = Field(ge=0)
    batch: int = Field(32, ge=1)
    crop: int = Field(256, ge=8, description="side of a training crop, pixels of lq")
    sets: list[str] | None = Field(None, description="sets to train on; None: all of the collection but the validation")
    loss: Literal["psnr", "l1"] = "psnr"
    schedule: Literal["cosine", "halve"] = "cosine"
    halve_every: int = Field(5000, ge=1, description="iterations; for schedule `halve`")
    lr: float = Field(1e-3, gt=0, le=1)
    lr_end: float = Field(1e-7, ge=0, le=1)
    weight_decay: float = Field(1e-3, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    grad_clip: float | None = Field(0.01, gt=0, description="largest gradient norm; NAFNet's image_restoration_model")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int = Field(0, ge=0, description="processes that load crops")
    log_every: int = Field(50, ge=1, description="iterations")
    validate_every: int = Field(1000, ge=1, description="iterations")
    watch: str = Field("basicsr-rgb", description="protocol of the validation")
    keep: Literal["last", "best"] = Field("last", description="weights kept: the last, or the best validation's")
    candidates: list[dict[str, Any]] = Field(
        [], description="changes of this budget, each tried with the first seed; the best validation wins"
    )
    checkpoint_seconds: float = Field(30.0, ge=0)


class Evaluation(Model):
    """How restored images are judged. A protocol is ``name`` or ``name@border`` (see ``benchlib/metrics``)."""

    protocols: list[str] = Field(["basicsr-rgb"], min_length=1)
    average: bool = Field(False, description="a column over all images of the collection: a mean weighted by count")
    mcr_drop: float = Field(3.0, gt=0, description="dB; SAM-Deblur, section 4.2")
    tile: int | None = Field(None, ge=64, description="pixels; larger images are cut, overlapping")
    overlap: int = Field(32, ge=0, description="pixels")
    tlc_crop: int | None = Field(None, ge=8, description="TLC: the training crop's side; None: global pooling")
    tlc_sets: list[str] | None = Field(None, description="the test sets that TLC is used on; None: all")


class Sides(Model):
    """The prior of the training images and of the test images: keys of ``priors``."""

    train: Name
    test: Name


class Run(Model):
    """One row of the comparison."""

    label: str | None = None
    reference: Name | None = Field(
        None, description="the run that differences are taken to; None: the suite's baseline"
    )
    paper: str = ""
    table: str = ""
    row: str = Field("", description="the published row it stands beside")
    task: str = "deblurring"
    setting: str = ""
    backbone: Choice
    method: Choice
    train: Name
    validation: Name | None = Field(None, description="a set of the training collection held out to watch training")
    test: Name
    prior: Sides
    init: str = Field(description="what it starts from: `weights/<key>`, or `runs/<run>`, trained here")
    seeds: list[int] = Field([0], min_length=1)
    training: dict[str, Any] = Field({}, description="what differs from the suite's `training`")
    evaluation: dict[str, Any] = Field({}, description="what differs from the suite's `evaluation`")


class Prior(Model):
    """Priors of one collection of images: ``images`` is ``data/<key>`` or ``restored/<run>``."""

    images: str
    prior: Choice


class Control(Model):
    """Runs that together say what a prior itself adds: the gain of ``prior`` over ``base``, in steps (see README).

    base -> trained (further training, nothing else) -> zeroed (the method's parameters, its prior zeroed) ->
    segmentation (superpixels in the prior's place) -> prior. ``trained`` is None where base has had the same training,
    ``segmentation`` where no such run is wanted: the last step then is all that masks add.
    """

    label: str
    base: Name
    trained: Name | None = None
    zeroed: Name
    segmentation: Name | None = None
    prior: Name
    others: list[Name] = Field([], description="shown beside, no step: another image's prior, other superpixels")


class Weights(Model):
    """Weights to start from; without an asset, a network's own random start."""

    asset: str | None


class Suite(Model):
    suite: Name
    root: str = "."
    mirror: str | None = Field(None, description="tried before the sources; BENCHLIB_MIRROR in the environment wins")
    training: Training
    evaluation: Evaluation
    data: dict[Name, dict[Name, Choice]]
    weights: dict[Name, Weights]
    priors: dict[Name, Prior]
    runs: dict[Name, Run]
    controls: dict[Name, Control] = {}

    folder: Path = Field(Path("."), exclude=True, description="where params.yaml stands; set on loading")

    @property
    def work(self) -> Path:
        """Where large artefacts go: ``<root>/work/<suite>``."""
        return (self.folder / self.root / "work" / self.suite).resolve()

    @property
    def masks(self) -> Path:
        """Finished masks by what they were made from, for all suites: ``<root>/work/.masks``."""
        return self.work.parent / ".masks"

    @property
    def results(self) -> Path:
        """Where small, committed artefacts go: ``<root>/results/<suite>``."""
        return (self.folder / self.root / "results" / self.suite).resolve()

    def run(self, key: str) -> Run:
        return self._pick("runs", self.runs, key)

    def prior(self, key: str) -> Prior:
        return self._pick("priors", self.priors, key)

    def start(self, key: str) -> Weights:
        return self._pick("weights", self.weights, key)

    def collection(self, key: str) -> dict[str, Choice]:
        return self._pick("data", self.data, key)

    def training_of(self, key: str) -> Training:
        """The suite's training budget with the run's own changes."""
        return _merged(self.training, self.run(key).training, f"params.yaml: runs.{key}.training")

    def evaluation_of(self, key: str) -> Evaluation:
        """The suite's way of judging with the run's own changes."""
        return _merged(self.evaluation, self.run(key).evaluation, f"params.yaml: runs.{key}.evaluation")

    def _pick(self, section: str, items: dict[str, Any], key: str) -> Any:
        if key not in items:
            raise BenchError(f"{self.suite} params.yaml: {section} has no '{key}'; {nearest(key, items)}")
        return items[key]


def configure(room: str, choice: Choice, path: str = "") -> tuple[Any, Any]:
    """(the room's module, its Config filled from ``choice``); ``path`` is the key's path for the error's line.

    Raises BenchError for an unknown file, an unknown key, a wrong type or a value out of range.
    """
    name = choice.get("name")
    if not isinstance(name, str) or name not in registry.names(room):
        raise BenchError(f"{path}.name: got {name!r}; {nearest(str(name), registry.names(room))}")
    module = registry.load(room, name)
    settings = {key: value for key, value in choice.items() if key != "name"}
    strict = dataclass(module.Config, config=ConfigDict(extra="forbid", strict=True), frozen=True)
    try:
        return module, strict(**settings)
    except ValidationError as error:
        raise BenchError(_one_line(error, path, list(module.Config.__dataclass_fields__))) from None


def load_params(path: str | Path = "params.yaml") -> Suite:
    """Read and check a suite. Raises BenchError: the key's path, what it got, what it may be, the nearest name."""
    path = Path(path)
    try:
        raw = YAML(typ="safe").load(path.read_text())
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file; give a suite's params.yaml") from None
    except YAMLError as error:
        raise BenchError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    suite = _validate(Suite, raw, str(path))
    suite = suite.model_copy(update={"folder": path.resolve().parent})
    _check_references(suite, path)
    _check_split(suite, path)
    _check_choices_once(suite, path)
    return suite


def _validate(model: type[M], raw: Any, where: str) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise BenchError(_one_line(error, where, _fields(model, error))) from None


def _merged(base: M, changes: dict[str, Any], where: str) -> M:
    return _validate(type(base), base.model_dump() | changes, where)


def _fields(model: type[BaseModel], error: ValidationError) -> list[str]:
    """The names allowed where the first error stands: follow its path through the models."""
    here: Any = model
    for step in error.errors()[0]["loc"][:-1]:
        if isinstance(here, type) and issubclass(here, BaseModel) and step in here.model_fields:
            here = here.model_fields[str(step)].annotation
        else:  # a key of dict[Name, X]
            here = getattr(here, "__args__", [None])[-1]
    return [f for f in here.model_fields if f != "folder"] if hasattr(here, "model_fields") else []


def _one_line(error: ValidationError, where: str, allowed: list[str]) -> str:
    first = error.errors()[0]
    steps = [str(step) for step in first["loc"] if step != "[key]"]
    key = ".".join([where, *steps]) if not where.endswith((".yaml", ".yml")) else f"{where}: {'.'.join(steps)}"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument", "unexpected_keyword"):
        return f"{key}: unknown key; {nearest(steps[-1], allowed)}"
    if first["type"] in ("missing", "missing_argument"):
        return f"{key}: missing; {first['msg'].lower()}"
    if first["type"] == "string_pattern_mismatch":
        return f"{key}: got {first['input']!r}; a name has letters, digits, - and _, no other characters"
    return f"{key}: got {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}"


def _check_references(suite: Suite, path: Path) -> None:
    """Every key that names another entry names one that is there."""
    for key, run in suite.runs.items():
        for budget in candidates(suite, key):
            _check_budget(suite, path, key, budget)
        suite.evaluation_of(key)
        references: list[tuple[str, str | None, Collection[str]]] = [
            ("train", run.train, suite.data),
            ("validation", run.validation, suite.data.get(run.train, {})),
            ("test", run.test, suite.data),
            ("prior.train", run.prior.train, suite.priors),
            ("prior.test", run.prior.test, suite.priors),
            ("reference", run.reference, suite.runs),
            ("init", run.init, [f"weights/{k}" for k in suite.weights] + [f"runs/{k}" for k in suite.runs]),
        ]
        for field, value, allowed in references:
            if value is not None and value not in allowed:
                raise BenchError(f"{path}: runs.{key}.{field}: got {value!r}; {nearest(value, allowed)}")
        if run.reference and suite.runs[run.reference].test != run.test:
            raise BenchError(f"{path}: runs.{key}.reference: {run.reference!r} tests on other images than {key!r}")
        _check_sides(suite, path, key)
        if len(set(run.seeds)) < len(run.seeds):
            raise BenchError(f"{path}: runs.{key}.seeds: got {run.seeds}; each seed once")
        how = suite.evaluation_of(key)
        if how.tile is not None and how.overlap >= how.tile:
            raise BenchError(f"{path}: runs.{key}: evaluation.overlap: got {how.overlap}; less than tile, {how.tile}")
        sets = suite.data[run.test]
        for name in suite.evaluation_of(key).tlc_sets or []:
            if name not in sets:
                raise BenchError(f"{path}: runs.{key}: evaluation.tlc_sets: got {name!r}; {nearest(name, sets)}")
    for key, control in suite.controls.items():
        _check_control(suite, path, key, control)
    sources = [f"data/{key}" for key in suite.data] + [f"restored/{key}" for key in suite.runs]
    for key, prior in suite.priors.items():
        if prior.images not in sources:
            raise BenchError(f"{path}: priors.{key}.images: got {prior.images!r}; {nearest(prior.images, sources)}")


def candidates(suite: Suite, key: str) -> list[Training]:
    """The budgets that a run tries: its own, or that with each of its ``candidates``' changes."""
    budget = suite.training_of(key)
    where = f"params.yaml: runs.{key}.training.candidates"
    tried = [_merged(budget, change, f"{where}.{i}") for i, change in enumerate(budget.candidates)]
    return [one.model_copy(update={"candidates": []}) for one in tried] or [budget]


def _check_budget(suite: Suite, path: Path, key: str, budget: Training) -> None:
    """A budget that chooses needs something to choose by; it trains on sets that are there and not held out."""
    run, sets = suite.runs[key], suite.data.get(suite.runs[key].train, {})
    trained = set(sets) - {run.validation}
    for name in budget.sets or []:
        if name not in trained:
            raise BenchError(f"{path}: runs.{key}: training.sets: got {name!r}; {nearest(name, trained)}")
    chooses = budget.keep == "best" or suite.training_of(key).candidates
    if chooses and budget.iterations and run.validation is None:
        raise BenchError(f"{path}: runs.{key}.validation: missing; training.keep and candidates choose by it")


def _check_control(suite: Suite, path: Path, key: str, control: Control) -> None:
    """All runs of a control are there and test on the same images."""
    steps = {name: getattr(control, name) for name in ("base", "trained", "zeroed", "segmentation", "prior")}
    for field, run in [*steps.items(), *(("others", run) for run in control.others)]:
        if run is None:
            continue
        if run not in suite.runs:
            raise BenchError(f"{path}: controls.{key}.{field}: got {run!r}; {nearest(run, suite.runs)}")
        last = suite.runs.get(control.prior)
        if last and suite.runs[run].test != last.test:
            raise BenchError(f"{path}: controls.{key}.{field}: {run!r} tests on other images than {control.prior!r}")


def _check_sides(suite: Suite, path: Path, key: str) -> None:
    """A run's priors are those of its own images, and nothing depends on itself."""
    run = suite.runs[key]
    for side, collection in (("train", run.train), ("test", run.test)):
        name = getattr(run.prior, side)
        prior = suite.priors[name]
        kind, _, source = prior.images.partition("/")
        of = source if kind == "data" else suite.runs[source].test if source in suite.runs else source
        if prior.prior.get("name") != "none" and of != collection:
            fit = [k for k, p in suite.priors.items() if p.images == f"data/{collection}"]
            raise BenchError(
                f"{path}: runs.{key}.prior.{side}: got {name!r}, a prior of the images of {of!r}; the run's are "
                f"{collection!r}; {nearest(name, {*fit, 'none'})}"
            )
    waiting, seen = [key], set()
    while waiting:
        here = suite.runs[waiting.pop()]
        ways = [(f"priors.{name}.images", suite.priors[name].images) for name in (here.prior.train, here.prior.test)]
        for where, way in [*ways, (f"runs.{key}.init", here.init)]:
            kind, _, source = way.partition("/")
            if kind in ("restored", "runs") and source == key:
                raise BenchError(f"{path}: {where}: run '{key}' would wait for itself; name another run")
            if kind in ("restored", "runs") and source in suite.runs and source not in seen:
                seen.add(source)
                waiting.append(source)


def _check_split(suite: Suite, path: Path) -> None:
    """No photograph on two sides: none that a run trains on is one that it is chosen by or tested on."""
    for key, run in suite.runs.items():
        sets = suite.data[run.train]
        trained = {name: choice for name, choice in sets.items() if name != run.validation}
        if run.validation and (both := _shared(trained, {run.validation: sets[run.validation]})):
            raise BenchError(f"{path}: runs.{key}.validation: {both[0]} is trained on too, in set {both[1]}")
        source = run
        while source.train != run.test:  # what it started from has seen images as well
            if both := _shared(suite.data[source.train], suite.data[run.test]):
                where = f"data.{source.train}.{both[1]}"
                raise BenchError(f"{path}: runs.{key}.test: {both[0]} is trained on too, in {where}")
            if not source.init.startswith("runs/"):
                break
            source = suite.runs[source.init.removeprefix("runs/")]


def _shared(first: dict[str, Choice], second: dict[str, Choice]) -> tuple[str, str] | None:
    """(what, set of ``first``) of a photograph that sets on both sides take; parts of one collection may differ."""
    for name, one in first.items():
        for other in second.values():
            both = sorted(set(one.get("images", [])) & set(other.get("images", [])))
            if both and _overlap(one, other):
                part = f" {one['part']} and {other['part']}" if one.get("part") and other.get("part") else ""
                return f"{both[0]!r}{part}", name
    return None


def _overlap(one: Choice, other: Choice) -> bool:
    """Whether two parts share a position; they are comparable only in one list of images."""
    a, b = one.get("part"), other.get("part")
    if not a or not b or one["images"] != other["images"]:
        return True
    return max(a[0], b[0]) < min(a[1], b[1])


def _choices(suite: Suite) -> Iterator[tuple[str, Choice, str]]:
    for key, sets in suite.data.items():
        for name, choice in sets.items():
            yield "datasets", choice, f"data.{key}.{name}"
            if "degrade" in choice:
                yield "degrade", choice["degrade"], f"data.{key}.{name}.degrade"
    for key, prior in suite.priors.items():
        yield "priors", prior.prior, f"priors.{key}.prior"
    for key, run in suite.runs.items():
        yield "backbones", run.backbone, f"runs.{key}.backbone"
        yield "methods", run.method, f"runs.{key}.method"


def _check_choices_once(suite: Suite, path: Path) -> None:
    """Check every room's settings, unless these parameters and this code have passed before (torch is slow to load)."""
    digest = hashlib.sha256(path.read_bytes())
    for room in registry.ROOMS:
        for file in sorted((Path(__file__).parent / room).glob("*.py")):
            digest.update(file.read_bytes())
    passed = suite.work / ".checked" / digest.hexdigest()[:16]
    if passed.exists():
        return
    from benchlib.metrics import protocol

    watched = {budget.watch for key in suite.runs for budget in candidates(suite, key)}
    for name in sorted(watched | {p for key in suite.runs for p in suite.evaluation_of(key).protocols}):
        try:
            protocol(name)
        except BenchError as error:
            raise BenchError(f"{path}: {error}") from None
    for room, choice, where in _choices(suite):
        configure(room, choice, f"{path}: {where}")
    _check_needs(suite, path)
    _check_names(suite, path)
    passed.parent.mkdir(parents=True, exist_ok=True)
    passed.touch()


def _check_needs(suite: Suite, path: Path) -> None:
    """Every method gets from its priors what it reads, in training and in the test."""
    for key, run in suite.runs.items():
        needs = reads(*configure("methods", run.method))
        for side in ("train", "test"):
            name = getattr(run.prior, side)
            gives = registry.load("priors", suite.priors[name].prior["name"]).ENTRIES
            if set(needs) - set(gives):
                raise BenchError(
                    f"{path}: runs.{key}.prior.{side}: got {name!r}, which gives {', '.join(gives) or 'nothing'}; "
                    f"method {run.method['name']} needs {', '.join(needs)}"
                )


def _check_names(suite: Suite, path: Path) -> None:
    """What is named from outside the file is there: photographs, data sets, weights, papers and their rows."""
    from benchlib.assets import load_catalogue

    catalogue = load_catalogue()
    named = [
        (f"data.{key}.{name}", entry)
        for key, sets in suite.data.items()
        for name, choice in sets.items()
        for entry in [*choice.get("images", []), *([choice["asset"]] if "asset" in choice else [])]
    ]
    named += [(f"weights.{key}.asset", weights.asset) for key, weights in suite.weights.items() if weights.asset]
    for where, entry in named:
        if entry not in catalogue:
            raise BenchError(f"{path}: {where}: got {entry!r}, no entry of the catalogue; {nearest(entry, catalogue)}")
    for key, run in suite.runs.items():
        if run.paper:
            rows = _published_rows(f"{path}: runs.{key}.paper", run.paper)
            if run.row and (run.table, run.row) not in rows:
                known = sorted({row for table, row in rows if table == run.table})
                raise BenchError(f"{path}: runs.{key}.row: got {run.row!r}; {nearest(run.row, known)}")


def _published_rows(where: str, paper: str) -> set[tuple[str, str]]:
    folder = Path(__file__).parent / "papers"
    papers = {file.stem.replace("_", "-"): file for file in folder.glob("*.csv")}
    if paper not in papers:
        raise BenchError(f"{where}: got {paper!r}; {nearest(paper, papers)}")
    with open(papers[paper], newline="") as file:
        return {(line["table"], line["row"]) for line in csv.DictReader(file)}
