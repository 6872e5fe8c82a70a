"""Unpacked images and priors: the same crops bit for bit, whoever fills the folder and whatever
ends it.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import shutil
import signal
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_params, write_params
from many_pairs import many_pairs
from test_kinds import EXAMPLES

from benchlib import registry
from benchlib.conformance.kinds import expect_equal, fields_of
from benchlib.contracts import BenchError
from benchlib.files import sha256
from benchlib.imageio import write_lq, write_png
from benchlib.params import load_params
from benchlib.plan import open_run
from benchlib.priors._read import Part, PriorSet
from benchlib.priors.kinds import masks
from benchlib.records import Pair, write_json
from benchlib.report import speed
from benchlib.train import data, unpacked
from benchlib.train.data import Crops, crops_of, unpack
from benchlib.train.record import train
from benchlib.train.unpacked import Unpacked

SIDE = 16
SIZES = ((24, 33), (40, 17), (16, 16))  # of lq
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def some_pairs(folder: Path, scale: int = 1, noise: bool = False) -> list[Pair]:
    """Pairs of several sizes; hq is up to a pixel too large, as before MATLAB's modcrop."""
    pairs = []
    for i, (height, width) in enumerate(SIZES):
        rng = np.random.default_rng(i)
        lq = rng.integers(0, 256, (height, width, 3), np.uint8)
        if noise:
            lq = rng.normal(0.5, 0.4, lq.shape).astype(np.float32)
        hq = rng.integers(0, 256, (scale * height + scale - 1, scale * width, 3), np.uint8)
        file = write_lq(folder / f"lq{i}", lq)
        write_png(folder / f"hq{i}.png", hq)
        digests = (sha256(file), sha256(folder / f"hq{i}.png"))
        pairs.append(Pair("set", f"i{i}", file, folder / f"hq{i}.png", f"s{i}", digests))
    return pairs


def some_prior(folder: Path, kind: str, swap: str | None = None, needs: tuple = ()) -> PriorSet:
    """A prior of each of those pairs."""
    module, records = registry.load("priors/kinds", kind), []
    for i, size in enumerate(SIZES):
        module.save(folder / "set" / f"i{i}.npz", EXAMPLES[kind].make(*size, i))
        records.append({"dataset": "set", "image": f"i{i}", "scene": f"s{i}"})
    write_json(folder / "prior.json", {"images": records})
    return PriorSet((Part("", kind, folder),), needs or module.ENTRIES, swap)


NO_PRIOR = PriorSet((), ())


def both(folder: Path, pairs: list[Pair], prior: PriorSet = NO_PRIOR) -> tuple[Crops, Crops]:
    """The same crops, read from their files each time, and mapped."""
    plain = Crops("image", pairs, prior, SIDE, seed=3, keep=0)
    return plain, Crops("image", pairs, prior, SIDE, 3, unpacked=Unpacked(folder / "unpacked"))


def expect_same(plain: Crops, mapped: Crops, count: int = 9) -> None:
    """Bit for bit, what is read and the batch that is made of it: filling the folder, then full."""
    for _ in range(2):
        ours = [mapped[n] for n in range(count)]
        theirs = [plain[n] for n in range(count)]
        for name, value in plain.collate(theirs).items():
            other = mapped.collate(ours)[name]
            assert other.dtype == value.dtype and torch.equal(other, value)
        for one, other in zip(theirs, ours, strict=True):
            assert one["prior"].keys() == other["prior"].keys()


def files(folder: Path) -> list[Path]:
    """Those that have their name: a process that is killed may leave a ``.new-`` one."""
    return sorted((folder / "unpacked").rglob("[!.]*.npy"))


@pytest.mark.parametrize(("scale", "noise"), [(1, False), (1, True), (2, False), (3, True)])
def test_crops_of_every_kind_of_image_are_the_same_bit_for_bit(tmp_path, scale, noise):
    plain, mapped = both(tmp_path, some_pairs(tmp_path, scale, noise))
    expect_same(plain, mapped)
    assert len(files(tmp_path)) == len(SIZES)


@pytest.mark.parametrize("swap", [None, "zeroed", "shuffled"])
@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "none"])
def test_crops_of_every_kind_of_prior_are_the_same_bit_for_bit(tmp_path, kind, swap):
    prior = some_prior(tmp_path / "prior", kind, swap)
    plain, mapped = both(tmp_path, some_pairs(tmp_path), prior)
    expect_same(plain, mapped)
    assert len(files(tmp_path)) == 2 * len(SIZES)


