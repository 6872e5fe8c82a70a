"""The report's answer in words: which prior helped, on what, by how much, and whether that is more than chance.

Layer 4. Sentences and figures as plain data; ``page`` lays them out and escapes them. Every word follows from rows,
their intervals and the records.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchlib import registry
from benchlib.papers import published
from benchlib.params import COLUMNS
from benchlib.records import read_record
from benchlib.report import pictures, statistics, tables
from benchlib.report.tables import AVERAGE

if TYPE_CHECKING:
    from benchlib.params import Suite

VERSION = 1
FEW = 6  # scenes below which no rank test can reach p < 0.05
CHANCE = {
    "better": "better, more than chance",
    "worse": "worse, more than chance",
    "open": "not more than chance",
    "same": "no change",
    "single": "no interval: one scene",
}


def run_label(suite: Suite, run: str | None) -> str:
    return tables.run_label(suite, run) if run else ""


def minus(text: str) -> str:
    """The hyphens that are the sign of a number as true minus signs; those of words ("III-C") and "1e-07" stay."""
    return re.sub(r"(?<![\w)\]])-(?=[\d.]|inf)", "\N{MINUS SIGN}", text)


def count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def iterations(suite: Suite, run: str) -> int:
    """How long a run was trained, by its record; 0 where there was nothing to train, whatever the budget."""
    own = record(suite, run)
    if own.get("trained_parameters") == 0:
        return 0
    return own.get("training", {}).get("iterations", 0)


def degraded(suite: Suite) -> str:
    """What the methods are given, in words: "blurred input"; "degraded input" where the problem gives none."""
    words = {
        "super-resolution": "small input, enlarged",
        "denoising": "noisy input",
        "deblurring": "blurred input",
        "low light": "dark input",
        "deraining": "rainy input",
    }
    problems = {suite.run(run).problem for run in tables.compared(suite)}
    return words.get(problems.pop(), "degraded input") if len(problems) == 1 else "degraded input"


def answering(suite: Suite, rows: pd.DataFrame) -> list[str]:
    """The measured runs that answer the question: with a real prior and a measured reference, in no control's place.

    Where no run has a prior, the run that chooses the pictures, if it can be compared. The first collection's come
    first.
    """
    seen, means = set(rows["run"].unique()), tables.controlling(suite)
    runs = [
        run
        for name in tables.measured_collections(suite, rows)
        for run in tables.compared(suite, name)
    ]
    runs = [run for run in runs if run in seen and tables.reference(suite, run) in seen]
    own = [run for run in runs if tables.has_prior(suite, run) and run not in means]
    return own or [run for run in [pictures.focus(suite, rows)] if run in runs]


def headline(
    suite: Suite, rows: pd.DataFrame, steps: pd.DataFrame, unreached: Sequence[str] = ()
) -> dict[str, Any]:
    """The answer first: "question" and "lead", a few words each; "setup", on how many images and after how short a
    training; "methods", a sentence on each; "cautions".

    ``steps`` is ``controls.all_steps``; ``unreached`` the runs whose prior does not reach the output. The words weigh 95 % intervals: a method's own change where no control splits it,
    else the share of the prior itself; over all images (the Average) where there is one, else test set by test set.
    """
    runs = answering(suite, rows)
    if not runs:
        nothing = "Nothing to compare yet: a run without a prior and a run with one are needed."
        said = {"question": question(suite, runs), "lead": nothing, "methods": []}
        return said | {"setup": _setup(suite, rows, []), "ranges": False, "cautions": []}
    cells = psnr_cells(suite, rows)
    changes, none = _changes(cells), cells.iloc[:0]
    found = {run: (changes.get(run, none), _own_share(suite, steps, run)) for run in runs}
    evidence = [
        meaning(line)
        for whole, own in found.values()
        for line in _summary(own if len(own) else whole).itertuples()
    ]
    cautions = [_chance(suite, rows, runs), _multiplicity([whole for whole, _ in found.values()])]
    cautions += [_unreached(suite, [run for run in runs if run in unreached])]
    cautions += [_uncontrolled(suite, [run for run, (_, own) in found.items() if not len(own)])]
    cautions += [_ssim(suite, rows, runs), _under_input(suite, rows, runs)]
    methods = [
        {"label": run_label(suite, run), "said": _said(suite, run, *found[run])} for run in runs
    ]
    return {
        "question": question(suite, runs),
        "lead": _lead(evidence, all(len(own) for _, own in found.values())),
        "setup": _setup(suite, rows, runs),
        "ranges": any(" dB)" in method["said"] for method in methods),
        "methods": methods,
        "cautions": [text for text in cautions if text],
    }


def question(suite: Suite, runs: list[str]) -> str:
    """What the page answers: "Do SAM's masks help deblurring?"."""
    problems = {suite.run(run).problem for run in runs}
    priors = {name for run in runs for name in tables.prior_names(suite, run)}
    problem = problems.pop() if len(problems) == 1 else "restoration"
    if len(priors) > 1:
        return f"Do {_together(suite, runs)} help {problem}?"
    if runs and not priors:
        return f"Does {run_label(suite, runs[0])} do better at {problem}?"
    words = tables.shown_as(priors.pop()) if priors else None
    return f"Do {words} help {problem}?" if words else f"Does the prior help {problem}?"


def _together(suite: Suite, runs: list[str]) -> str:
    """What priors of one kind are called together, if their kind says it; else "the priors"."""
    kinds = {kind for run in runs for kind in tables.prior_kinds(suite, run)}
    if len(kinds) != 1:
        return "the priors"
    return getattr(registry.load("priors/kinds", kinds.pop()), "SHOWN", "the priors")


def _lead(evidence: list[str], alone: bool) -> str:
    """``alone``: the evidence is the priors' own share, of every method."""
    if not {"better", "worse"} & set(evidence):
        nothing = "Of themselves, not by more than chance." if alone else "Not by more than chance."
        return "Too few images to say." if set(evidence) <= {"single"} else nothing
    better, worse, number = evidence.count("better"), evidence.count("worse"), len(evidence)
    if better == number:
        return "Yes, wherever it was tested."
    return f"Better in {better or 'none'} of {count(number, 'comparison')}, worse in {worse or 'none'}."


