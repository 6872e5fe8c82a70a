"""For people: where a run gains and loses, why perhaps, what changed since a revision, and a run on one's own images.

Layer 4. ``notebooks/explore.ipynb`` and ``notebooks/own_images.ipynb`` call this, a function a step.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from dataclasses import replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

from benchlib.contracts import BenchError
from benchlib.files import new_folder, progress
from benchlib.imageio import SUFFIXES, image_files, read_image, write_png
from benchlib.params import configure, located
from benchlib.records import Pair, image_sets, parse_rows, read_pairs
from benchlib.report import instruction, pictures, tables
from benchlib.report.instruction import Told
from benchlib.report.pictures import INPUT, SHARP, Scene
from benchlib.report.plots import PLAIN

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

    from benchlib.params import Suite
    from benchlib.plan import RunPlan
    from benchlib.priors._read import PriorSet
    from benchlib.tasks.image import Tiles

PLACE = ["dataset", "image"]
OWN = "own"  # the set that one's own images are, inside a pair
FIRST = 4  # of the suite's test images, where no folder is given
WHOLE, TILE, OVERLAP = 1536, 1024, 64  # pixels; own images of a longer side are restored in tiles
PREVIEW = 900  # pixels, the longest side of a picture in a slider


# ---------------------------------------------------------------- gains and losses


def gains(suite: Suite, run: str | None = None) -> pd.DataFrame:
    """A line an image of ``run``'s test sets, the largest gain first.

    Columns: run, dataset, image, value (PSNR in dB, leading protocol, mean over seeds), reference, difference (value
    minus the reference's on the same image), masks, coverage (of the run's prior; NaN where its rows have none).
    run: None for the one whose gains the report shows. Raises BenchError if it has no reference with rows.
    """
    rows = tables.everything(suite)
    run = pictures.focus(suite, rows) if run is None else run
    to = tables.reference(suite, run) if run else None
    if run is None or to is None:
        raise BenchError(
            f"{suite.suite}: run '{run}' has no reference to gain against; name another run"
        )
    own = rows[rows["run"].isin([run, to])]
    if set(own["run"]) != {run, to}:
        raise BenchError(
            f"{suite.results}/rows: '{run}' and its reference '{to}' need rows (dvc repro)"
        )
    protocol = dict(tables.main_columns(suite, own[own["run"] == run]))["PSNR"]
    psnr = tables.paired(suite, own[(own["metric"] == "PSNR") & (own["protocol"] == protocol)])
    table = psnr[(psnr["run"] == run) & psnr["difference"].notna()]
    for name in ("masks", "coverage"):
        found = own[(own["run"] == run) & (own["metric"] == name)][[*PLACE, "value"]]
        table = table.merge(found.rename(columns={"value": name}), on=PLACE, how="left")
    table = table.sort_values(
        ["difference", *PLACE], ascending=[False, True, True], ignore_index=True
    )
    return table[["run", *PLACE, "value", "reference", "difference", "masks", "coverage"]]


def extremes(suite: Suite, run: str | None = None, count: int = 3) -> pd.DataFrame:
    """The lines of ``gains`` with the ``count`` largest gains and the ``count`` largest losses, each image once."""
    table = gains(suite, run)
    return pd.concat(
        [table.head(count), table.iloc[max(count, len(table) - count) :]], ignore_index=True
    )


@mpl.rc_context(PLAIN)
def crops(suite: Suite, chosen: pd.DataFrame, side: int = 128) -> Figure:
    """The images of ``chosen`` (lines of ``gains``), each cut where the run and its reference differ most.

    Columns: the whole input with that place marked, input, prior, reference, run, sharp. side: of the cut, in pixels.
    """
    rows = [_crop_row(suite, line, side) for line in chosen.itertuples()]
    wide = max(len(row) for row in rows)
    figure, axes = plt.subplots(
        len(rows), wide, figsize=(2.3 * wide, 2.5 * len(rows)), squeeze=False, layout="constrained"
    )
    for row, line in zip(rows, axes, strict=True):
        for axis in line:
            axis.axis("off")
        for (title, image), axis in zip(row, line, strict=False):
            axis.imshow(image)
            axis.set_title(title, fontsize=8)
    plt.close(figure)  # the notebook shows what is returned, once
    return figure


def _crop_row(suite: Suite, line: Any, side: int) -> list[tuple[str, np.ndarray]]:
    tested = read_pairs(image_sets(suite, suite.run(line.run).images.test))
    known = {(pair.dataset, pair.image): pair for pair in tested}
    restoring = tuple(run for run in (line.reference, line.run) if not tables.is_input(suite, run))
    pair = known[(line.dataset, line.image)]
    scene = Scene(suite, pair, "", float(line.difference), line.run, restoring)
    layers = scene.layers
    before = layers.get(line.reference, layers[INPUT])
    after = layers.get(line.run, layers[INPUT])
    cut = pictures.crop_window(before, after, side)
    row = [
        (f"{line.dataset}/{line.image}", _framed(layers[INPUT], cut)),
        (INPUT[1:], layers[INPUT][cut]),
    ]
    prior = scene.prior_crop(cut) if tables.has_prior(suite, line.run) else None
    if prior is not None:
        row.append((_prior_title(line), prior))
    if line.reference in layers:
        row.append((tables.run_label(suite, line.reference), before[cut]))
    gain = f"{tables.run_label(suite, line.run)}: {pictures.gain_text(line.difference, 3)}"
    return [*row, (gain, after[cut]), (SHARP[1:], layers[SHARP][cut])]


def _prior_title(line: Any) -> str:
    return "prior" if pd.isna(line.masks) else f"prior: {line.masks:.0f} masks"


def _framed(image: np.ndarray, cut: tuple[slice, slice]) -> np.ndarray:
    """The image with a yellow frame around a window."""
    framed, (rows, columns) = image.copy(), cut
    wide = max(1, max(image.shape[:2]) // 100)
    inside = image[cut].copy()
    framed[
        max(0, rows.start - wide) : rows.stop + wide,
        max(0, columns.start - wide) : columns.stop + wide,
    ] = (
        255,
        220,
        0,
    )
    framed[cut] = inside
    return framed


@mpl.rc_context(PLAIN)
def scatter(suite: Suite, run: str | None = None) -> Figure | None:
    """Gain against mask count and against coverage, a dot an image; None for a run whose rows hold no masks."""
    table = gains(suite, run)
    table = table[np.isfinite(table["difference"])]  # an exact image has no place on the axis
    shown = {
        name: word
        for name, word in {
            "masks": "masks in the image",
            "coverage": "part of the image that masks cover",
        }.items()
        if table[name].notna().any()
    }
    if not shown:
        return None
    figure, axes = plt.subplots(
        1,
        len(shown),
        figsize=(4.2 * len(shown), 3.4),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (name, word) in zip(axes[0], shown.items(), strict=True):
        axis.axhline(0, color="grey", linewidth=1)
        for i, (dataset, part) in enumerate(table.groupby("dataset", sort=False)):
            axis.scatter(
                part[name], part["difference"], s=24, marker="os^Dv<>"[i % 7], label=dataset
            )
        axis.set_xlabel(word)
    axes[0, 0].set_ylabel(
        f"PSNR change, dB\n({table['run'].iloc[0]} minus {table['reference'].iloc[0]})"
    )
    axes[0, -1].legend(frameon=False, fontsize=8)
    plt.close(figure)
    return figure


@mpl.rc_context(PLAIN)
def against_input(suite: Suite, run: str | None = None) -> Figure:
    """Gain against how near the degraded input is to its reference, a dot an image: does a prior help where more is lost?

    The title has Spearman's rank correlation of the two over all images. Raises BenchError where no run of the same
    test images is the input itself (method identity), or ``gains`` does.
    """
    table = gains(suite, run)
    table = table[np.isfinite(table["difference"])]
    name = table["run"].iloc[0]
    rows = tables.everything(suite)
    protocol = dict(tables.main_columns(suite, rows[rows["run"] == name]))["PSNR"]
    test = suite.run(name).images.test
    inputs = [one for one in tables.collections(suite)[test] if tables.is_input(suite, one)]
    own = rows[rows["run"].isin(inputs[:1]) & (rows["metric"] == "PSNR")]
    own = own[own["protocol"] == protocol][[*PLACE, "value"]].rename(columns={"value": "input"})
    table = table.merge(own, on=PLACE)
    if table.empty:
        raise BenchError(
            f"{suite.suite}: no run of the images of '{name}' is the degraded input; add one of method identity"
        )
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    axis.axhline(0, color="grey", linewidth=1)
    for i, (dataset, part) in enumerate(table.groupby("dataset", sort=False)):
        axis.scatter(
            part["input"], part["difference"], s=24, marker="os^Dv<>"[i % 7], label=dataset
        )
    rank = table["input"].rank().corr(table["difference"].rank())
    axis.set_title(f"{len(table)} images, rank correlation {rank:.2f}", fontsize=9)
    axis.set_xlabel("PSNR of the degraded input, dB: the more is lost, the further left")
    axis.set_ylabel(f"PSNR change, dB\n({name} minus {table['reference'].iloc[0]})")
    axis.legend(frameon=False, fontsize=8)
    plt.close(figure)
    return figure


# ---------------------------------------------------------------- revisions


def changes(suite: Suite, old: str, new: str | None = None) -> pd.DataFrame:
    """What changed from revision ``old`` to ``new`` (None: the files as they lie here), paired by image.

    Columns: run, dataset, metric, protocol, old, new (means over the images that both have), change, images. Runs, data
    sets and protocols that only one of the two has are left out. A revision is git's or the name of a DVC experiment.
    Raises BenchError if a revision is not there or holds no rows of the suite.
    """
    before = _rows_at(suite, old)
    after = tables.everything(suite) if new is None else _rows_at(suite, new)
    keys = [*tables.GROUP, "image"]
    sides = []
    for rows, name in ((before, "old"), (after, "new")):
        values = tables.per_image(tables.scored(suite, rows))[[*keys, "value"]]
        sides.append(values.rename(columns={"value": name}))
    both = sides[0].merge(sides[1], on=keys)
    both = both[np.isfinite(both[["old", "new"]]).all(axis=1)]  # a mean of exact images is none
    table = both.groupby(tables.GROUP, sort=False).agg(
        old=("old", "mean"), new=("new", "mean"), images=("old", "size")
    )
    table.insert(2, "change", table["new"] - table["old"])
    return table.reset_index()


def show_changes(suite: Suite, old: str, new: str | None = None) -> Any:
    """``changes`` as a table, those that differ first; a sentence where there is nothing to compare."""
    from IPython.display import HTML

    try:
        table = changes(suite, old, new)
    except BenchError as error:
        return HTML(f"<p>Nothing to compare. {escape(str(error))}</p>")
    where = f"{old} and {new or 'the files here'}"
    moved = table[table["change"] != 0]
    if moved.empty:
        return HTML(f"<p>{escape(where)}: the same figures, all {len(table)} of them.</p>")
    order = moved["change"].abs().sort_values(ascending=False, kind="stable").index
    shown = (
        moved.loc[order]
        .style.format(escape="html")
        .format(precision=4, subset=["old", "new", "change"])
    )
    return shown.hide(axis=0).set_caption(
        escape(f"{where}: {len(moved)} of {len(table)} figures differ")
    )


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no answer"]
        raise BenchError(f"git {words[0]} in {folder}: {said[0]}")
    return done.stdout


def _rows_at(suite: Suite, revision: str) -> pd.DataFrame:
    """The suite's rows of the prior itself as a revision has them, in today's columns.

    Earlier ones have no ``swap`` and ``version``, and call the problem ``task``.
    """
    top = Path(_git(suite.folder, "rev-parse", "--show-toplevel").strip()).resolve()
    commit = _commit(top, revision)
    folder = (suite.results / "rows").relative_to(top).as_posix()
    names = _git(top, "ls-tree", "--name-only", commit, f"{folder}/").split("\n")
    files = [name for name in names if name.endswith(".csv")]
    if not files:
        raise BenchError(
            f"{revision}: no rows of suite '{suite.suite}' in that revision ({folder} is not in it)"
        )
    texts = [_git(top, "show", f"{commit}:{name}") for name in files]
    frames = []
    for name, text in zip(files, texts, strict=True):
        where, again = f"{name} of revision {revision}", "name another revision"
        held = _held_at(top, commit, name.replace("/rows/", "/records/").replace(".csv", ".json"))
        frames.append(parse_rows(text, where, again, [*tables.GROUP, "value"], held))
    rows = pd.concat(frames).rename(columns={"task": "problem"})
    for column in ("swap", "version"):
        if column not in rows:
            rows[column] = ""
    return rows[rows["swap"] == ""]


def _held_at(top: Path, commit: str, record: str) -> dict[str, str]:
    """What a run's record of a commit holds for all its rows; earlier rows have it themselves."""
    try:
        held = json.loads(_git(top, "show", f"{commit}:{record}")).get("row", {})
    except (BenchError, ValueError):
        return {}
    return held


