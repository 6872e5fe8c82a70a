"""For people: where a run gains and loses, why perhaps, what changed since a revision, and a run on one's own images.

Floor 4. ``notebooks/explore.ipynb`` and ``notebooks/own_images.ipynb`` call this, a function a step.
"""

from __future__ import annotations

import base64
import re
import subprocess
import time
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

from benchlib.contracts import BenchError
from benchlib.files import new_folder, progress
from benchlib.imageio import SUFFIXES, image_files, read_image, write_png
from benchlib.params import configure
from benchlib.priors._store import load_masks
from benchlib.records import TEXT, Pair, read_pairs
from benchlib.report import pictures, tables
from benchlib.report.pictures import INPUT, SHARP, Scene

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure
    from torch import nn

    from benchlib.params import Evaluation, Suite

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
        raise BenchError(f"{suite.suite}: run '{run}' has no reference to gain against; name another run")
    own = rows[rows["run"].isin([run, to])]
    if set(own["run"]) != {run, to}:
        raise BenchError(f"{suite.results}/rows: '{run}' and its reference '{to}' need rows (dvc repro)")
    protocol = dict(tables.main_columns(own[own["run"] == run]))["PSNR"]
    psnr = tables.paired(suite, own[(own["metric"] == "PSNR") & (own["protocol"] == protocol)])
    table = psnr[(psnr["run"] == run) & psnr["difference"].notna()]
    for name in ("masks", "coverage"):
        found = own[(own["run"] == run) & (own["metric"] == name)][[*PLACE, "value"]]
        table = table.merge(found.rename(columns={"value": name}), on=PLACE, how="left")
    table = table.sort_values(["difference", *PLACE], ascending=[False, True, True], ignore_index=True)
    return table[["run", *PLACE, "value", "reference", "difference", "masks", "coverage"]]


def extremes(suite: Suite, run: str | None = None, count: int = 3) -> pd.DataFrame:
    """The lines of ``gains`` with the ``count`` largest gains and the ``count`` largest losses, each image once."""
    table = gains(suite, run)
    return pd.concat([table.head(count), table.iloc[max(count, len(table) - count) :]], ignore_index=True)