@pytest.mark.parametrize("swap", [None, "zeroed", "shuffled"])
def test_planes_of_bits_are_read_where_the_method_reads_them_alone(tmp_path, swap, monkeypatch):
    read: list[str] = []
    real = masks._arrays.load_arrays

    def load_arrays(path: Path, names: list[str], what: str) -> dict[str, np.ndarray]:
        read.extend(names)
        return real(path, names, what)

    everything = some_prior(tmp_path / "prior", "masks", swap)
    labels = some_prior(tmp_path / "prior", "masks", swap, needs=("labels",))
    pairs = some_pairs(tmp_path)
    all_of_it, _ = both(tmp_path, pairs, everything)
    expected = all_of_it.collate([all_of_it[n] for n in range(5)])["labels"]
    facts = [everything.facts(everything.load("set", "i0", SIZES[0]))]
    monkeypatch.setattr(masks._arrays, "load_arrays", load_arrays)
    plain, mapped = both(tmp_path, pairs, labels)
    assert torch.equal(plain.collate([plain[n] for n in range(5)])["labels"], expected)
    expect_same(plain, mapped)
    assert ("bits" in read) == (swap == "shuffled")  # what is resized needs all masks
    assert facts == [labels.facts(labels.load("set", "i0", SIZES[0]))]


def test_a_part_of_a_bundle_is_asked_for_its_own_entries(tmp_path):
    parts = (Part("a", "masks", tmp_path), Part("b", "masks", tmp_path))
    prior = PriorSet(parts, ("a.bits", "b.labels"))
    assert [prior.entries(part) for part in parts] == [{"bits"}, {"labels"}]


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "none"])
def test_what_is_mapped_has_the_types_of_what_was_written(tmp_path, kind):
    stored = EXAMPLES[kind].make(24, 33, 0)
    module = registry.load("priors/kinds", kind)
    unpacked.write(tmp_path / "a.npy", module, stored)
    mapped = unpacked._mapped(tmp_path / "a.npy", module)
    assert type(mapped) is type(stored)
    expect_equal(fields_of(mapped), fields_of(stored), kind)


def test_arrays_are_mapped_and_neither_file_nor_picture_can_be_written_through_them(tmp_path):
    write_png(tmp_path / "lq.png", np.zeros((200, 200, 3), np.uint8))
    pair = Pair("set", "a", tmp_path / "lq.png", tmp_path / "lq.png")
    _, mapped = both(tmp_path, [pair])
    mapped[0]
    item = mapped._open(0)[0]
    owner = item.lq
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, mmap.mmap)
    before = files(tmp_path)[0].read_bytes()
    item.lq[:] = 9
    assert files(tmp_path)[0].read_bytes() == before


# --- what a file is found by ----------------------------------------------------------------------


def test_an_image_that_changed_under_its_name_is_another_file(tmp_path):
    pairs = some_pairs(tmp_path)
    expect_same(*both(tmp_path, pairs))
    white = np.full((*SIZES[0], 3), 255, np.uint8)
    write_png(pairs[0].lq, white)
    write_png(pairs[0].hq, white)
    digest = sha256(pairs[0].lq)
    changed = Pair("set", "i0", pairs[0].lq, pairs[0].hq, "s0", (digest, digest))
    plain, mapped = both(tmp_path, [changed, *pairs[1:]])
    expect_same(plain, mapped)
    assert mapped._open(0)[0].lq.min() == 255
    assert len(files(tmp_path)) == len(SIZES) + 1


def test_an_image_that_is_not_its_manifest_s_is_refused_not_kept_under_another_s_name(tmp_path):
    pairs = some_pairs(tmp_path)
    write_png(pairs[0].lq, np.zeros((*SIZES[0], 3), np.uint8))
    _, mapped = both(tmp_path, pairs)
    with pytest.raises(BenchError, match=r"lq0\.png: changed since the fetch stage.*dvc repro -f"):
        mapped._open(0)
    assert not files(tmp_path)


def test_without_digests_in_a_manifest_the_files_themselves_are_asked(tmp_path):
    pairs = []
    for pair in some_pairs(tmp_path):
        pairs.append(Pair(pair.dataset, pair.image, pair.lq, pair.hq, pair.scene))
    expect_same(*both(tmp_path, pairs))
    write_png(pairs[0].lq, np.zeros((*SIZES[0], 3), np.uint8))
    expect_same(*both(tmp_path, pairs))
    assert len(files(tmp_path)) == len(SIZES) + 1