def _commit(top: Path, revision: str) -> str:
    try:
        return _git(
            top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        ).strip()
    except BenchError:
        experiments = _git(
            top, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps"
        ).splitlines()
        found = [line.split()[0] for line in experiments if line.endswith(f"/{revision}")]
        if found:
            return found[0]
    raise BenchError(
        f"{revision}: no such revision of {top.name}; see git log --oneline or dvc exp show"
    )


# ---------------------------------------------------------------- one's own images


def restore_folder(
    suite: Suite,
    key: str,
    folder: str | Path | None = None,
    out: Path | None = None,
    *,
    say: str | None = None,
    part: str = "",
) -> pd.DataFrame:
    """Restore the images of a folder with a trained run (its first seed); write ``out/<image>.png``; a line an image.

    folder: any sizes and types that ``imageio`` reads; None: the first images of the run's test sets. out: None for
    ``work/<suite>/own/<folder's name>/<run>`` (``<run>-said`` with an instruction); it is replaced whole. The prior of the run's test is computed with its
    own settings (masks that were made before are found again). Images longer than WHOLE pixels are cut into tiles, if
    the run does not say how.
    Columns: image, source, height, width, masks (NaN without a prior), restored (file), enlarged (times), seconds.
    An image that cannot be read or has no prior is named in a line and left out.
    Raises BenchError for a folder that is absent or holds no readable image, a run that is not trained, or an
    instruction that cannot reach the run.
    """
    from benchlib.plan import open_run
    from benchlib.restore import check_trained

    plan = open_run(suite, key)
    if plan.method.INFO.truth:
        raise BenchError(
            f"runs.{key}: method {plan.entry.method['name']} is told each image's reference, which own images do not "
            "have; take another run"
        )
    words = None
    if say is not None:
        part = instruction.part_of(suite, plan, part)  # before the encoder is fetched
        check_trained(plan, plan.entry.seeds[0])
        words = instruction.words_of(suite, plan, say, part)
        print(instruction.sentence(part, words))
    images = _inputs(plan, folder)
    told = None if words is None else Told(part, dict.fromkeys(images, words))
    name = Path(folder).expanduser().resolve().name if folder else "test-images"
    own = key if told is None else f"{key}-said"
    out = Path(out).expanduser() if out else suite.work / "own" / name / own
    lines = []
    with new_folder(out) as made:
        for name, seconds in restore_images(suite, plan, images, made, told).items():
            height, width = read_image(images[name]).shape[:2]
            scale = read_image(made / f"{name}.png").shape[0] // height
            masks = _mask_count(plan, made, name, (height, width))
            lines.append(
                (name, images[name], height, width, masks, out / f"{name}.png", scale, seconds)
            )
    columns = ["image", "source", "height", "width", "masks", "restored", "enlarged", "seconds"]
    return pd.DataFrame(lines, columns=columns)


