"""Typed parameters: a suite is one ``params.yaml``; a mistake in it is a line that names the key.

Layer 1. The YAML is read as DVC reads it (ruamel, YAML 1.2). This file holds the models and reads
them; what the entries say of each other is checked in ``checks.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from benchlib import names, registry
from benchlib.contracts import BenchError, nearest
from benchlib.files import check_file

VERSION = 1  # raise it when a default changes

Name = Annotated[str, Field(pattern=f"^{names.NAME}$")]
# of a set in a collection, or of a prior in a bundle: one stage, one folder
Member = Annotated[str, Field(pattern=f"^{names.MEMBER}$")]
NameOrMember = Annotated[str, Field(pattern=f"^{names.NAME}(/{names.NAME})?$")]
LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"  # no line break, no other control character
Text = Annotated[str, Field(max_length=300, pattern=LINE)]  # a cell of a table
Choice = dict[str, Any]  # {"name": <file of a folder>, ...its Config}
Swap = Literal["zeroed", "shuffled"]
M = TypeVar("M", bound=BaseModel)
UNPACK = (
    "keep decoded pairs and priors on disk, in work/.unpacked, and map them; auto: where a loading "
    "process cannot keep them in memory, and opens each twice or more. The crops are the same"
)
THREADS = "of torch on the CPU; None: as many as it chooses. Another number moves the last digits"

# Bounds are there so that a slip of the finger is told at once. They lie far beyond any use:
MOST_ITERATIONS = 10**9  # years of training
MOST_PIXELS = 2**14  # a side of 16,384: no photograph is larger, no memory holds a batch of them
MOST_SEED = 2**32 - 1  # what the generators of all libraries take
MOST = 10**9  # of whole numbers in settings that state no bound of their own
SMALLEST = 1e-12  # less is zero beside the numbers of a network in float32

MOST_DEVICES = 1024
AUTO = "auto"

Iterations = Annotated[int, Field(ge=1, le=MOST_ITERATIONS)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]


def _devices(value: Any) -> Any:
    """A number of devices, or ``auto``. Said here: of a union, pydantic names its inner parts."""
    if value == AUTO or (type(value) is int and 1 <= value <= MOST_DEVICES):
        return value
    raise PydanticCustomError(
        "devices", "expected a whole number from 1 to {most}, or auto", {"most": MOST_DEVICES}
    )


Devices = Annotated[
    Annotated[int, Field(ge=1, le=MOST_DEVICES)] | Literal["auto"], BeforeValidator(_devices)
]


COLUMNS = "columns"


def _average(value: Any) -> Any:
    """Said here, as of ``_devices``: a union's own message names its parts."""
    if value == COLUMNS or type(value) is bool:
        return value
    raise PydanticCustomError("average", "expected true, false or columns")


