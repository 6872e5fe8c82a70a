"""What LMDIR's priors look like inside a trained run: its Figures 10 to 12, each with a number beside it.

Layer 4. ``notebooks/lmdir.ipynb`` calls this, a function a step. ``mixed`` is Figure 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from benchlib.contracts import BenchError, Window
from benchlib.files import progress
from benchlib.imageio import to_unit
from benchlib.params import configure
from benchlib.priors.kinds.picture import Picture
from benchlib.priors.retrieved import unit
from benchlib.records import Pair
from benchlib.report.plots import PLAIN
from benchlib.report.show import side_by_side
from benchlib.report.statistics import interval
from benchlib.restore import device_at_hand, load_model, prior_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from benchlib.plan import RunPlan

Batch = dict[str, torch.Tensor]
TITLES = {
    "text": "text embeddings (e_d)",
    "image": "image embeddings (I_d)",
    "refined": "refined (Z_d)",
}
MARKERS = "os^Dv<>Pp*"
METHOD = "lmdir"


def check_run(plan: RunPlan, part: str) -> None:
    """Raise BenchError for a run of another method, or one that does not read a part of LMDIR's priors."""
    name = plan.entry.method["name"]
    if name != METHOD:
        raise BenchError(f"runs.{plan.key}: method {name}; these figures are of method {METHOD}")
    if part not in plan.method_config.reads:
        read = ", ".join(plan.method_config.reads) or "nothing"
        raise BenchError(
            f"runs.{plan.key}: reads {read}, not {part}; take a run that reads it (method.reads)"
        )