def _mask_count(plan: RunPlan, out: Path, name: str, shape: tuple[int, int]) -> float:
    """How many masks the run read of one image; NaN where its prior is none."""
    prior = _own_prior(plan, out)
    return prior.facts(prior.load(OWN, name, shape)).get("masks", np.nan)


def _own_prior(plan: RunPlan, out: Path) -> PriorSet:
    """The run's test prior, of the images whose priors lie under ``out/priors``."""
    parts = []
    for part in plan.test_prior.parts:
        parts.append(replace(part, folder=out / "priors" / part.name))
    return replace(plan.test_prior, parts=tuple(parts))


def restore_images(
    suite: Suite, plan: RunPlan, images: dict[str, Path], out: Path, told: Told | None = None
) -> dict[str, float]:
    """Write ``out/<image>.png``, and the priors under ``out/priors``; image -> seconds, of those that were restored.

    told: instructions in the place of one part of the prior. An image that a prior refuses is named and left out.
    """
    from benchlib.restore import KeptFrames, device_at_hand, load_model, models_by_set, restore

    device, seed = device_at_hand(), plan.entry.seeds[0]
    model = models_by_set(plan, lambda: load_model(plan, seed).to(device))(OWN)
    prior = _own_prior(plan, out)
    if plan.needs:
        images = _with_priors(suite, plan, images, prior, out, told)
    took, kept = {}, KeptFrames()
    # images of one folder are a clip's frames, to a network that reads clips
    pairs = [Pair(OWN, name, file, file, str(file.parent)) for name, file in images.items()]
    for pair in progress(plan.joined(pairs), f"restore, {plan.key}", total=len(pairs)):
        begun, name = time.perf_counter(), pair.image
        item = plan.task.read(pair)
        tiles = _tiles(plan, max(plan.task.size(item)))
        restored = restore(plan, model, pair, item, prior, device, tiles, kept)
        write_png(out / f"{name}.png", restored)
        took[name] = round(time.perf_counter() - begun, 2)
    return took


