"""Task video: frames know their clips; windows and whole clips are trained on and restored."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_inputs, run, write_params
from video_suite import BASICVSR, EDVR, LENGTH, clips_suite

from benchlib.backbones import basicvsr
from benchlib.checks import check_choices
from benchlib.conformance._network import moved
from benchlib.contracts import BenchError, Frames
from benchlib.evaluate import evaluate
from benchlib.finished import share_of
from benchlib.imageio import quantise, read_image, to_unit, write_png
from benchlib.methods import none
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.priors._read import PriorSet
from benchlib.records import Pair, read_rows, read_table
from benchlib.report import cost, show
from benchlib.restore import KeptFrames, Truncated, build_model, restore
from benchlib.tasks import image, video
from benchlib.train.data import crops_of
from benchlib.train.losses import LOSSES
from benchlib.train.record import train

CPU = torch.device("cpu")
IMDN = {"name": "imdn", "modules": 2}  # sees one frame


def frames_of(lengths: dict[str, int], dataset: str = "set") -> list[Pair]:
    """The frames of some clips, as a manifest lists them."""
    found = []
    for scene, length in lengths.items():
        for frame in range(length):
            file = Path(f"{scene}-{frame}.png")
            found.append(Pair(dataset, f"{scene}-{frame}", file, file, scene))
    return found


@pytest.fixture
def clips(tmp_path):
    return clips_suite(tmp_path, {"edvr": EDVR, "basicvsr": BASICVSR, "imdn": IMDN})


def changed(suite, **runs):
    """The suite's file with other runs, read and checked."""
    path = suite.folder / "params.yaml"
    params = suite.model_dump(mode="json") | {"runs": runs}
    changed = load_params(write_params(suite.folder, params))
    check_choices(changed, path)


# --- clips and windows ----------------------------------------------------------------------------


def test_lines_of_one_source_that_follow_each_other_are_a_clip():
    pairs = frames_of({"a": 2, "b": 3, "": 2}) + frames_of({"b": 1}, "other")
    found = video.in_clips(pairs)
    assert found == pairs
    assert [len(pair.clip) for pair in found] == [2, 2, 3, 3, 3, 0, 0, 1]
    assert [pair.place for pair in found] == [0, 1, 0, 1, 2, 0, 0, 0]
    assert [pair.image for pair in found[3].clip] == ["b-0", "b-1", "b-2"]
    assert video.clip_of(found[5]) == (found[5],)


@pytest.mark.parametrize(
    ("padding", "windows"),
    [
        ("replicate", [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [3, 4, 5, 6, 6], [4, 5, 6, 6, 6]]),
        ("reflection", [[2, 1, 0, 1, 2], [1, 0, 1, 2, 3], [3, 4, 5, 6, 5], [4, 5, 6, 5, 4]]),
        ("reflection_circle", [[4, 3, 0, 1, 2], [4, 0, 1, 2, 3], [3, 4, 5, 6, 2], [4, 5, 6, 3, 2]]),
        ("circle", [[3, 4, 0, 1, 2], [4, 0, 1, 2, 3], [3, 4, 5, 6, 2], [4, 5, 6, 2, 3]]),
    ],
)
def test_windows_at_a_clips_ends_are_basicsrs(padding, windows):
    """What its ``generate_frame_indices`` gives of frames 0, 1, 5 and 6 of seven."""
    clip = video.in_clips(frames_of({"a": 7}))
    frames = Frames(window=5, trained=5, padding=padding)
    for at, expected in zip((0, 1, 5, 6), windows, strict=True):
        seen = video.window(clip[at], frames)
        assert [int(one.image.partition("-")[2]) for one in seen] == expected


def test_a_window_of_a_clip_that_is_too_short_stays_inside_it():
    for padding, length in itertools.product(
        ("replicate", "reflection", "reflection_circle", "circle"), (1, 2)
    ):
        clip = video.in_clips(frames_of({"a": length}))
        for pair in clip:
            seen = video.window(pair, Frames(window=5, trained=5, padding=padding))
            assert len(seen) == 5 and seen[2] == pair


def test_a_whole_clip_is_seen_from_each_of_its_frames():
    clip = video.in_clips(frames_of({"a": 4}))
    for pair in clip:
        assert video.window(pair, Frames(window=None, trained=2)) == clip