def _said(suite: Suite, run: str, whole: pd.DataFrame, own: pd.DataFrame) -> str:
    """A method in a sentence: its change and, where a control tells it, the prior's own share of it."""
    said = f"against “{run_label(suite, tables.reference(suite, run))}”: {_brief(suite, whole)}."
    if not len(own):
        return said
    other = own["reference"].iloc[0]
    priors = _began(_in_words(tables.own_priors(suite, run, other)))
    return f"{said} {priors} themselves, against “{run_label(suite, other)}”: {_brief(suite, own)}."


def _brief(suite: Suite, whole: pd.DataFrame) -> str:
    if whole.empty:
        return "nothing to weigh, one of the two restores every image exactly"
    if AVERAGE not in set(whole["dataset"]) and len(whole) > 1:
        return _places(suite, whole)
    first = next(_summary(whole).itertuples())
    where = _place(suite, first, f"all {first.paired} images")
    return f"{interval(suite, first)} on {where}: {CHANCE[meaning(first)]}"


def _place(suite: Suite, line: Any, images: str = "all images") -> str:
    """Where a line of cells or steps is measured: its test set; of an Average ``images``, or that the sets weigh alike."""
    if line.dataset != AVERAGE:
        return line.dataset
    if suite.evaluation_of(line.run).average == COLUMNS:
        return "the plain mean of the test sets"
    return images


def _places(suite: Suite, whole: pd.DataFrame) -> str:
    """On which test sets a run is better and worse than its reference by more than chance, a few with their numbers."""
    said = []
    for word, column in (("higher", "gain"), ("lower", "loss")):
        found = whole[whole[column]]
        few = ", ".join(f"{line.dataset} ({interval(suite, line)})" for line in found.itertuples())
        if len(found):
            said.append(
                f"{word} by more than chance on {few if len(found) <= 2 else f'{len(found)} of {len(whole)} test sets'}"
            )
    single = whole["low"].isna()
    left = whole[~(whole["gain"] | whole["loss"] | single)]
    if len(left):
        ends = (
            tables.difference_text(suite, line)
            for line in left.sort_values("difference").iloc[[0, -1]].itertuples()
        )
        low, high = map(minus, ends)
        on = f"not more than chance on {'the other ' * bool(said)}{count(len(left), 'test set')}"
        on = "on no test set more than chance" if len(left) == len(whole) else on
        said.append(f"{on} ({low}{'' if low == high else f' to {high}'} dB)")
    if single.any():
        said.append(f"no interval on {', '.join(whole['dataset'][single])} (one scene)")
    return "; ".join(said)


def prior_words(suite: Suite, run: str) -> str:
    """What a run reads, in plain words: "SAM's masks"."""
    return _in_words(tables.prior_names(suite, run))