def _inputs(plan: RunPlan, folder: str | Path | None) -> dict[str, Path]:
    """name -> file of the images that can be read; names are unique and safe as file names."""
    if folder is None:
        first: dict[str, Pair] = {}
        for pair in plan.test_pairs():
            first.setdefault(pair.dataset, pair)
        some = list(first.values())[:FIRST]
        return {f"{pair.dataset}-{pair.image}": pair.lq for pair in some}
    images: dict[str, Path] = {}
    taken: set[str] = set()
    for file in image_files(Path(folder).expanduser()):
        try:
            read_image(file)
        except BenchError as error:
            print(f"left out: {error}")
            continue
        name = re.sub(r"[^\w.-]", "_", file.stem)
        while name.lower() in taken:  # a.png beside a.jpg
            name += file.suffix.replace(".", "_")
        taken.add(name.lower())
        images[name] = file
    if not images:
        raise BenchError(
            f"{folder}: no readable image in it; expected files that end with {', '.join(SUFFIXES)}"
        )
    return images


def _tiles(plan: RunPlan, longest: int) -> Tiles:
    """The run's own tiles; those of large images where it says nothing of any."""
    if plan.how.tile or longest <= WHOLE:
        return plan.tiles
    return replace(plan.tiles, side=TILE, overlap=OVERLAP)