def test_crops_show_neighbours_or_what_chance_draws_near_an_end():
    clip, rng = video.in_clips(frames_of({"a": 7})), np.random.default_rng(0)
    around, onwards = Frames(window=5, trained=5), Frames(window=None, trained=4)
    assert video.drawn(clip[3], around, rng) == [1, 2, 3, 4, 5]
    assert video.drawn(clip[2], onwards, rng) == [2, 3, 4, 5]
    for frames, place, count in ((around, 0, 5), (around, 6, 5), (onwards, 6, 4)):
        firsts = set()
        for _ in range(40):
            seen = video.drawn(clip[place], frames, rng)
            assert seen == list(range(seen[0], seen[0] + count))
            firsts.add(seen[0])
        assert firsts == set(range(7 - count + 1))
    with pytest.raises(BenchError, match=r"set/a-0: its clip has 7 frames, too few for crops of 9"):
        video.drawn(clip[0], Frames(window=9, trained=9), rng)


def test_shards_take_whole_clips_and_images_one_by_one():
    clip = video.in_clips(frames_of({"a": 2, "b": 3, "c": 1}))
    assert [pair.scene for pair in share_of(clip, 0, 2)] == ["a", "a", "c"]
    assert [pair.scene for pair in share_of(clip, 1, 2)] == ["b"] * 3
    pairs = frames_of({"a": 2, "b": 3})
    assert share_of(pairs, 1, 2) == pairs[1::2]


# --- a suite --------------------------------------------------------------------------------------


def test_frames_of_a_clip_share_a_scene_that_no_other_clip_has(clips):
    make_inputs(clips)
    scenes = {}
    for key in clips.data:
        rows = read_table(clips.work / "data" / key / "manifest.csv")
        (scenes[key],) = {row["source"] for row in rows}
        assert [row["image"][-8:] for row in rows] == [f"{frame:08}" for frame in range(LENGTH)]
        assert {row["scale"] for row in rows} == {"4"}
    assert len(set(scenes.values())) == 3


def test_a_crop_is_one_place_in_several_frames(clips):
    make_inputs(clips)
    for key, middle in (("edvr", True), ("basicvsr", False)):
        plan = open_run(clips, key)
        crops = crops_of(plan)
        batch = crops.collate([crops[0], crops[1]])
        assert batch["lq"].shape == (2, 3, 3, 8, 8)
        assert batch["hq"].shape == ((2, 3, 32, 32) if middle else (2, 3, 3, 32, 32))
        again = crops_of(plan)[1]["item"]
        assert torch.equal(again["lq"], batch["lq"][1])
        lq, hq = to_unit(batch["lq"]), to_unit(batch["hq"])
        if not middle:
            hq = hq[:, 1]
        small = torch.nn.functional.avg_pool2d(hq, 4)
        assert (small - lq[:, 1]).abs().mean() < 0.03
        assert (small - lq[:, 0]).abs().mean() > (small - lq[:, 1]).abs().mean()


def test_networks_of_clips_and_of_images_are_trained_and_measured_frame_by_frame(clips):
    make_inputs(clips)
    for key in clips.runs:
        plan = open_run(clips, key)
        train(plan)
        rows = evaluate(plan)
        assert len(rows) == LENGTH
        assert show.crops(plan, 1).axes and show.restored(plan).axes
        restored = sorted(plan.places.restored.rglob("*.png"))
        assert len(restored) == LENGTH
        assert read_image(restored[0]).shape == (48, 64, 3)
    rows = read_rows(clips)
    assert rows.groupby("run")["scene"].nunique().tolist() == [1, 1, 1]
    assert np.isfinite(rows["value"]).all()
    losses = read_table(open_run(clips, "basicvsr").places.loss)
    assert losses[-1]["validation_psnr"]


@pytest.mark.parametrize("truncate", [False, True])
def test_restored_frames_are_those_of_the_whole_clip_or_the_window(clips, truncate):
    make_inputs(clips)
    none = PriorSet((), ())
    for key in ("edvr", "basicvsr"):
        plan = open_run(clips, key)
        model = moved(build_model(plan))
        pairs = plan.test_pairs()
        clip = torch.stack([image.batch(image.read(pair))["lq"][0] for pair in pairs])[None]
        kept, network = KeptFrames(), Truncated(model) if truncate else model
        for pair in pairs:
            seen = clip
            if key == "edvr":
                at = {0: [2, 0, 1], 1: [0, 1, 2], 2: [1, 2, 3], 3: [2, 3, 1]}[pair.place]
                seen = clip[:, at]
            with torch.no_grad():
                expected = model({"lq": seen})[0]
            if key == "basicvsr":
                expected = expected[pair.place]
            if truncate:
                expected = (expected.clamp(0, 1) * 255).floor() / 255
            item = plan.task.read(pair)
            got = restore(plan, network, pair, item, none, CPU, plan.tiles, kept)
            assert np.array_equal(got, quantise(expected))