def _in_words(names: list[str]) -> str:
    return " and ".join(tables.shown_as(name) or f"the prior {name}" for name in names)


def _shown(suite: Suite, rows: pd.DataFrame, runs: list[str]) -> pd.DataFrame:
    """The scores of the collections that the answering runs test on."""
    tests = {suite.run(run).images.test for run in runs or rows["run"].unique()}
    rows = tables.scored(suite, rows)
    return rows[rows["run"].map(tables.tests_of(suite, rows)).isin(tests)]


def _setup(suite: Suite, rows: pd.DataFrame, runs: list[str]) -> str:
    """How many images and seeds, and how short a training: "24 images of 3 scenes; one seed a run; ..."."""
    shown = _shown(suite, rows, runs)
    scene = statistics.scenes(shown)
    said = f"{tables.images_text(len(scene), scene.nunique())}; {tables.seeds_text(shown).lower()}"
    budgets = sorted({iterations(suite, run) for run in runs} - {0})
    if budgets:
        said += f"; {' to '.join(dict.fromkeys([f'{budgets[0]:,}', f'{budgets[-1]:,}']))} iterations of training"
    stated = []
    for paper in dict.fromkeys(suite.run(run).paper for run in runs if suite.run(run).paper):
        numbers = published(paper)
        own = numbers[(numbers["metric"] == "iterations") & (numbers["row"] == "Ours")]
        stated += [f"{paper} trains {value:,.0f}" for value in own["value"]]
    return said + (f" ({', '.join(stated)})" if stated and budgets else "") + "."


def _chance(suite: Suite, rows: pd.DataFrame, runs: list[str]) -> str:
    """What few scenes and seeds leave open."""
    shown, said = _shown(suite, rows, runs), []
    scene = statistics.scenes(shown)
    if scene.nunique() < len(scene):
        said.append(
            "Images of one scene (copies of a photograph, frames of a sequence) count as one."
        )
    if scene.nunique() < FEW:
        said.append(f"{count(scene.nunique(), 'scene')} can show only large effects.")
    if shown.groupby("run")["seed"].nunique().min() == 1:
        said.append(
            "Where a run has one seed, an interval covers the choice of images, not a new training."
        )
    return " ".join(said)


def _ssim(suite: Suite, rows: pd.DataFrame, runs: list[str]) -> str:
    """Where SSIM says more than chance."""
    cells = main_cells(suite, rows, "SSIM")
    by_run = tables.rows_by_run(cells)
    said = []
    for run in runs:
        own = by_run.get(run, cells.iloc[:0])
        for word, column in (("better", "gain"), ("worse", "loss")):
            sets = list(own.loc[own[column].eq(True), "dataset"])
            said += [f"“{run_label(suite, run)}” {word} on {', '.join(sets)}"] if sets else []
    return f"In SSIM, by more than chance: {'; '.join(said)}." if said else ""


def _multiplicity(found: list[pd.DataFrame]) -> str:
    """A word on many intervals at once; the Average is of the same images and does not count."""
    cells = pd.concat(found)
    cells = cells[(cells["dataset"] != AVERAGE) & cells["low"].notna()]
    marked = cells[cells["gain"] | cells["loss"]]
    if len(cells) < 2 or marked.empty:
        return ""
    kept = int((marked["p_holm"] < 0.05).sum())
    does, also = "does" if len(marked) == 1 else "do", "passes" if kept == 1 else "pass"
    return (
        "One interval in twenty leaves zero out by chance alone. Of "
        f"{len(cells)} (whole methods, test set by test set) {len(marked)} {does}; {kept or 'none'} of these also "
        f"{also} a rank test corrected for their number (Wilcoxon, Holm, p < 0.05)."
    )


def _unreached(suite: Suite, runs: list[str]) -> str:
    """The answering runs that restore the same image whatever their prior says."""
    if not runs:
        return ""
    names = ", ".join(f"“{run_label(suite, run)}”" for run in runs)
    return f"The prior does not reach the output: {names}. It cannot have changed anything there."


def _uncontrolled(suite: Suite, runs: list[str]) -> str:
    runs = [run for run in runs if tables.has_prior(suite, run)]
    if not runs:
        return ""
    names = ", ".join(f"“{run_label(suite, run)}”" for run in runs)
    return f"Without control runs: {names}. Added parameters alone may explain their change."


