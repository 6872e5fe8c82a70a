"""The report's answer in words: which prior helped, on what, by how much, and whether that is more than chance.

Floor 4. Sentences and figures as plain data; ``page`` lays them out and escapes them. Every word follows from rows,
their intervals and the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchlib.records import read_json, read_table
from benchlib.report import pictures, tables
from benchlib.report.tables import AVERAGE

if TYPE_CHECKING:
    from benchlib.params import Suite

PRIORS = {"sam": "SAM's masks"}  # a prior's name in plain words
CHANCE = {
    "better": "better, more than chance",
    "worse": "worse, more than chance",
    "open": "not more than chance",
    "same": "no change",
    "single": "no interval: one image",
}


def label(suite: Suite, run: str | None) -> str:
    return tables.label(suite, run) if run else ""


def minus(text: str) -> str:
    """A number's hyphen as a true minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")


def count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def degraded(suite: Suite) -> str:
    """What the methods are given, in words: "blurred input"; "degraded input" where the task gives none."""
    words = {"super-resolution": "small input, enlarged", "denoising": "noisy input", "deblurring": "blurred input"}
    tasks = {suite.run(run).task for run in tables.compared(suite)}
    return words.get(tasks.pop(), "degraded input") if len(tasks) == 1 else "degraded input"