def test_a_clip_is_restored_once_and_a_frame_is_held_at_a_time(clips):
    make_inputs(clips)
    plan = open_run(clips, "basicvsr")
    torch.manual_seed(0)
    model = build_model(plan).eval()
    outputs = []
    model.register_forward_hook(lambda module, given, out: outputs.append(tuple(out.shape)))
    kept = KeptFrames()
    none = PriorSet((), ())
    for pair in plan.test_pairs():
        restore(plan, model, pair, plan.task.read(pair), none, CPU, plan.tiles, kept)
    assert outputs == [(1, LENGTH, 3, 0, 0)]


def test_a_frame_that_has_left_takes_no_memory(monkeypatch):
    """What the network gets in its place is no view of it: that would keep all frames."""
    network = basicvsr.build(basicvsr.Config(width=4, blocks=1)).eval()
    stack, held = torch.stack, []

    def watched(frames, dim=0):
        for frame in frames:
            if not frame.numel():
                held.append(frame.untyped_storage().nbytes())
        return stack(frames, dim)

    monkeypatch.setattr(torch, "stack", watched)
    model = none.NoPrior(network)
    clip = {"lq": torch.rand(1, 4, 3, 8, 8)}
    places: list[int] = []
    video.restore_clip(model, network.restored, clip, CPU, lambda at, _: places.append(at))
    assert places == [0, 1, 2, 3]
    assert held == [0] * 4


def test_losses_of_frames_are_means_over_frames():
    """Of five dimensions as of four: each frame is an image."""
    torch.manual_seed(0)
    restored, hq = torch.rand(2, 3, 3, 4, 5), torch.rand(2, 3, 3, 4, 5)
    for loss in LOSSES.values():
        whole = loss(restored, hq)
        assert torch.isclose(whole, loss(restored.flatten(0, 1), hq.flatten(0, 1)))
    expected = np.sqrt((restored.double() - hq.double()) ** 2 + 1e-12).mean()
    assert torch.isclose(LOSSES["charbonnier"](restored, hq).double(), expected)


def test_costs_of_a_clip_are_of_each_of_its_frames(clips):
    make_inputs(clips)
    plan = open_run(clips, "basicvsr")
    pair, frames = cost._short_clip(plan, plan.test_pairs()[-1])
    assert frames == 3 and [one.image for one in pair.clip] == [
        one.image for one in plan.test_pairs()[:3]
    ]
    assert cost._short_clip(open_run(clips, "edvr"), plan.test_pairs()[0])[1] == 1
    here = cost.cost(clips, "basicvsr")
    assert here["calls"] == 1 and here["seconds_per_megapixel"] > 0


def test_a_method_that_changes_images_after_the_network_is_refused():
    network = basicvsr.build(basicvsr.Config(width=4, blocks=1)).eval()

    class Changed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, batch):
            return torch.nn.functional.pad(self.network(batch["lq"]), (0, 1, 0, 1))

    with pytest.raises(BenchError, match="video: the method changes images after its network"):
        video.restore_clip(
            Changed(), network.restored, {"lq": torch.rand(1, 2, 3, 8, 8)}, CPU, lambda *_: None
        )
    assert not network.restored._forward_hooks


def test_what_cannot_see_clips_is_refused_before_any_work(clips):
    good = run({"name": "none"}, backbone=BASICVSR)
    changed(clips, basicvsr=good)
    with pytest.raises(BenchError, match=r"runs.x.method: got 'film', which knows single images"):
        changed(clips, x=good | {"method": {"name": "film"}})
    with pytest.raises(BenchError, match=r"evaluation.tile: got 64, but basicvsr restores clips w"):
        changed(clips, x=good | {"evaluation": {"tile": 64}})
    stills = clips.model_copy(update={"task": "image"})
    with pytest.raises(BenchError, match=r"got 'basicvsr', which reads clips, but the suite's t"):
        changed(stills, x=good)
    long = run({"name": "none"}, backbone=BASICVSR | {"trained": 9})
    make_inputs(clips)
    suite = load_params(
        write_params(clips.folder, clips.model_dump(mode="json") | {"runs": {"x": long}})
    )
    with pytest.raises(BenchError, match=r"its clip has 4 frames, too few for crops of 9"):
        crops_of(open_run(suite, "x"))


def test_frames_of_two_sizes_are_refused(tmp_path):
    pairs = []
    for number, width in enumerate((8, 9)):
        write_png(tmp_path / f"{number}.png", np.zeros((6, width, 3), np.uint8))
        pairs.append(Pair("a", str(number), tmp_path / f"{number}.png", tmp_path / "hq.png"))
    with pytest.raises(
        BenchError, match=r"1.png: 6x9 pixels, but .*0.png of the same clip has 6x8"
    ):
        video.together(pairs)