@pytest.mark.parametrize("file", ["imageio.py", "tasks/image.py"])
def test_another_version_of_what_reads_an_image_is_another_file(tmp_path, monkeypatch, file):
    pairs = some_pairs(tmp_path)
    expect_same(*both(tmp_path, pairs))
    real = registry.version
    monkeypatch.setattr(registry, "version", lambda name: real(name) + (name == file))
    unpacked._code.cache_clear()
    expect_same(*both(tmp_path, pairs))
    unpacked._code.cache_clear()
    assert len(files(tmp_path)) == 2 * len(SIZES)


def test_another_prior_and_another_control_are_other_files_of_the_same_images(tmp_path):
    pairs = some_pairs(tmp_path)
    prior = some_prior(tmp_path / "prior", "masks", needs=("labels",))
    expect_same(*both(tmp_path, pairs, prior))
    for i, size in enumerate(SIZES):
        masks.save(tmp_path / "prior" / "set" / f"i{i}.npz", EXAMPLES["masks"].make(*size, i + 7))
    expect_same(*both(tmp_path, pairs, prior))
    expect_same(*both(tmp_path, pairs, prior.swapped("zeroed")))
    assert len(files(tmp_path)) == 4 * len(SIZES)


def test_a_missing_image_or_prior_is_told_as_without_unpacking(tmp_path):
    prior = some_prior(tmp_path / "prior", "masks")
    (tmp_path / "prior" / "set" / "i1.npz").unlink()
    pairs = some_pairs(tmp_path)
    pairs[2].lq.unlink()
    plain, mapped = both(tmp_path, pairs, prior)
    for index in (1, 2):
        with pytest.raises(BenchError) as expected:
            plain._open(index)
        with pytest.raises(BenchError) as told:
            mapped._open(index)
        assert str(told.value) == str(expected.value)


# --- what ends it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 9, 100, 1000, -1])
def test_a_file_that_is_cut_off_is_made_again(tmp_path, left):
    plain, mapped = both(tmp_path, some_pairs(tmp_path))
    expect_same(plain, mapped)
    for file in files(tmp_path):
        os.truncate(file, left if left >= 0 else file.stat().st_size - 1)
    expect_same(plain, mapped)


def test_what_is_removed_meanwhile_is_made_again(tmp_path):
    plain, mapped = both(tmp_path, some_pairs(tmp_path))
    expect_same(plain, mapped)
    for file in files(tmp_path):
        file.unlink()
    expect_same(plain, mapped)


@pytest.fixture
def slow_disk(monkeypatch) -> None:
    """Each file takes its time between its last byte and its name."""
    monkeypatch.setattr(unpacked.os, "fsync", lambda file: time.sleep(0.02))


def fill(crops: Crops, rounds: int) -> None:
    """What a loading process does."""
    for n in range(rounds * len(crops.pairs)):
        crops[n]


@posix
def test_a_process_killed_while_it_unpacks_leaves_whole_files_and_the_next_goes_on(
    tmp_path, slow_disk
):
    """Killed several times: each file that is there then is whole, and is not made again."""
    pairs = some_pairs(tmp_path)
    many = []
    for i in range(60):
        many.append(Pair("set", f"i{i}", pairs[0].lq, tmp_path / f"hq{i}.png"))
        write_png(many[i].hq, np.full((*SIZES[0], 3), i, np.uint8))
    plain, mapped = both(tmp_path, many)
    context = multiprocessing.get_context("fork")
    seen: dict[Path, int] = {}
    while len(seen) < 10:
        process = context.Process(target=fill, args=(mapped, 1))
        process.start()
        until = len(seen) + 3
        while len(files(tmp_path)) < until and process.is_alive():
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for file in files(tmp_path):
            assert unpacked._mapped(file, registry.load("tasks", "image")) is not None
            assert seen.setdefault(file, file.stat().st_ino) == file.stat().st_ino
    assert len(seen) < len(many)
    expect_same(plain, mapped, count=len(many))
    for file, inode in seen.items():
        assert file.stat().st_ino == inode


@posix
def test_several_processes_fill_one_folder_at_the_same_time(tmp_path, slow_disk):
    pairs = some_pairs(tmp_path)
    prior = some_prior(tmp_path / "prior", "masks")
    plain, mapped = both(tmp_path, pairs, prior)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(mapped, 3)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(files(tmp_path)) == 2 * len(SIZES)
    assert not list((tmp_path / "unpacked").rglob(".new-*"))
    expect_same(plain, mapped)