def answering(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The measured runs that answer the question: with a real prior and a measured reference, in no control's place.

    Where no run has a prior, the run that chooses the pictures, if it can be compared. The first collection's come
    first.
    """
    seen, means = set(rows["run"]), tables.controlling(suite)
    runs = [run for name in tables.measured_collections(suite, rows) for run in tables.compared(suite, name)]
    runs = [run for run in runs if run in seen and tables.reference(suite, run) in seen]
    own = [run for run in runs if tables.has_prior(suite, run) and run not in means]
    return own or [run for run in [pictures.focus(suite, rows)] if run in runs]


def headline(suite: Suite, rows: pd.DataFrame, steps: pd.DataFrame) -> dict[str, Any]:
    """The answer first: "lead", a few words; "verdict", sentences on one method; "cautions", what stands behind them.

    ``steps`` is ``controls.every``. The words weigh 95 % intervals: a method's own change where no control splits it,
    else the share of the prior itself; over all images (the Average) where there is one, else test set by test set.
    """
    runs = answering(suite, rows)
    if not runs:
        nothing = "Nothing to compare yet: a run without a prior and a run with one are needed."
        return {"lead": "", "verdict": nothing, "cautions": [_counts(suite, rows)]}
    found = {run: (_changes(suite, rows, run), _own_share(suite, steps, run)) for run in runs}
    evidence = [
        meaning(line) for whole, own in found.values() for line in _summary(own if len(own) else whole).itertuples()
    ]
    leading = next(run for run in reversed(runs) if suite.run(run).test == suite.run(runs[0]).test)
    cautions = [_counts(suite, rows), _multiplicity([whole for whole, _ in found.values()])]
    cautions += [_uncontrolled(suite, [run for run, (_, own) in found.items() if not len(own)])]
    cautions += [_under_input(suite, rows, runs)]
    verdict = _verdict(suite, leading, *found[leading])
    others = [_other(suite, run, *changes) for run, changes in found.items() if run != leading]
    verdict += f" Others, likewise: {' '.join(others)}" if others else ""
    return {"lead": _lead(evidence), "verdict": verdict, "cautions": [text for text in cautions if text]}


def _lead(evidence: list[str]) -> str:
    if not {"better", "worse"} & set(evidence):
        return "Too few images to say." if set(evidence) <= {"single"} else "Not by more than chance."
    better, worse, number = evidence.count("better"), evidence.count("worse"), len(evidence)
    if better == number:
        return "Yes, wherever it was tested."
    return f"Better in {better or 'none'} of {count(number, 'comparison')}, worse in {worse or 'none'}."


def _verdict(suite: Suite, run: str, whole: pd.DataFrame, own: pd.DataFrame) -> str:
    name, to = f"“{label(suite, run)}”", f"“{label(suite, tables.reference(suite, run))}”"
    name += f", which reads {_prior_words(suite, run)}," if tables.has_prior(suite, run) else ""
    first = next(_summary(whole).itertuples())
    if first.dataset == AVERAGE or len(whole) == 1:
        where = f"all {first.paired} test images" if first.dataset == AVERAGE else f"{first.dataset}"
        said = f"{name} changes mean PSNR by {interval(first)} against {to} on {where}: {CHANCE[meaning(first)]}."
    else:
        said = f"{name} against {to}, in mean PSNR: {_places(whole)}."
    if len(own):
        part = next(_summary(own).itertuples())
        where = "" if part.dataset == first.dataset else f" (on {part.dataset})"
        said += (
            f" Of this, what {_prior_words(suite, run)} add {_over(suite, run)} is {interval(part)}{where}: "
            f"{CHANCE[meaning(part)]}."
        )
    return said


def _over(suite: Suite, run: str) -> str:
    """What the last step of the run's control is taken against."""
    split = any(control.segmentation for control in suite.controls.values() if control.prior == run)
    return "over any other segmentation" if split else "over the same with the prior zeroed"


def _other(suite: Suite, run: str, whole: pd.DataFrame, own: pd.DataFrame) -> str:
    """A method that does not lead, in a sentence: its change and, where a control tells it, the prior's own share."""
    share = f"; of this, what {_prior_words(suite, run)} add {_over(suite, run)}: {_brief(own)}" if len(own) else ""
    return f"“{label(suite, run)}”: {_brief(whole)}{share}."


def _brief(whole: pd.DataFrame) -> str:
    if AVERAGE not in set(whole["dataset"]) and len(whole) > 1:
        return _places(whole)
    first = next(_summary(whole).itertuples())
    return f"{interval(first)}, {CHANCE[meaning(first)]}"


def _places(whole: pd.DataFrame) -> str:
    """On which test sets a run is better and worse than its reference by more than chance, a few with their numbers."""
    said = []
    for word, column in (("higher", "gain"), ("lower", "loss")):
        found = whole[whole[column]]
        few = ", ".join(f"{line.dataset} ({interval(line)})" for line in found.itertuples())
        if len(found):
            said.append(
                f"{word} by more than chance on {few if len(found) <= 2 else f'{len(found)} of {len(whole)} test sets'}"
            )
    single = whole["low"].isna()
    left = whole[~(whole["gain"] | whole["loss"] | single)]
    if len(left):
        ends = (f"{end:+.{tables.DIGITS['PSNR']}f}" for end in (left["difference"].min(), left["difference"].max()))
        low, high = map(minus, ends)
        on = (
            "every test set"
            if len(left) == len(whole)
            else f"{'the other ' * bool(said)}{count(len(left), 'test set')}"
        )
        said.append(f"not more than chance on {on} ({low}{'' if low == high else f' to {high}'} dB)")
    if single.any():
        said.append(f"no interval on {', '.join(whole['dataset'][single])} (one image)")
    return "; ".join(said)


def _prior_words(suite: Suite, run: str) -> str:
    name = suite.prior(suite.run(run).prior.test).prior["name"]
    return PRIORS.get(name, f"the prior {name}")


def _counts(suite: Suite, rows: pd.DataFrame) -> str:
    """How many images, photographs and seeds stand behind the page, and what that leaves open."""
    shown = rows[rows["metric"].isin(tables.METRICS)].assign(collection=rows["run"].map(lambda r: suite.run(r).test))
    images = shown[["dataset", "image"]].drop_duplicates()
    sources = _sources(suite, shown)
    made = f" made from {count(sources, 'photograph')}" if 0 < sources < len(images) else ""
    said = f"{count(len(images), 'test image')}{made}; {tables.seeds_text(rows).lower()}."
    if made:
        said += " Images of one photograph are alike, so there is more chance in these figures than the intervals say."
    if shown.groupby("run")["seed"].nunique().min() == 1:
        said += " Where a run has one seed, an interval speaks of images alone, not of training once more."
    return said


def _sources(suite: Suite, shown: pd.DataFrame) -> int:
    """How many photographs the images were cut from, by the manifests; 0 if one does not say."""
    found = set()
    for name, part in shown.groupby("collection"):
        path = suite.work / "data" / str(name) / "manifest.csv"
        used = set(zip(part["dataset"], part["image"], strict=True))
        lines = [
            line for line in (read_table(path) if path.exists() else []) if (line["dataset"], line["image"]) in used
        ]
        if len(lines) < len(used) or not all(line.get("source") for line in lines):
            return 0
        found |= {line["source"] for line in lines}
    return len(found)


def _multiplicity(found: list[pd.DataFrame]) -> str:
    """A word on many intervals at once; the Average is of the same images and does not count."""
    cells = pd.concat(found)
    cells = cells[(cells["dataset"] != AVERAGE) & cells["low"].notna()]
    marked = cells[cells["gain"] | cells["loss"]]
    if len(cells) < 2 or marked.empty:
        return ""
    kept = int((marked["p_holm"] < 0.05).sum())
    return (
        f"One interval in twenty excludes zero by chance alone. Of {len(cells)} of whole methods, {len(marked)} "
        f"do{'es' if len(marked) == 1 else ''}; {kept or 'none'} of these "
        f"also pass{'es' if kept == 1 else ''} a rank test corrected for their number (Wilcoxon, Holm, p < 0.05)."
    )


def _uncontrolled(suite: Suite, runs: list[str]) -> str:
    runs = [run for run in runs if tables.has_prior(suite, run)]
    if not runs:
        return ""
    names = ", ".join(f"“{label(suite, run)}”" for run in runs)
    return f"No control splits the change of {names}: what comes of added parameters alone is not known there."


def _under_input(suite: Suite, rows: pd.DataFrame, runs: list[str]) -> str:
    """Where a method's mean PSNR is below that of the degraded input itself."""
    cells = psnr_cells(suite, rows)
    means = {(cell.run, cell.dataset): cell.value for cell in cells.itertuples()}
    said = []
    for run in runs:
        inputs = [key for key in tables.compared(suite, suite.run(run).test) if tables.is_input(suite, key)]
        own = [name for key, name in means if key == run and name != AVERAGE]
        under = [n for n in own if any(means[run, n] < means.get((key, n), -np.inf) for key in inputs)]
        said += [f"“{label(suite, run)}” on {', '.join(under)}"] if under else []
    return f"Below the {degraded(suite)} itself: {'; '.join(said)}." if said else ""


def psnr_cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """``tables.cells`` of PSNR under each collection's first protocol."""
    cells = tables.cells(suite, rows)
    main = {n: dict(tables.main_columns(tables.of(suite, rows, n))).get("PSNR") for n in cells["collection"].unique()}
    return cells[(cells["metric"] == "PSNR") & (cells["protocol"] == cells["collection"].map(main))]


def _changes(suite: Suite, rows: pd.DataFrame, run: str) -> pd.DataFrame:
    """A run's cells of mean PSNR change, the Average last."""
    cells = psnr_cells(suite, rows)
    return cells[(cells["run"] == run) & cells["difference"].notna()]


def _own_share(suite: Suite, steps: pd.DataFrame, run: str) -> pd.DataFrame:
    """The last steps, to the prior itself, of the control that ends in a run; empty without one."""
    own = steps[(steps["run"] == run) & (steps["kind"] == "step")]
    return own[own["control"] == own["control"].iloc[0]].assign(paired=own["images"]) if len(own) else own


def _summary(lines: pd.DataFrame) -> pd.DataFrame:
    """The Average alone where there is one."""
    return lines[lines["dataset"] == AVERAGE] if AVERAGE in set(lines["dataset"]) else lines


def meaning(line: Any) -> str:
    """What a difference with its interval says, as a key of CHANCE; ``line``: one of cells or of a control's steps."""
    if pd.isna(line.low):
        return "single"
    if line.gain:
        return "better"
    if line.loss:
        return "worse"
    return "same" if line.low == line.high == 0 else "open"


def interval(line: Any) -> str:
    """A PSNR change in text: "+0.042 dB [+0.010, +0.073]"."""
    number, _, rest = minus(tables.interval_text(line)).partition(" ")
    return f"{number} dB {rest}".strip()


def answers(suite: Suite, rows: pd.DataFrame, steps: pd.DataFrame) -> list[dict[str, Any]]:
    """A card a method: its change against its reference, and where a control splits it, the prior's own share.

    Each part has lines, one a test set, with the places of interval and mean on one axis that all cards share.
    """
    found = []
    for run in answering(suite, rows):
        own, one = _own_share(suite, steps, run), suite.run(run)
        parts = [(f"Whole method, against “{label(suite, tables.reference(suite, run))}”", _changes(suite, rows, run))]
        if len(own):
            name = suite.prior(one.prior.test).prior["name"].upper()
            parts.append((f"{name} itself, against “{label(suite, own['reference'].iloc[0])}”", own))
        found.append((run, parts, _splits(steps, own)))
    ends = [abs(v) for _, parts, _ in found for _, t in parts for n in ("low", "high", "difference") for v in t[n]]
    means = [abs(v) for _, parts, _ in found for _, t in parts for v in t["difference"]]
    reach = max(
        [0.01, min([max([0.0, *(v for v in ends if np.isfinite(v))]), 2.5 * max([0.0, *means])])]
    )  # long lines are cut
    return [
        {
            "label": label(suite, run),
            "about": _about(suite, run),
            "splits": splits,
            "reach": f"{reach:.2g}",
            "parts": [{"title": title, "lines": _answer_lines(table, reach)} for title, table in parts],
        }
        for run, parts, splits in found
    ]


def _about(suite: Suite, run: str) -> str:
    one = suite.run(run)
    reads = f"reads {_prior_words(suite, run)}; " if tables.has_prior(suite, run) else ""
    setting = f", {one.setting}" if one.setting else ""
    trained = record(suite, run).get("training", {}).get("iterations")
    budget = f"; trained here for {count(trained, 'iteration')}" if trained else ""
    return f"{reads}{one.method['name']} on {one.backbone['name']}; {one.task}{setting}{budget}"


def _answer_lines(table: pd.DataFrame, reach: float) -> list[dict[str, Any]]:
    return [
        {
            "set": "All images" if line.dataset == AVERAGE else line.dataset,
            "all": line.dataset == AVERAGE,
            "count": f"{count(line.paired, 'image')}, {count(line.seeds, 'seed')}",
            "text": interval(line).partition(" [")[0],
            "interval": interval(line).partition(" [")[2].rstrip("]"),
            "chance": CHANCE[meaning(line)],
            "meaning": meaning(line),
            "mean": _along(line.difference, reach),
            "low": None if pd.isna(line.low) else _along(line.low, reach),
            "high": None if pd.isna(line.high) else _along(line.high, reach),
        }
        for line in table.sort_values("dataset", key=lambda names: names != AVERAGE, kind="stable").itertuples()
    ]


def _splits(steps: pd.DataFrame, own: pd.DataFrame) -> list[str]:
    """The total and its parts in a sentence, a test set each (the Average alone where there is one)."""
    said = []
    for dataset in _summary(own)["dataset"] if len(own) else []:
        lines = steps[(steps["control"] == own["control"].iloc[0]) & (steps["dataset"] == dataset)]
        total = next(lines[lines["kind"] == "total"].itertuples())
        parts = [f"{line.step} {_difference(line)}" for line in lines[lines["kind"] == "step"].itertuples()]
        where = "all images" if dataset == AVERAGE else dataset
        said.append(f"On {where}, of {_difference(total)} dB: {', '.join(parts)}.")
    return said


def _difference(line: Any) -> str:
    return minus(tables.difference_text(line))


def _along(gain: float, reach: float) -> float:
    """Where a gain stands on a strip of 200 units whose middle is 0 dB."""
    return round(100 + 94 * min(max(gain / reach, -1), 1), 1)


def cards(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A card a test set: each method's per-image PSNR changes as dots on one axis that all cards share."""
    images = pictures.gains(suite, rows)
    if images.empty:
        return []
    changes = psnr_cells(suite, rows)
    changes = changes[changes["run"].isin(images["run"])]
    sizes = images["difference"].abs()
    reach = max(0.05, 1.08 * float(min(sizes.max(), 2 * sizes.quantile(0.9))))  # one outlier does not flatten all
    cards = []
    for name in tables.datasets(suite, rows):
        strips = []
        for cell in changes[(changes["dataset"] == name) & changes["difference"].notna()].itertuples():
            own = images[(images["run"] == cell.run) & (images["dataset"] == name)]["difference"]
            dots = [
                {"x": _along(gain, reach), "beyond": abs(gain) > reach, "meaning": "better" if gain > 0 else "worse"}
                for gain in own
            ]
            strip = {"label": cell.label, "dots": dots, "better": cell.better, "of": cell.paired}
            strip |= {"difference": _difference(cell), "meaning": meaning(cell), "chance": CHANCE[meaning(cell)]}
            strips.append(strip | {"mean": _along(cell.difference, reach)})
        cards.append({"name": name, "strips": strips, "reach": f"{reach:.2g}"})
    return cards


def record(suite: Suite, run: str) -> dict[str, Any]:
    path = suite.results / "records" / f"{run}.json"
    return read_json(path) if path.exists() else {}