Average = Annotated[bool | Literal["columns"], BeforeValidator(_average)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Training(Model):
    """The budget and the optimiser; defaults are NAFNet's and SAM-Deblur's.

    Source: ``options/train/GoPro`` of both.
    """

    iterations: int = Field(ge=0, le=MOST_ITERATIONS)
    batch: int = Field(32, ge=1, le=2**16)
    crop: int = Field(
        256, ge=8, le=MOST_PIXELS, description="side of a training crop, pixels of lq"
    )
    sets: list[str] | None = Field(
        None, min_length=1, description="to train on; None: all but the validation"
    )
    mix: Literal["size", "uniform", "cycle"] = Field(
        "size",
        description="which set a crop is of: by size, every pair once an epoch; each as likely; "
        "each in turn",
    )
    repeats: dict[str, Annotated[int, Field(ge=1, le=10**6)]] = Field(
        {}, description="set -> how often its pairs come in an epoch, for mix `size`; 1 of others"
    )
    loss: Literal["psnr", "l1", "charbonnier"] = "psnr"
    schedule: Literal["cosine", "halve"] = "cosine"
    halve_every: Iterations = Field(5000, description="iterations; for schedule `halve`")
    lr: float = Field(1e-3, ge=SMALLEST, le=1)
    lr_end: float = Field(1e-7, ge=0, le=1)
    weight_decay: float = Field(1e-3, ge=0, le=100, description="AdamW takes lr times that off")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    grad_clip: float | None = Field(
        0.01, ge=SMALLEST, le=1e12, description="largest gradient norm; null: not clipped"
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int = Field(0, ge=0, le=1024, description="processes that load crops")
    unpack: Literal["auto", "always", "never"] = Field("auto", description=UNPACK)
    threads: int | None = Field(None, ge=1, le=1024, description=THREADS)
    devices: Devices = Field(
        1, description="GPUs of one host, or processes where there is none; auto: all GPUs"
    )
    log_every: Iterations = Field(50, description="iterations")
    validate_every: Iterations = Field(1000, description="iterations")
    watch: str = Field("basicsr-rgb", description="protocol of the validation")
    keep: Literal["last", "best"] = Field("last", description="the last, or the best validation's")
    candidates: list[dict[str, Any]] = Field(
        [],
        max_length=1000,
        description="changes of this budget, each tried with the first seed; the best one wins",
    )
    checkpoint_seconds: float = Field(30.0, ge=0, le=1e6)


class Evaluation(Model):
    """How restored images are judged.

    A protocol is ``name`` or ``name@border`` (see ``benchlib/metrics``).
    """

    protocols: list[str] = Field(["basicsr-rgb"], min_length=1)
    swap: list[Swap] = Field(
        [],
        description="restore again, without training, with the prior zeroed or another image's",
    )
    average: Average = Field(
        False,
        description="true: a column over all images of the collection; columns: over its sets, "
        "each of which counts alike",
    )
    threads: int | None = Field(None, ge=1, le=1024, description=THREADS)
    tile: int | None = Field(
        None, ge=64, le=2**20, description="pixels; larger images are cut, overlapping"
    )
    overlap: int = Field(32, ge=0, le=2**20, description="pixels")
    tlc_crop: int | None = Field(
        None, ge=8, le=MOST_PIXELS, description="TLC: the training crop's side"
    )
    tlc_sets: list[str] | None = Field(None, description="sets that TLC is used on; None: all")
    quantise: Literal["round", "truncate"] = Field(
        "round",
        description="to 8 bits by the nearest level, or by the one below, as scripts do that save "
        "with astype('uint8')",
    )


class Sides(Model):
    """The images that a run trains on and is tested on: collections of ``data``."""

    train: Name
    test: Name


class PriorSides(Model):
    """The prior of the training images and of the test images: keys of ``priors``.

    swap: a control in the prior's place, in training and in the test: nothing of it ("zeroed"), or
    another image's ("shuffled").
    """

    train: Name
    test: Name
    swap: Swap | None = None


class Run(Model):
    """One row of the comparison."""

    label: Text | None = Field(None, min_length=1)
    reference: Name | None = Field(
        None, description="the run that differences are taken to; None: the suite's baseline"
    )
    paper: Text = ""
    table: Text = ""
    row: Text = Field("", description="the published row it stands beside")
    problem: Text = Field("deblurring", description="what is restored, in the tables' words")
    setting: Text = ""
    backbone: Choice
    method: Choice
    images: Sides
    validation: Name | None = Field(None, description="a set of the training collection held out")
    prior: PriorSides
    init: str = Field(description="what it starts from: `weights/<key>` or `runs/<run>`")
    seeds: list[Seed] = Field([0], min_length=1, max_length=1000)
    training: dict[str, Any] = Field({}, description="what differs from the suite's `training`")
    evaluation: dict[str, Any] = Field({}, description="what differs from the suite's")


class Prior(Model):
    """A prior of one collection of images: ``images`` is ``data/<key>`` or ``restored/<run>``.

    kind: how it is stored, a file of ``benchlib/priors/kinds``; DVC reads that file's version.
    """

    kind: str
    images: str
    prior: Choice


class Control(Model):
    """Runs that together say what a prior itself adds: the gain over ``base``, in steps.

    base -> trained (further training, nothing else) -> zeroed (the method's parameters, its prior
    zeroed) -> segmentation (superpixels in the masks' place) or random (a network with random
    weights in the provider's place) -> prior. ``trained`` is None where base has had the same
    training, ``segmentation`` and ``random`` where no such run is wanted: the last step then is all
    that the prior adds.
    """

    label: Text = Field(min_length=1)
    base: Name
    trained: Name | None = None
    zeroed: Name
    segmentation: Name | None = None
    random: Name | None = None
    prior: Name
    others: list[Name] = Field([], description="shown beside, no step")


class Ablation(Model):
    """Runs that are a table of their own: they change one thing. A run may be a line of several."""

    label: Text = Field(min_length=1)
    paper: Text = ""
    table: Text = Field("", description="the published table that it stands beside")
    runs: list[Name] = Field(min_length=1)


class Weights(Model):
    """Weights to start from; without an asset, a network's own random start."""

    asset: str | None


class Suite(Model):
    """A whole ``params.yaml``."""

    suite: Name
    root: str = Field(
        "",
        pattern=f"^{names.ROOT}$",
        description="before paths of the project: the way up to it, with / at its end, or empty",
    )
    plugins: list[str] = Field(
        [], description="folders and files outside the checkout that are used like its own"
    )
    mirror: str | None = Field(None, description="tried before the sources; BENCHLIB_MIRROR wins")
    task: str = Field(description="what an item is: a file of `benchlib/tasks`")
    metrics: list[str] = Field(min_length=1, description="files of `benchlib/metrics`, in order")
    training: Training
    evaluation: Evaluation
    data: dict[Member, Choice] = Field(description="`<collection>/<set>`")
    weights: dict[Name, Weights]
    priors: dict[NameOrMember, Prior] = Field(description="`<key>`, or of a bundle `<key>/<part>`")
    runs: dict[Name, Run] = Field(min_length=1)
    controls: dict[Name, Control] = {}
    ablations: dict[Name, Ablation] = {}

    folder: Path = Field(
        Path("."), exclude=True, description="where params.yaml stands; set on loading"
    )

    @property
    def work(self) -> Path:
        """Where large artefacts go: ``<root>work/<suite>``."""
        return (self.folder / self.root / "work" / self.suite).resolve()

    @property
    def kept_priors(self) -> Path:
        """Finished priors by what they were made from, for all suites: ``<root>work/.priors``."""
        return self.work.parent / ".priors"

    @property
    def unpacked(self) -> Path:
        """Decoded training images and priors, for all suites: ``<root>work/.unpacked``."""
        return self.work.parent / ".unpacked"

    @property
    def results(self) -> Path:
        """Where small, committed artefacts go: ``<root>results/<suite>``."""
        return (self.folder / self.root / "results" / self.suite).resolve()

    def run(self, key: str) -> Run:
        return self._pick("runs", self.runs, key)

    def start(self, key: str) -> Weights:
        return self._pick("weights", self.weights, key)

    def image_set(self, key: str) -> Choice:
        """The entry ``<collection>/<set>`` of ``data``."""
        return self._pick("data", self.data, key)

    def prior(self, key: str) -> Prior:
        """One entry of ``priors``."""
        return self._pick("priors", self.priors, key)

    def located(self, path: str) -> Path:
        """A path that ``params.yaml`` says: relative to its folder; ``~`` is the user's home.

        Raises BenchError for a home that is not known.
        """
        try:
            return self.folder / Path(path).expanduser()
        except RuntimeError:
            raise BenchError(
                f"params.yaml: path: got {path!r}; no such user's home; write it out"
            ) from None

    @property
    def collections(self) -> dict[str, dict[str, Choice]]:
        """collection -> set -> its entry, in the file's order."""
        return _grouped(self.data)

    def collection(self, key: str) -> dict[str, Choice]:
        """set -> its entry, of one collection."""
        return self._pick("data", self.collections, key)

    @property
    def bundles(self) -> dict[str, dict[str, Prior]]:
        """What a run may name as its prior -> part -> entry; a prior by itself has one part, ""."""
        return _grouped(self.priors)

    def bundle(self, key: str) -> dict[str, Prior]:
        """part -> entry, of what a run names as its prior."""
        return self._pick("priors", self.bundles, key)

    def training_of(self, key: str) -> Training:
        """The suite's training budget with the run's own changes."""
        own = self.run(key).training
        return merged(self.training, own, f"params.yaml: runs.{key}.training")

    def evaluation_of(self, key: str) -> Evaluation:
        """The suite's way of judging with the run's own changes."""
        own = self.run(key).evaluation
        return merged(self.evaluation, own, f"params.yaml: runs.{key}.evaluation")

    def _pick(self, section: str, items: dict[str, Any], key: str) -> Any:
        if key not in items:
            said = nearest(key, items)
            raise BenchError(f"{self.suite} params.yaml: {section} has no '{key}'; {said}")
        return items[key]


def _grouped(items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for key, item in items.items():
        group, _, member = key.partition("/")
        groups.setdefault(group, {})[member] = item
    return groups


def configure(folder: str, choice: Choice, path: str = "") -> tuple[Any, Any]:
    """(the folder's module, its Config filled from ``choice``); ``path`` begins the error's line.

    Raises BenchError for an unknown file, an unknown key, a wrong type or a value out of range.
    """
    name, known = choice.get("name"), registry.names(folder)
    if "name" not in choice:
        raise BenchError(f"{path}.name: missing; {nearest('', known)}")
    if not isinstance(name, str) or name not in known:
        raise BenchError(f"{path}.name: got {names.shown(name)}; {nearest(str(name), known)}")
    module = registry.load(folder, name)
    settings = {key: value for key, value in choice.items() if key != "name"}
    _check_sizes(settings, path)
    checked = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    strict = dataclass(module.Config, config=checked, frozen=True)
    allowed = list(module.Config.__dataclass_fields__)
    try:
        return module, strict(**settings)
    except ValidationError as error:
        raise BenchError(_one_line(error, path, allowed)) from None
    except BenchError as error:  # of the Config itself: settings that do not go together
        raise BenchError(f"{path}: {error}") from None


def _check_sizes(value: Any, where: str) -> None:
    """No whole number is beyond what anything could be built of, at any depth of the settings."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_sizes(item, f"{where}.{key}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_sizes(item, f"{where}.{place}")
    elif isinstance(value, int) and abs(value) > MOST:
        raise BenchError(f"{where}: got {names.shown(value)}; expected at most {MOST}")


def located(module: Any, config: Any, folder: Path) -> Any:
    """The settings, with each path that a file's ``PATHS`` names as the user means it.

    A relative path is taken from ``folder``, where params.yaml stands; ``~`` is the home folder.
    Raises BenchError for the home of a user that is not there.
    """
    paths = {}
    for name in getattr(module, "PATHS", ()):
        given = getattr(config, name)
        if given is None:
            continue
        try:
            paths[name] = str(folder / Path(given).expanduser())
        except RuntimeError:
            raise BenchError(f"{name}: got {given!r}; there is no such user's home") from None
    return replace(config, **paths)


def load_params(path: str | Path = "params.yaml") -> Suite:
    """Read and check a suite; nothing is written, no file of a folder is imported.

    Raises BenchError: the key's path, what it got, what it may be, the nearest name.
    """
    from benchlib.checks import check_references
    from benchlib.plugins import activate

    path = Path(path)
    check_file(path)
    raw = names.read_yaml(path)
    if not isinstance(raw, dict):
        names.check_names(raw, path)  # says what it is instead
    suite = _validate(Suite, raw, str(path))
    suite = suite.model_copy(update={"folder": path.resolve().parent})
    activate(suite.plugins, suite.folder, f"{path}: plugins")
    check_references(suite, path)
    return suite


def _validate(model: type[M], raw: Any, where: str) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise BenchError(_one_line(error, where, _fields(model, error))) from None
    except OverflowError:  # a whole number of hundreds of digits where a float is expected
        raise BenchError(f"{where}: a number has too many digits; write a smaller one") from None


def merged(base: M, changes: dict[str, Any], where: str) -> M:
    """``base`` with some fields changed. Raises BenchError, beginning with ``where``."""
    return _validate(type(base), base.model_dump() | changes, where)


def _fields(model: type[BaseModel], error: ValidationError) -> list[str]:
    """The names allowed where the first error stands: follow its path through the models."""
    here: Any = model
    for step in error.errors()[0]["loc"][:-1]:
        if isinstance(here, type) and issubclass(here, BaseModel) and step in here.model_fields:
            here = here.model_fields[str(step)].annotation
        else:  # a key of dict[Name, X]
            here = getattr(here, "__args__", [None])[-1]
    if not hasattr(here, "model_fields"):
        return []
    return [field for field in here.model_fields if field != "folder"]


UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "unexpected_keyword")


def _one_line(error: ValidationError, where: str, allowed: list[str]) -> str:
    first = error.errors()[0]
    steps = [str(step) for step in first["loc"] if step != "[key]"]
    key = ".".join([where, *steps])
    if where.endswith((".yaml", ".yml")):
        key = f"{where}: {'.'.join(steps)}"
    got = names.shown(first["input"])
    if steps[:1] == ["mirror"]:
        got = "***"  # its address may hold a password
    if first["type"] in UNKNOWN:
        return f"{key}: unknown key; {nearest(steps[-1], allowed)}"
    if first["type"] in ("missing", "missing_argument"):
        return f"{key}: missing; {first['msg'].lower()}"
    if first["type"] == "string_pattern_mismatch":
        return f"{key}: got {got}; {_named(first)}"
    if first["loc"][-1:] == ("[key]",):
        return f"{key}: got the key {got}; expected text: put it in quotes"
    said = first["msg"][0].lower() + first["msg"][1:]
    return f"{key}: got {got}; {said}"


def _named(first: Any) -> str:
    """What a name must be, of the first error of a name."""
    if first["ctx"]["pattern"] == LINE:
        return "expected text in one line"
    if first["loc"][0] == "data":
        return f"data is named <collection>/<set>: {names.SAYS} in each"
    if first["loc"] == ("root",):
        return names.NAMED[names.ROOT]
    return names.NAMED[names.NAME]