def test_a_full_disk_is_told_once_and_the_crops_go_on(tmp_path, monkeypatch, capsys):
    def refused(*_: Any) -> None:
        raise BenchError("work: the disk is full; make room on it")

    plain, mapped = both(tmp_path, some_pairs(tmp_path))
    mapped[0]
    monkeypatch.setattr(unpacked, "write", refused)
    expect_same(plain, mapped)
    assert capsys.readouterr().err.count("training: no more is unpacked") == 1
    assert not mapped.unpacked.writes
    assert len(mapped._kept) == len(SIZES)  # from now on, memory is used again


def test_what_is_no_dataclass_of_arrays_is_told_and_the_crops_go_on(tmp_path, monkeypatch, capsys):
    module = types.SimpleNamespace(__name__="x")
    store = Unpacked(tmp_path)
    assert store._found(tmp_path / "a.npy", module, lambda: [1, 2]) == [1, 2]
    assert "x: list: expected a dataclass of that file" in capsys.readouterr().err


# --- when -----------------------------------------------------------------------------------------


def chosen(small, monkeypatch, keep: int, **training: Any) -> Unpacked | None:
    """Whether the small suite's run ``map`` unpacks, with ``keep`` bytes of memory."""
    monkeypatch.setattr(data, "KEPT", keep)
    params = small_params()
    params["training"] |= training
    suite = load_params(write_params(small.folder, params))
    plan = open_run(suite, "map")
    return unpack(crops_of(plan), plan, plan.budget).unpacked


def test_it_is_done_where_pairs_do_not_fit_and_are_opened_twice(small, monkeypatch, capsys):
    plan = open_run(small, "map")
    one = data.estimate(crops_of(plan))
    assert chosen(small, monkeypatch, one) is None
    assert chosen(small, monkeypatch, one, workers=1) is None
    assert chosen(small, monkeypatch, one, workers=2) is not None  # each would keep its own
    assert chosen(small, monkeypatch, one - 1) is not None
    assert chosen(small, monkeypatch, one - 1, iterations=1) is None  # two crops of two pairs
    assert chosen(small, monkeypatch, one - 1, unpack="never") is None
    assert chosen(small, monkeypatch, one, unpack="always") is not None
    assert "training: 2 pairs take 0.0 GiB decoded" in capsys.readouterr().out


def test_too_small_a_disk_is_told_before_the_work_and_refused_where_it_must_be(
    small, monkeypatch, capsys
):
    usage = types.SimpleNamespace(free=unpacked.SPARE)
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda place: usage)
    assert chosen(small, monkeypatch, 0) is None
    assert "so images are decoded each time, which is slower" in capsys.readouterr().out
    with pytest.raises(BenchError, match=r"are free .*; make room, or set training\.unpack: never"):
        chosen(small, monkeypatch, 0, unpack="always")


def test_what_is_unpacked_already_needs_no_room(small, monkeypatch, capsys):
    monkeypatch.setattr(data, "KEPT", 0)
    plan = open_run(small, "map")
    crops = unpack(crops_of(plan), plan, plan.budget)
    assert data._missing(crops, crops.unpacked) == 1
    for n in range(len(crops.pairs)):
        crops[n]
    usage = types.SimpleNamespace(free=unpacked.SPARE)
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda place: usage)
    assert data._missing(crops, crops.unpacked) == 0
    assert unpack(crops_of(plan), plan, plan.budget).unpacked is not None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_is_the_same_bit_for_bit_and_its_record_too(small, monkeypatch, workers):
    made = []
    for how in ("never", "always", "always"):
        params = small_params()
        params["training"] |= {"unpack": how, "workers": workers}
        suite = load_params(write_params(small.folder, params))
        shutil.rmtree(small.work / ".resume", ignore_errors=True)  # else it is taken over
        record = train(open_run(suite, "map"))
        made.append((record["weights"], record["training"]))
    assert made[0] == made[1] == made[2]
    assert "unpack" not in made[0][1]
    found = list((small.work.parent / ".unpacked").rglob("*.npy"))
    assert len(found) == 3  # two pairs; their masks are the same, and so one file


def test_speed_tells_each_way_of_keeping_pairs(tmp_path):
    suite = many_pairs(tmp_path, 5, (48, 64), crop=32)
    table = speed.loader(open_run(suite, "map"), workers=0, count=10)
    assert table["crops"].to_list() == [5, 7, 5, 7]  # in batches of 8: five are opened first
    assert (table["a second"] > 0).all()