def _with_priors(
    suite: Suite,
    plan: RunPlan,
    images: dict[str, Path],
    prior: PriorSet,
    out: Path,
    told: Told | None,
) -> dict[str, Path]:
    """Compute the run's test prior of the images in ``prior``'s folders; return the images that have one.

    told: what stands in the place of one part. Where the suite takes it from images that another run has restored, that run restores these first.
    """
    from benchlib.priors._loop import Provider, compute

    bundle = suite.bundle(plan.entry.prior.test)
    seen = _seen(suite, next(iter(bundle.values())).images, images, out)
    refused: dict[str, str] = {}
    for part in prior.read():
        if told is not None and part.name == told.part:
            told.write(part, OWN, seen)
            continue
        choice = bundle[part.name].prior
        module, config = configure("priors", choice)
        config = located(module, config, suite.folder)
        provider = Provider(choice["name"], config, kept=plan.kept_priors)
        for record in compute(provider, seen, part.folder / OWN, plan.key):
            if record["refused"]:
                refused[record["image"]] = record["refused"]
    for name, why in refused.items():
        print(f"left out: {images[name]}: {why}")
    kept = {name: images[name] for name in seen if name not in refused}
    if not kept:
        raise BenchError(
            f"{plan.key}: its prior could be computed of none of the {len(images)} images; see "
            f"the lines above{_or_say(suite, plan, told)}"
        )
    return kept