def _under_input(suite: Suite, rows: pd.DataFrame, runs: list[str]) -> str:
    """Where a method's mean PSNR is below that of the degraded input itself."""
    cells = psnr_cells(suite, rows)
    means = {(cell.run, cell.dataset): cell.value for cell in cells.itertuples()}
    said: dict[str, list[str]] = {}
    sets: dict[str, list[str]] = {}
    for run, name in means:
        sets.setdefault(run, []).append(name)
    shown = [*(tables.reference(suite, run) for run in runs), *runs]
    for run in dict.fromkeys(run for run in shown if run):
        inputs = [
            key
            for key in tables.compared(suite, suite.run(run).images.test)
            if tables.is_input(suite, key)
        ]
        for name in sets.get(run, []):
            if name == AVERAGE:
                continue
            if any(means[run, name] < means.get((key, name), -np.inf) for key in inputs):
                said.setdefault(name, []).append(f"“{run_label(suite, run)}”")
    places: dict[str, list[str]] = {}
    for name, worse in said.items():
        places.setdefault(", ".join(worse), []).append(name)
    sentences = []
    for worse_runs, names in places.items():
        where = ", ".join(names)
        sentences.append(f"On {where}, worse than the {degraded(suite)} itself: {worse_runs}.")
    return " ".join(sentences)


