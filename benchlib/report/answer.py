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
Line = Any  # one of ``tables.cells`` or of a control's steps, as ``tables.tuples`` gives it
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
    changes, shares = _changes(psnr_cells(suite, rows)), _own_shares(steps)
    found = {run: (changes.get(run, []), shares.get(run, [])) for run in runs}
    evidence = []
    for whole, own in found.values():
        evidence += [meaning(line) for line in _summary(own or whole)]
    cautions = [_chance(suite, rows, runs), _multiplicity([whole for whole, _ in found.values()])]
    cautions += [_unreached(suite, [run for run in runs if run in unreached])]
    cautions += [_uncontrolled(suite, [run for run in runs if run not in shares])]
    cautions += [_ssim(suite, rows, runs), _under_input(suite, rows, runs)]
    methods = [
        {"label": run_label(suite, run), "said": _said(suite, run, *found[run])} for run in runs
    ]
    return {
        "question": question(suite, runs),
        "lead": _lead(evidence, all(run in shares for run in runs)),
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


def _said(suite: Suite, run: str, whole: list[Line], own: list[Line]) -> str:
    """A method in a sentence: its change and, where a control tells it, the prior's own share of it."""
    said = f"against “{run_label(suite, tables.reference(suite, run))}”: {_brief(suite, whole)}."
    if not own:
        return said
    other = own[0].reference
    priors = _began(_in_words(tables.own_priors(suite, run, other)))
    return f"{said} {priors} themselves, against “{run_label(suite, other)}”: {_brief(suite, own)}."


def _brief(suite: Suite, whole: list[Line]) -> str:
    if not whole:
        return "nothing to weigh, one of the two restores every image exactly"
    first, *others = _summary(whole)
    if others:
        return _places(suite, whole)
    where = _place(suite, first, f"all {first.paired} images")
    return f"{interval(suite, first)} on {where}: {CHANCE[meaning(first)]}"


def _place(suite: Suite, line: Line, images: str = "all images") -> str:
    """Where a line of cells or steps is measured: its test set; of an Average ``images``, or that the sets weigh alike."""
    if line.dataset != AVERAGE:
        return line.dataset
    if suite.evaluation_of(line.run).average == COLUMNS:
        return "the plain mean of the test sets"
    return images


def _places(suite: Suite, whole: list[Line]) -> str:
    """On which test sets a run is better and worse than its reference by more than chance, a few with their numbers."""
    said = []
    for word, column in (("higher", "gain"), ("lower", "loss")):
        found = [line for line in whole if getattr(line, column)]
        on = f"{len(found)} of {len(whole)} test sets"
        if len(found) <= 2:
            on = ", ".join(f"{line.dataset} ({interval(suite, line)})" for line in found)
        if found:
            said.append(f"{word} by more than chance on {on}")
    single = [line.dataset for line in whole if pd.isna(line.low)]
    left = [line for line in whole if meaning(line) in ("open", "same")]
    if left:
        left.sort(key=lambda line: line.difference)
        low, high = _difference(suite, left[0]), _difference(suite, left[-1])
        on = f"not more than chance on {'the other ' * bool(said)}{count(len(left), 'test set')}"
        on = "on no test set more than chance" if len(left) == len(whole) else on
        said.append(f"{on} ({low}{'' if low == high else f' to {high}'} dB)")
    if single:
        said.append(f"no interval on {', '.join(single)} (one scene)")
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
    cells = tables.lines_by_run(main_cells(suite, rows, "SSIM"))
    said = []
    for run in runs:
        for word, column in (("better", "gain"), ("worse", "loss")):
            sets = [line.dataset for line in cells.get(run, []) if getattr(line, column)]
            if sets:
                said.append(f"“{run_label(suite, run)}” {word} on {', '.join(sets)}")
    return f"In SSIM, by more than chance: {'; '.join(said)}." if said else ""


def _multiplicity(found: list[list[Line]]) -> str:
    """A word on many intervals at once; the Average is of the same images and does not count."""
    cells = []
    for lines in found:
        cells += [line for line in lines if line.dataset != AVERAGE and not pd.isna(line.low)]
    marked = [line for line in cells if line.gain or line.loss]
    if len(cells) < 2 or not marked:
        return ""
    kept = sum(line.p_holm < 0.05 for line in marked)
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
    means = {(cell.run, cell.dataset): cell.value for cell in tables.tuples(cells)}
    said: dict[str, list[str]] = {}
    sets: dict[str, list[str]] = {}
    for run, name in means:
        sets.setdefault(run, []).append(name)
    shown = [*(tables.reference(suite, run) for run in runs), *runs]
    inputs_of: dict[str, list[str]] = {}
    for key in suite.runs:
        if tables.is_input(suite, key):
            inputs_of.setdefault(suite.run(key).images.test, []).append(key)
    for run in dict.fromkeys(run for run in shown if run):
        inputs = inputs_of.get(suite.run(run).images.test, [])
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


def _changes(cells: pd.DataFrame) -> dict[str, list[Line]]:
    """Each run's cells of mean PSNR change (of ``psnr_cells``), the Average last."""
    return tables.lines_by_run(cells[cells["difference"].notna()])


def _own_shares(steps: pd.DataFrame) -> dict[str, list[Line]]:
    """The last steps, to the prior itself, of the first control that ends in a run."""
    own = steps[steps["kind"] == "step"]
    found = {}
    for run, lines in tables.lines_by_run(own.assign(paired=own["images"])).items():
        found[run] = [line for line in lines if line.control == lines[0].control]
    return found


def _summary(lines: list[Line]) -> list[Line]:
    """The Average alone where there is one."""
    return [line for line in lines if line.dataset == AVERAGE] or lines


def meaning(line: Line) -> str:
    """What a difference with its interval says, as a key of CHANCE; ``line``: one of cells or of a control's steps."""
    if pd.isna(line.low):
        return "single"
    if line.gain:
        return "better"
    if line.loss:
        return "worse"
    return "same" if line.low == line.high == 0 else "open"


def interval(suite: Suite, line: Line) -> str:
    """A PSNR change in text: "+0.042 dB [+0.010, +0.073]"."""
    number, _, rest = minus(tables.interval_text(suite, line)).partition(" ")
    return f"{number} dB {rest}".strip()


def answers(suite: Suite, rows: pd.DataFrame, steps: pd.DataFrame) -> list[dict[str, Any]]:
    """A card a method: its change against its reference, and where a control splits it, the prior's own share.

    Each part has lines, one a test set, with the places of interval and mean on one axis that all cards share.
    """
    found = []
    changes, shares = _changes(psnr_cells(suite, rows)), _own_shares(steps)
    for run in answering(suite, rows):
        own = shares.get(run, [])
        title = f"Whole method, against “{run_label(suite, tables.reference(suite, run))}”"
        parts = [(title, changes.get(run, []))]
        if own:
            other = own[0].reference
            name = _began(tables.prior_words(suite, run, other))
            parts.append((f"{name} alone, against “{run_label(suite, other)}”", own))
        found.append((run, parts, _splits(suite, steps, own)))
    every = []
    for _, parts, _ in found:
        for _, lines in parts:
            every += lines
    reach = _shared_reach(every)
    shown = []
    for run, parts, splits in found:
        card = {"label": run_label(suite, run), "about": _about(suite, run), "splits": splits}
        own_parts = []
        for title, lines in parts:
            own_parts.append({"title": title, "lines": _answer_lines(suite, lines, reach)})
        shown.append(card | {"reach": f"{reach:.2g}", "parts": own_parts})
    return shown


def _shared_reach(lines: list[Line]) -> float:
    """What one axis for all intervals reaches to, in dB; those that are much longer are cut."""
    means = [abs(line.difference) for line in lines]
    ends = [abs(line.low) for line in lines] + [abs(line.high) for line in lines] + means
    longest = max((end for end in ends if np.isfinite(end)), default=0.0)
    # equal images have an infinite PSNR
    largest = max((mean for mean in means if np.isfinite(mean)), default=0.0)
    return max(0.01, min(longest, 2.5 * largest))


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


def _answer_lines(suite: Suite, lines: list[Line], reach: float) -> list[dict[str, Any]]:
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
        for line in sorted(lines, key=lambda line: line.dataset != AVERAGE)
    ]


def _splits(suite: Suite, steps: pd.DataFrame, own: list[Line]) -> list[str]:
    """The total and its parts in a sentence, of the Average or the only test set; the table below has the others."""
    summary = _summary(own)
    if len(summary) != 1:
        return []
    [last] = summary
    same = (steps["control"] == last.control) & (steps["dataset"] == last.dataset)
    lines = list(tables.tuples(steps[same]))
    total = next(line for line in lines if line.kind == "total")
    chained = [line for line in lines if line.kind == "step"]
    parts = ", ".join(f"{line.step} {_difference(suite, line)}" for line in chained)
    where = _place(suite, total)
    return [f"The {_difference(suite, total)} dB on {where} are the sum of: {parts}."]


def _difference(suite: Suite, line: Line) -> str:
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
        own_set = (changes["dataset"] == name) & changes["difference"].notna()
        for cell in tables.tuples(changes[own_set]):
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