def batch_of(plan: RunPlan, pair: Pair, device: torch.device, longest: int = 512) -> Batch:
    """A test picture, its middle of at most ``longest`` pixels a side, with what the run reads of it there."""
    item = plan.task.read(pair)
    height, width = plan.task.size(item)
    high, wide = min(height, longest), min(width, longest)
    window = Window((height - high) // 2, (width - wide) // 2, high, wide)
    found = {"lq": to_unit(plan.task.crop(item, window)["lq"][None])}
    found |= prior_at(plan, pair, item, plan.test_prior)(window)
    return {name: value.to(device) for name, value in found.items()}


def some_of_each(pairs: list[Pair], count: int) -> list[Pair]:
    """The first pictures of each set."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.dataset, []).append(pair)
    return [pair for group in found.values() for pair in group[:count]]


# ---------------------------------------------------------------- Figure 10


@dataclass(frozen=True)
class Embeddings:
    """What the prompt encoder reads and gives, a row a picture.

    vectors: "text" (the mean of e_d), "image" (I_d), "refined" (the mean of Z_d), each ``(n,d)`` float64. names: of the
    degradation ``(n,)``; scenes: what is shown ``(n,)``.
    """

    vectors: dict[str, np.ndarray]
    names: np.ndarray
    scenes: np.ndarray


def embeddings(
    plan: RunPlan, names: Mapping[str, str] | None = None, count: int = 60
) -> Embeddings:
    """The embeddings of a trained run's test pictures (first seed), before and after its prompt encoder.

    names: a set's name -> its degradation's, where several sets have one; other sets go by their own name. count: pictures
    a set. Raises BenchError for a run that reads no degradation or is not trained.
    """
    check_run(plan, "degradation")
    device = device_at_hand()
    model: Any = load_model(plan, plan.entry.seeds[0]).to(device)
    pairs = some_of_each(plan.test_pairs(), count)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in TITLES}
    for pair in progress(pairs, f"embed, {plan.key}", total=len(pairs)):
        with torch.inference_mode():
            found = model.embeddings(batch_of(plan, pair, device))
        for name, row in found.items():
            rows[name].append(row[0].double().cpu().numpy())
    known = names or {}
    return Embeddings(
        vectors={name: np.stack(values) for name, values in rows.items()},
        names=np.array([known.get(pair.dataset, pair.dataset) for pair in pairs]),
        scenes=np.array([pair.scene or pair.key for pair in pairs]),
    )


@mpl.rc_context(PLAIN)
def tsne(found: Embeddings, perplexity: float = 30.0) -> Figure:
    """Figure 10: t-SNE of the three embeddings, a dot a picture; where all rows are equal, all dots lie in one place.

    Distances between clusters, and their sizes, mean nothing in t-SNE; ``separation`` has numbers.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, (name, title) in zip(axes, TITLES.items(), strict=True):
        points = placed(found.vectors[name], perplexity)
        for i, degradation in enumerate(dict.fromkeys(found.names)):
            own = points[found.names == degradation]
            axis.scatter(
                *own.T, s=22, alpha=0.8, marker=MARKERS[i % len(MARKERS)], label=degradation
            )
        axis.set_title(title)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.close(figure)
    return figure


def placed(vectors: np.ndarray, perplexity: float) -> np.ndarray:
    """``(n,2)``: t-SNE from the principal components, the same each time; all zeros where all rows are equal.

    perplexity: less where there are too few pictures for it: a third of them.
    """
    from sklearn.manifold import TSNE

    if len(vectors) < 4 or np.ptp(vectors, axis=0).max() == 0:
        return np.zeros((len(vectors), 2))
    fewer = min(perplexity, (len(vectors) - 1) / 3)
    start = _principal(vectors)
    return TSNE(perplexity=fewer, init=start, random_state=0).fit_transform(vectors)


def _principal(vectors: np.ndarray) -> np.ndarray:
    """``(n,2)`` float32: the first two principal components, as small as t-SNE's own start."""
    centred = vectors - vectors.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    scores = np.zeros((len(vectors), 2))
    rank = min(2, len(size))
    scores[:, :rank] = left[:, :rank] * size[:rank]
    return (scores / scores[:, 0].std() * 1e-4).astype(np.float32)


def separation(found: Embeddings) -> pd.DataFrame:
    """How well each embedding separates the degradations, in its own space.

    A line an embedding. nearest: the share of pictures whose nearest picture of another scene has the same degradation
    (equally near ones count in parts); chance: that of a picture of another scene drawn at random. silhouette: -1 to 1, the
    mean over pictures; NaN for one degradation, or where every degradation has one picture.
    """
    lines = {}
    for name, vectors in found.vectors.items():
        distance = _distances(vectors)
        lines[name] = {
            "nearest": _share(found, distance),
            "chance": _share(found, np.zeros_like(distance)),
            "silhouette": _silhouette(distance, found.names),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _distances(vectors: np.ndarray) -> np.ndarray:
    """``(n,n)``: Euclidean, exactly 0 between equal rows."""
    return np.sqrt(((vectors[:, None] - vectors[None]) ** 2).sum(-1))


def _share(found: Embeddings, distance: np.ndarray) -> float:
    shares = []
    for own, row in enumerate(distance):
        others = found.scenes != found.scenes[own]
        if not others.any():
            continue
        near = others & (row <= row[others].min() + 1e-12)
        shares.append((found.names[near] == found.names[own]).mean())
    return float(np.mean(shares)) if shares else float("nan")


def _silhouette(distance: np.ndarray, names: np.ndarray) -> float:
    from sklearn.metrics import silhouette_score

    if not 1 < len(set(names)) < len(names):
        return float("nan")
    return float(silhouette_score(distance, names, metric="precomputed"))


# ---------------------------------------------------------------- Figure 11


@dataclass(frozen=True)
class Blocks:
    """Maps before and after what one prior adds, each ``(C,h,w)`` float32."""

    before: np.ndarray
    after: np.ndarray

    @property
    def change(self) -> float:
        """The norm of what is added over that of what it is added to."""
        least = 1e-12  # of maps that are zero
        before = float(np.linalg.norm(self.before))
        return float(np.linalg.norm(self.after - self.before)) / max(before, least)


# which maps: part of the priors -> what stands before it in the picture's title
PLACES = {
    "degradation": "encoder, level 1",
    "content": "bottleneck, last block",
    "reference": "decoder, level 1, last block",
}


def feature_maps(plan: RunPlan, pair: Pair | None = None, longest: int = 256) -> dict[str, Blocks]:
    """Figure 11: the maps of a trained run (first seed) before and after its blocks, of one test picture.

    degradation: what enters and leaves the encoder's first level. content, reference: around the attention to them
    (equations 15 and 24) in the last block of the bottleneck and of the decoder. Parts that the run does not read are not
    there. pair: None for the first test picture. Raises BenchError for a run of another method, or not trained.
    """
    if plan.entry.method["name"] != METHOD or not plan.method_config.reads:
        check_run(plan, "degradation")
    device = device_at_hand()
    model: Any = load_model(plan, plan.entry.seeds[0]).to(device)
    batch = batch_of(plan, pair or plan.test_pairs()[0], device, longest)
    seen: dict[str, Blocks] = {}
    with ExitStack() as stack, torch.inference_mode():
        for part in plan.method_config.reads:
            for hook in _watched(model, part, seen):
                stack.callback(hook.remove)
        model(batch)
    return {part: seen[part] for part in PLACES if part in seen}


def _watched(model: Any, part: str, seen: dict[str, Blocks]) -> list[Any]:
    """Hooks that put the maps around one part's block into ``seen`` when the network runs."""
    if part == "degradation":
        return _around_level(model.network, seen)
    blocks = model.guides["content"]
    if part == "reference":
        blocks = model.guides["reference"]["decoder_level1"]

    def note(module: nn.Module, given: tuple[Any, ...], added: torch.Tensor) -> None:
        seen[part] = Blocks(_map(given[0]), _map(given[0] + added))

    return [blocks[-1].register_forward_hook(note)]


def _around_level(network: Any, seen: dict[str, Blocks]) -> list[Any]:
    """Of the encoder's first level: its blocks are no modules that are called, what stands around them is."""
    entered: list[np.ndarray] = []

    def enter(module: nn.Module, given: tuple[Any, ...], made: torch.Tensor) -> None:
        entered.append(_map(made))

    def leave(module: nn.Module, given: tuple[Any, ...]) -> None:
        seen["degradation"] = Blocks(entered[-1], _map(given[0]))

    return [
        network.patch_embed.register_forward_hook(enter),
        network.down1_2.register_forward_pre_hook(leave),
    ]


def _map(features: torch.Tensor) -> np.ndarray:
    return features[0].float().cpu().numpy()


def strength(features: np.ndarray) -> np.ndarray:
    """``(h,w)`` float: the norm over channels of ``(C,h,w)``, each channel without its mean over the map."""
    return np.linalg.norm(features - features.mean((1, 2), keepdims=True), axis=0)


@mpl.rc_context(PLAIN)
def feature_figure(
    maps: Mapping[str, Blocks], plan: RunPlan, pair: Pair | None = None, longest: int = 256
) -> Figure:
    """A line a part: strength of the maps before and after its block, and of what was added; the picture above.

    Before and after share one scale, what was added has its own (brighter is more).
    """
    shown = plan.task.picture(plan.task.read(pair or plan.test_pairs()[0]))
    first = [("degraded", shown["lq"]), ("sharp", shown["hq"])]
    lines = [[(title, _middle(image, longest)) for title, image in first]]
    for part, blocks in maps.items():
        before, after = strength(blocks.before), strength(blocks.after)
        added = strength(blocks.after - blocks.before)
        most = max(before.max(), after.max())
        line = [(f"{PLACES[part]}: before {part}", _as_grey(before, most))]
        line.append(("after", _as_grey(after, most)))
        line.append((f"added (change {blocks.change:.3f})", _as_grey(added, added.max())))
        lines.append(line)
    return side_by_side(lines)


def _middle(image: np.ndarray, longest: int) -> np.ndarray:
    """What ``batch_of`` cuts out of a picture."""
    height, width = image.shape[:2]
    high, wide = min(height, longest), min(width, longest)
    top, left = (height - high) // 2, (width - wide) // 2
    return image[top : top + high, left : left + wide]


def _as_grey(values: np.ndarray, most: float) -> np.ndarray:
    """``(h,w)`` uint8; 255: ``most``."""
    levels = 255 * values / max(float(most), 1e-12)
    return np.clip(levels, 0, 255).astype(np.uint8)


def feature_table(maps: Mapping[str, Blocks]) -> pd.DataFrame:
    """A line a part: where its maps are, and how much its block changes them (norm of the change over the norm before)."""
    rows = {}
    for part, blocks in maps.items():
        rows[part] = {"maps": PLACES[part], "change": blocks.change}
    return pd.DataFrame.from_dict(rows, orient="index")


# ---------------------------------------------------------------- Figure 12


@dataclass(frozen=True)
class Likeness:
    """Cosines of a provider's vectors ``(n,n)``: of picture i's reference and picture j's truth; and ``inputs`` ``(n,)``: of
    each degraded picture and its own truth. names, scenes: of the pictures ``(n,)``."""

    cosines: np.ndarray
    inputs: np.ndarray
    names: np.ndarray
    scenes: np.ndarray


def likeness(
    plan: RunPlan, provider: dict[str, Any], dataset: str = "", count: int = 100
) -> Likeness:
    """Figure 12: how like its truth each test picture's reference is, by a provider's vector.

    provider: a prior of the kind vector with its settings, as ``params.yaml`` names one. dataset: one set; "" is the first.
    count: pictures, the first whose scenes differ. Raises BenchError for a run that reads no reference, another set, or a
    provider of another kind.
    """
    check_run(plan, "reference")
    module, config = configure("priors", provider, "provider")
    if module.KIND != "vector":
        raise BenchError(f"provider: {provider['name']} is of kind {module.KIND}; expected vector")
    pairs = _of_set(plan, dataset)[:count]
    if len(pairs) < 2:
        raise BenchError(
            f"runs.{plan.key}: {len(pairs)} scene in the set; a likeness needs another picture to be compared with"
        )
    give = module.open(config, str(device_at_hand()))
    references, truths, inputs = [], [], []
    for pair in progress(pairs, f"look at {pairs[0].dataset}", total=len(pairs)):
        seen = plan.task.picture(plan.task.read(pair))
        references.append(unit(give(_reference(plan, pair, seen["lq"].shape)).values))
        truths.append(unit(give(seen["hq"]).values))
        inputs.append(float(unit(give(seen["lq"]).values) @ truths[-1]))
    return Likeness(
        cosines=np.stack(references) @ np.stack(truths).T,
        inputs=np.array(inputs),
        names=np.array([pair.image for pair in pairs]),
        scenes=np.array([pair.scene or pair.key for pair in pairs]),
    )


def _of_set(plan: RunPlan, dataset: str) -> list[Pair]:
    """The pairs of one test set, one of each scene."""
    pairs = plan.test_pairs()
    known = list(dict.fromkeys(pair.dataset for pair in pairs))
    if dataset and dataset not in known:
        raise BenchError(f"runs.{plan.key}: no test set {dataset}; may be {', '.join(known)}")
    by_scene: dict[str, Pair] = {}
    for pair in pairs:
        if pair.dataset == (dataset or known[0]):
            by_scene.setdefault(pair.scene or pair.key, pair)
    return list(by_scene.values())


def _reference(plan: RunPlan, pair: Pair, shape: tuple[int, ...]) -> np.ndarray:
    """The reference picture that the run reads of an image."""
    prior = plan.test_prior
    for part in prior.parts:
        if part.name == "reference":
            stored: Picture = prior.load_part(part, pair.dataset, pair.image, (shape[0], shape[1]))
            return stored.pixels
    raise BenchError(f"runs.{plan.key}: its prior has no part reference")


@mpl.rc_context(PLAIN)
def likeness_figure(found: Likeness) -> Figure:
    """Figure 12: the cosines as a heat map; a reference that is like its own truth has a bright diagonal."""
    figure, axis = plt.subplots(figsize=(4.6, 4), layout="constrained")
    image = axis.imshow(found.cosines, cmap="magma")
    axis.set_xlabel("truth of picture")
    axis.set_ylabel("reference of picture")
    figure.colorbar(image, label="cosine")
    plt.close(figure)
    return figure


def likeness_table(found: Likeness) -> pd.DataFrame:
    """What the diagonal is worth, means over pictures, a line a statement; of ``more`` with its 95 % interval.

    own: cosine of a truth and its own reference. another: and another picture's reference (the mean of all others), the
    chance level. more: own minus another. degraded: cosine of the truth and the degraded picture, which a reference has to
    beat to bring anything new to a network that sees that picture. first: the share of references that are more like their
    own truth than like any other; by chance: of pictures drawn at random.
    """
    own = np.diag(found.cosines)
    count = len(own)
    another = (found.cosines.sum(0) - own) / (count - 1)
    more = own - another
    low, high = interval(more[:, None])
    first = found.cosines.argmax(1) == np.arange(count)
    means = {
        "own": own.mean(),
        "another": another.mean(),
        "more": more.mean(),
        "degraded": found.inputs.mean(),
        "first": first.mean(),
        "first, by chance": 1 / count,
    }
    table = pd.DataFrame({"mean": means, "low": {"more": low}, "high": {"more": high}})
    return table.reindex(list(means)).assign(pictures=count)