def psnr_cells(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """``tables.cells`` of PSNR under each collection's first protocol."""
    return main_cells(suite, rows, "PSNR")


def main_cells(suite: Suite, rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """``tables.cells`` of a metric under each collection's first protocol of it."""
    cells = tables.cells(suite, rows)
    main = {
        n: dict(tables.main_columns(suite, tables.rows_of(suite, rows, n))).get(metric)
        for n in cells["collection"].unique()
    }
    return cells[(cells["metric"] == metric) & (cells["protocol"] == cells["collection"].map(main))]


def _changes(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each run's cells of mean PSNR change (of ``psnr_cells``), the Average last."""
    return tables.rows_by_run(cells[cells["difference"].notna()])


def _own_share(suite: Suite, steps: pd.DataFrame, run: str) -> pd.DataFrame:
    """The last steps, to the prior itself, of the control that ends in a run; empty without one."""
    own = steps[(steps["run"] == run) & (steps["kind"] == "step")]
    return (
        own[own["control"] == own["control"].iloc[0]].assign(paired=own["images"])
        if len(own)
        else own
    )


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


def interval(suite: Suite, line: Any) -> str:
    """A PSNR change in text: "+0.042 dB [+0.010, +0.073]"."""
    number, _, rest = minus(tables.interval_text(suite, line)).partition(" ")
    return f"{number} dB {rest}".strip()


def answers(suite: Suite, rows: pd.DataFrame, steps: pd.DataFrame) -> list[dict[str, Any]]:
    """A card a method: its change against its reference, and where a control splits it, the prior's own share.

    Each part has lines, one a test set, with the places of interval and mean on one axis that all cards share.
    """
    found = []
    cells = psnr_cells(suite, rows)
    changes = _changes(cells)
    for run in answering(suite, rows):
        own = _own_share(suite, steps, run)
        parts = [
            (
                f"Whole method, against “{run_label(suite, tables.reference(suite, run))}”",
                changes.get(run, cells.iloc[:0]),
            )
        ]
        if len(own):
            other = own["reference"].iloc[0]
            name = _began(tables.prior_words(suite, run, other))
            parts.append((f"{name} alone, against “{run_label(suite, other)}”", own))
        found.append((run, parts, _splits(suite, steps, own)))
    ends = [
        abs(v)
        for _, parts, _ in found
        for _, t in parts
        for n in ("low", "high", "difference")
        for v in t[n]
    ]
    means = [abs(v) for _, parts, _ in found for _, t in parts for v in t["difference"]]
    means = [v for v in means if np.isfinite(v)]  # equal images have an infinite PSNR
    reach = max(
        [0.01, min([max([0.0, *(v for v in ends if np.isfinite(v))]), 2.5 * max([0.0, *means])])]
    )  # long lines are cut
    return [
        {
            "label": run_label(suite, run),
            "about": _about(suite, run),
            "splits": splits,
            "reach": f"{reach:.2g}",
            "parts": [
                {"title": title, "lines": _answer_lines(suite, table, reach)}
                for title, table in parts
            ],
        }
        for run, parts, splits in found
    ]


def _about(suite: Suite, run: str) -> str:
    one = suite.run(run)
    reads = f"reads {prior_words(suite, run)}; " if tables.has_prior(suite, run) else ""
    setting = f", {one.setting}" if one.setting else ""
    trained = iterations(suite, run)
    budget = f"; {count(trained, 'iteration')} of training" if trained else ""
    network = ""
    if one.backbone["name"] != "none":  # what another run restored, or pictures brought along
        network = f" on network {one.backbone['name']}"
    return f"{reads}method {one.method['name']}{network}; {one.problem}{setting}{budget}"


def _began(words: str) -> str:
    """The words as a sentence begins."""
    return words[:1].upper() + words[1:]


def _answer_lines(suite: Suite, table: pd.DataFrame, reach: float) -> list[dict[str, Any]]:
    return [
        {
            "set": _began(_place(suite, line)) if line.dataset == AVERAGE else line.dataset,
            "all": line.dataset == AVERAGE,
            "count": f"{tables.images_text(line.paired, line.scenes)}, {count(line.seeds, 'seed')}",
            "text": interval(suite, line).partition(" [")[0],
            "interval": interval(suite, line).partition(" [")[2].rstrip("]"),
            "chance": CHANCE[meaning(line)],
            "meaning": meaning(line),
            "mean": _along(line.difference, reach),
            "low": None if pd.isna(line.low) else _along(line.low, reach),
            "high": None if pd.isna(line.high) else _along(line.high, reach),
        }
        for line in sorted(tables.tuples(table), key=lambda line: line.dataset != AVERAGE)
    ]


def _splits(suite: Suite, steps: pd.DataFrame, own: pd.DataFrame) -> list[str]:
    """The total and its parts in a sentence, of the Average or the only test set; the table below has the others."""
    said: list[str] = []
    for dataset in _summary(own)["dataset"] if len(own) and len(_summary(own)) == 1 else []:
        lines = steps[(steps["control"] == own["control"].iloc[0]) & (steps["dataset"] == dataset)]
        total = next(lines[lines["kind"] == "total"].itertuples())
        parts = [
            f"{line.step} {_difference(suite, line)}"
            for line in lines[lines["kind"] == "step"].itertuples()
        ]
        where = _place(suite, total)
        said.append(
            f"The {_difference(suite, total)} dB on {where} are the sum of: {', '.join(parts)}."
        )
    return said


def _difference(suite: Suite, line: Any) -> str:
    return minus(tables.difference_text(suite, line))


def _along(gain: float, reach: float) -> float:
    """Where a gain stands on a strip of 200 units whose middle is 0 dB."""
    return round(100 + 94 * min(max(gain / reach, -1), 1), 1)


def cards(suite: Suite, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A card a test set: each method's per-image PSNR changes as dots on one axis that all cards share.

    The axis fits a typical strip of the methods and their controls, and the methods' means; a run far off does not
    flatten all others.
    """
    images = pictures.gains(suite, rows)
    if images.empty:
        return []
    changes = psnr_cells(suite, rows)
    changes = changes[changes["run"].isin(images["run"])]
    asked = images["run"].isin({*answering(suite, rows), *tables.controlling(suite)})
    sizes = (images[asked] if asked.any() else images).assign(size=images["difference"].abs())
    sizes = sizes[np.isfinite(sizes["size"])]  # equal images have an infinite PSNR
    means = changes.loc[changes["run"].isin(answering(suite, rows)), "difference"].abs()
    typical = 2 * float(sizes.groupby(["run", "dataset"])["size"].quantile(0.95).median())
    ends = [0.01, typical, *(1.08 * means)]
    reach = max(end for end in ends if np.isfinite(end))
    by_place = dict(iter(images.groupby(["run", "dataset"])["difference"]))
    none = images["difference"].iloc[:0]
    cards = []
    for name in tables.datasets(suite, rows):
        strips = []
        for cell in changes[
            (changes["dataset"] == name) & changes["difference"].notna()
        ].itertuples():
            own = by_place.get((cell.run, name), none)
            dots = [
                {
                    "x": _along(gain, reach),
                    "beyond": abs(gain) > reach,
                    "meaning": "better" if gain > 0 else "worse",
                }
                for gain in own
            ]
            strip = {
                "label": cell.label,
                "to": run_label(suite, cell.reference),
                "dots": dots,
                "of": cell.paired,
            }
            strip |= {"better": cell.better}
            strip |= {
                "difference": _difference(suite, cell),
                "meaning": meaning(cell),
                "chance": CHANCE[meaning(cell)],
            }
            strips.append(strip | {"mean": _along(cell.difference, reach)})
        cards.append({"name": name, "strips": strips, "reach": f"{reach:.2g}"})
    return cards


def record(suite: Suite, run: str) -> dict[str, Any]:
    return read_record(suite, run)