def crops(suite: Suite, chosen: pd.DataFrame, side: int = 128) -> Figure:
    """The images of ``chosen`` (lines of ``gains``), each cut where the run and its reference differ most.

    Columns: the whole input with that place marked, input, masks, reference, run, sharp. side: of the cut, in pixels.
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
    known = {(pair.dataset, pair.image): pair for pair in read_pairs(suite, suite.run(line.run).test)}
    restoring = tuple(run for run in (line.reference, line.run) if not tables.is_input(suite, run))
    pair = known[(line.dataset, line.image)]
    scene = Scene(suite, pair, "", float(line.difference), line.run, restoring)
    layers = scene.layers
    before = layers.get(line.reference, layers[INPUT])
    after = layers.get(line.run, layers[INPUT])
    cut = pictures.crop_window(before, after, side)
    row = [(f"{line.dataset}/{line.image}", _framed(layers[INPUT], cut)), (INPUT[1:], layers[INPUT][cut])]
    if tables.has_prior(suite, line.run) and scene.labels is not None:
        row.append((f"masks ({int(scene.labels.max())})", pictures.with_masks(layers[INPUT], scene.labels)[cut]))
    if line.reference in layers:
        row.append((tables.label(suite, line.reference), before[cut]))
    gain = f"{tables.label(suite, line.run)}: {line.difference:+.3f} dB"
    return [*row, (gain, after[cut]), (SHARP[1:], layers[SHARP][cut])]


def _framed(image: np.ndarray, cut: tuple[slice, slice]) -> np.ndarray:
    """The image with a yellow frame around a window."""
    framed, (rows, columns) = image.copy(), cut
    wide = max(1, max(image.shape[:2]) // 100)
    inside = image[cut].copy()
    framed[max(0, rows.start - wide) : rows.stop + wide, max(0, columns.start - wide) : columns.stop + wide] = (
        255,
        220,
        0,
    )
    framed[cut] = inside
    return framed


def scatter(suite: Suite, run: str | None = None) -> Figure | None:
    """Gain against mask count and against coverage, a dot an image; None for a run whose rows hold no masks."""
    table = gains(suite, run)
    shown = {
        name: word
        for name, word in {"masks": "masks in the image", "coverage": "part of the image that masks cover"}.items()
        if table[name].notna().any()
    }
    if not shown:
        return None
    figure, axes = plt.subplots(
        1, len(shown), figsize=(4.2 * len(shown), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (name, word) in zip(axes[0], shown.items(), strict=True):
        axis.axhline(0, color="grey", linewidth=1)
        for i, (dataset, part) in enumerate(table.groupby("dataset", sort=False)):
            axis.scatter(part[name], part["difference"], s=24, marker="os^Dv<>"[i % 7], label=dataset)
        axis.set_xlabel(word)
    axes[0, 0].set_ylabel(f"PSNR change, dB\n({table['run'].iloc[0]} minus {table['reference'].iloc[0]})")
    axes[0, -1].legend(frameon=False, fontsize=8)
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
    sides = [
        tables.per_image(rows[rows["metric"].isin(tables.METRICS)])[[*keys, "value"]].rename(columns={"value": name})
        for rows, name in ((before, "old"), (after, "new"))
    ]
    both = sides[0].merge(sides[1], on=keys)
    table = both.groupby(tables.GROUP, sort=False).agg(old=("old", "mean"), new=("new", "mean"), images=("old", "size"))
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
    shown = moved.loc[order].style.format(escape="html").format(precision=4, subset=["old", "new", "change"])
    return shown.hide(axis=0).set_caption(escape(f"{where}: {len(moved)} of {len(table)} figures differ"))


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no answer"]
        raise BenchError(f"git {words[0]} in {folder}: {said[0]}")
    return done.stdout


def _rows_at(suite: Suite, revision: str) -> pd.DataFrame:
    """All rows of the suite as a revision has them."""
    top = Path(_git(suite.folder, "rev-parse", "--show-toplevel").strip()).resolve()
    commit = _commit(top, revision)
    folder = (suite.results / "rows").relative_to(top).as_posix()
    names = _git(top, "ls-tree", "--name-only", commit, f"{folder}/").split("\n")
    files = [name for name in names if name.endswith(".csv")]
    if not files:
        raise BenchError(f"{revision}: no rows of suite '{suite.suite}' in that revision ({folder} is not in it)")
    texts = [_git(top, "show", f"{commit}:{name}") for name in files]
    return pd.concat([pd.read_csv(StringIO(text), keep_default_na=False, dtype=TEXT) for text in texts])


def _commit(top: Path, revision: str) -> str:
    try:
        return _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    except BenchError:
        experiments = _git(top, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
        found = [line.split()[0] for line in experiments if line.endswith(f"/{revision}")]
        if found:
            return found[0]
    raise BenchError(f"{revision}: no such revision of {top.name}; see git log --oneline or dvc exp show")


# ---------------------------------------------------------------- one's own images


def restore_folder(suite: Suite, key: str, folder: str | Path | None = None, out: Path | None = None) -> pd.DataFrame:
    """Restore the images of a folder with a trained run (its first seed); write ``out/<image>.png``; a line an image.

    folder: any sizes and types that ``imageio`` reads; None: the first images of the run's test sets. out: None for
    ``work/<suite>/own/<folder's name>/<run>``; it is replaced whole. The prior of the run's test is computed with its
    own settings (masks that were made before are found again). Images longer than WHOLE pixels are cut into tiles, if
    the run does not say how.
    Columns: image, source, height, width, masks (NaN without a prior), restored (file), enlarged (times), seconds.
    An image that cannot be read or has no prior is named in a line and left out.
    Raises BenchError for a folder that is absent or holds no readable image, or a run that is not trained.
    """
    images = _inputs(suite, key, folder)
    out = out or suite.work / "own" / (Path(folder).resolve().name if folder else "test-images") / key
    lines = []
    with new_folder(out) as made:
        for name, seconds in _restore(suite, key, images, made).items():
            height, width = read_image(images[name]).shape[:2]
            masks = made / "priors" / OWN / f"{name}.npz"
            count = len(load_masks(masks)) if masks.exists() else np.nan
            scale = read_image(made / f"{name}.png").shape[0] // height
            lines.append((name, images[name], height, width, count, out / f"{name}.png", scale, seconds))
    columns = ["image", "source", "height", "width", "masks", "restored", "enlarged", "seconds"]
    return pd.DataFrame(lines, columns=columns)


def _restore(suite: Suite, key: str, images: dict[str, Path], out: Path) -> dict[str, float]:
    """Write ``out/<image>.png``, and the priors under ``out/priors``; image -> seconds, of those that were restored."""
    from benchlib.restore import Priors, device_at_hand, needs_of, restore

    device, how = device_at_hand(), suite.evaluation_of(key)
    model = _network(suite, key).to(device)
    priors, needs = Priors(suite, suite.run(key).prior.test), needs_of(suite, key)
    priors.folder = out / "priors"
    if needs:
        images = _with_priors(suite, key, images, out)
    took = {}
    for name, file in progress(images.items(), f"restore, {key}", total=len(images)):
        begun = time.perf_counter()
        tiling = _tiling(how, max(read_image(file).shape[:2]))
        write_png(out / f"{name}.png", restore(model, Pair(OWN, name, file, file), priors, needs, device, tiling))
        took[name] = round(time.perf_counter() - begun, 2)
    return took


def _inputs(suite: Suite, key: str, folder: str | Path | None) -> dict[str, Path]:
    """name -> file of the images that can be read; names are unique and safe as file names."""
    if folder is None:
        pairs = read_pairs(suite, suite.run(key).test)
        first = list({pair.dataset: pair for pair in reversed(pairs)}.values())[::-1][:FIRST]
        return {f"{pair.dataset}-{pair.image}": pair.lq for pair in first}
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
        raise BenchError(f"{folder}: no readable image in it; expected files that end with {', '.join(SUFFIXES)}")
    return images


def _network(suite: Suite, key: str) -> nn.Module:
    """The trained network as evaluation uses it on a set that it does not name."""
    from benchlib.evaluate import uses_tlc
    from benchlib.restore import load_model

    run, how = suite.run(key), suite.evaluation_of(key)
    model = load_model(suite, key, run.seeds[0])
    method, _ = configure("methods", run.method)
    if method.INFO.trains and uses_tlc(how, OWN):
        return configure("backbones", run.backbone)[0].tlc(model, how.tlc_crop)
    return model


def _tiling(how: Evaluation, longest: int) -> Evaluation:
    if how.tile or longest <= WHOLE:
        return how
    return how.model_copy(update={"tile": TILE, "overlap": OVERLAP})


def _with_priors(suite: Suite, key: str, images: dict[str, Path], out: Path) -> dict[str, Path]:
    """Compute the run's test prior of the images under ``out/priors``; return the images that have one.

    Where the suite takes it from images that another run has restored, that run restores these first.
    """
    prior = suite.prior(suite.run(key).prior.test)
    module, config = configure("priors", prior.prior)
    kind, _, source = prior.images.partition("/")
    seen = images
    if kind == "restored":
        seen = {name: out / "first" / f"{name}.png" for name in _restore(suite, source, images, out / "first")}
    made = module.compute(seen, out / "priors" / OWN, config, resume=suite.masks)
    refused = {record["image"]: record["refused"] for record in made if record.get("refused")}
    for name, why in refused.items():
        print(f"left out: {images[name]}: {why}")
    kept = {name: images[name] for name in seen if name not in refused}
    if not kept:
        raise BenchError(f"{key}: its prior could be computed of none of the {len(images)} images; see the lines above")
    return kept


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


KEYS = "data-lm-suppress-shortcuts"  # else JupyterLab takes the arrow keys for itself


def _slider(line: Any) -> str:
    after = read_image(line.restored)
    before = pictures.enlarged(read_image(line.source), after.shape[:2])
    name = escape(str(line.image), quote=True)
    facts = [f"{line.width} x {line.height} pixels"]
    facts += [f"restored {line.enlarged} times larger"] if line.enlarged > 1 else []
    facts += [f"{line.masks:.0f} mask{'' if line.masks == 1 else 's'}"] if not pd.isna(line.masks) else []
    move = "this.previousElementSibling.style.setProperty('--cut', this.value + '%')"
    return (
        f'<figure class="own"><figcaption>{name}: left before, right after ({", ".join(facts)})</figcaption>'
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