def _or_say(suite: Suite, plan: RunPlan, told: Told | None) -> str:
    """The way out where a run's own words cannot be had of an image, such as those told by a set's name."""
    if told is not None or not instruction.parts_of_words(suite, plan):
        return ""
    return ", or say yourself what is wrong with them (--say)"


def _seen(suite: Suite, source: str, images: dict[str, Path], out: Path) -> dict[str, Path]:
    """The images that the prior is computed from: ``images``, or what another run makes of them."""
    from benchlib.plan import open_run

    kind, _, key = source.partition("/")
    if kind != "restored":
        return images
    first = out / "first"
    names = restore_images(suite, open_run(suite, key), images, first)
    return {name: first / f"{name}.png" for name in names}


def said(
    suite: Suite, key: str, folder: str | Path | None, say: str, then: str = "", part: str = ""
) -> HTML:
    """Sliders of the images restored by an instruction (``restore_folder``), and of those once more by a second.

    A sentence where nothing is said, or where the run reads no words.
    """
    from IPython.display import HTML

    from benchlib.plan import open_run

    if not say:
        return HTML("<p>No instruction: say is empty.</p>")
    try:
        part = instruction.part_of(suite, open_run(suite, key), part)
    except BenchError as error:
        return HTML(f"<p>No instruction: {escape(str(error))}.</p>")
    first = restore_folder(suite, key, folder, say=say, part=part)
    if not then:
        return sliders(first)
    came = Path(first["restored"].iloc[0]).parent
    out = came.with_name(f"{came.name}-then")
    second = restore_folder(suite, key, came, out, say=then, part=part)
    return HTML(sliders(first).data + sliders(second).data)


def sliders(restored: pd.DataFrame) -> HTML:
    """Before and after, a slider an image: the lines of ``restore_folder``. Plain HTML, no widget, no network.

    What is shown is at most PREVIEW pixels wide and JPEG; the files are whole and lossless.
    """
    from IPython.display import HTML

    return HTML(STYLE + "\n".join(_slider(line) for line in restored.itertuples()))


STYLE = """<style>
.own {max-width: 900px; margin: 0 0 1.5em} .own figcaption {margin: .3em 0}
.own .pair {position: relative; --cut: 50%; line-height: 0} .own img {display: block; width: 100%; max-width: 100%}
.own .after {position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut))}
.own .pair::after {content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 2px #000}
.own input {width: 100%; margin: .4em 0 0}
</style>"""


NO_MATH = "mathjax_ignore tex2jax_ignore"  # a notebook else typesets what stands between two "$"
KEYS = "data-lm-suppress-shortcuts"  # else JupyterLab takes the arrow keys for itself


def _slider(line: Any) -> str:
    after = read_image(line.restored)
    before = pictures.enlarged(read_image(line.source), after.shape[:2])
    name = escape(str(line.image), quote=True)
    facts = [f"{line.width} x {line.height} pixels"]
    facts += [f"restored {line.enlarged} times larger"] if line.enlarged > 1 else []
    facts += (
        [f"{line.masks:.0f} mask{'' if line.masks == 1 else 's'}"]
        if not pd.isna(line.masks)
        else []
    )
    move = "this.previousElementSibling.style.setProperty('--cut', this.value + '%')"
    return (
        f'<figure class="own {NO_MATH}"><figcaption>{name}: left before, right after ({", ".join(facts)})</figcaption>'
        f'<div class="pair"><img alt="{name}, before" src="{_jpeg(before)}">'
        f'<img class="after" alt="{name}, after" src="{_jpeg(after)}"></div>'
        f'<input {KEYS} type="range" min="0" max="100" value="50" aria-label="{name}: where after begins" '
        f'oninput="{move}">'
        "</figure>"
    )


def _jpeg(image: np.ndarray) -> str:
    picture, out = Image.fromarray(image), BytesIO()
    picture.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
    picture.save(out, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
