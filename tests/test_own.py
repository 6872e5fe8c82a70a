"""One's own network or pictures as a run: random weights under official names, made by spandrel."""

from __future__ import annotations

import os
import pickle
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import add_file, make_inputs, run, small_params, write_params
from PIL import Image
from safetensors.torch import load_file, save_file, save_model
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.NAFNet import NAFNet
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

from benchlib.assets.weights import load_weights, save_weights
from benchlib.checks import check_choices
from benchlib.contracts import Backbone, BenchError, load_weights_into
from benchlib.evaluate import evaluate
from benchlib.imageio import quantise, read_image, to_tensor, write_png
from benchlib.methods import checkpoint, images
from benchlib.metrics import protocol
from benchlib.params import Suite, load_params
from benchlib.plan import open_run
from benchlib.prepare import make_weights
from benchlib.records import read_json, read_rows
from benchlib.report import cost, export, page, show, tables
from benchlib.restore import load_model
from benchlib.train.record import start_model, train

# --- networks and suites -------------------------------------------------------------------------


def nafnet() -> nn.Module:
    torch.manual_seed(1)
    network = NAFNet(
        img_channel=3, width=4, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]
    )
    return moved(network)


def swinir() -> nn.Module:
    torch.manual_seed(2)
    network = SwinIR(
        img_size=16,
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=4,
        mlp_ratio=2.0,
        upscale=2,
        upsampler="pixelshuffledirect",
    )
    return moved(network)


def rrdbnet() -> nn.Module:
    """Real-ESRGAN's network; spandrel keeps it under older names."""
    torch.manual_seed(3)
    return ESRGAN(num_filters=8, num_blocks=1, scale=4).eval()


def grey_network() -> nn.Module:
    torch.manual_seed(4)
    return DnCNN(in_nc=1, out_nc=1, nc=4, nb=17, act_mode="R").eval()


def moved(network: nn.Module) -> nn.Module:
    """Off its start, where such networks give the image back."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network.eval()


NEW_NAMES = (
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"model\.1\.sub\.\d+\.(weight|bias)", r"conv_body.\1"),
    (r"model\.3\.", "conv_up1."),
    (r"model\.6\.", "conv_up2."),
    (r"model\.8\.", "conv_hr."),
    (r"model\.10\.", "conv_last."),
)


def official(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict as the network's authors save it."""
    weights = {}
    for name, value in network.state_dict().items():
        if isinstance(network, ESRGAN):
            for old, new in NEW_NAMES:
                name = re.sub(f"^{old}", new, name)
        weights[name] = value.clone()
    return weights


def own_run(method: dict, **more) -> dict:
    """The least that a run of one's own says."""
    return {
        "method": method,
        "backbone": {"name": "none"},
        "images": {"train": "test", "test": "test"},
        "prior": {"train": "none", "test": "none"},
        "init": "weights/random",
    } | more


def picture(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def pairs_of(folder: Path, names: tuple[str, ...], scale: int = 1) -> None:
    """Pairs of odd sizes, each of its own."""
    for i, name in enumerate(names):
        height, width = 33 + 2 * i, 41
        write_png(folder / "lq" / f"{name}.png", picture(height, width, i))
        write_png(folder / "hq" / f"{name}.png", picture(scale * height, scale * width, i))


def suite_of(folder: Path, runs: dict, scale: int = 1, sets: dict | None = None) -> Suite:
    """A suite of test pairs alone, made; no training images."""
    params = small_params()
    params["data"], params["runs"] = {}, runs
    for name, images_of_it in (sets or {"a": ("one", "two")}).items():
        pairs_of(folder / f"pairs-{name}", images_of_it, scale)
        source = {"name": "folder", "path": f"pairs-{name}", "degrade": {"name": "none"}}
        params["data"][f"test/{name}"] = source
    params["priors"] = {"none": {"kind": "none", "images": "data/test", "prior": {"name": "none"}}}
    suite = load_params(write_params(folder, params))
    make_inputs(suite)
    return suite


def checked(suite: Suite) -> None:
    check_choices(suite, suite.folder / "params.yaml")


def evaluated(suite: Suite, key: str = "mine") -> list[dict]:
    plan = open_run(suite, key)
    train(plan)
    return evaluate(plan)


CHECKPOINT = {"name": "checkpoint", "file": "my.safetensors"}


def with_network(folder: Path, network: nn.Module, scale: int = 1, **more) -> Suite:
    save_file(official(network), folder / "my.safetensors")
    return suite_of(folder, {"mine": own_run(CHECKPOINT, **more)}, scale)


def opened(weights: object, file: Path) -> checkpoint.Opened:
    torch.save(weights, file)
    return checkpoint.opened(str(file))


def refusal(file: Path) -> str:
    with pytest.raises(BenchError) as error:
        checkpoint.opened(str(file))
    said = str(error.value)
    assert "\n" not in said and said.startswith(str(file))
    return said


# --- a network from a file -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name", "scale"),
    [(nafnet, "NAFNet", 1), (swinir, "SwinIR", 2), (rrdbnet, "ESRGAN", 4)],
)
def test_a_checkpoint_is_a_run(tmp_path, make, name, scale):
    """Its pictures are what the network alone makes, its record says what it is."""
    network = make()
    suite = with_network(tmp_path, network, scale)
    checked(suite)
    evaluated(suite)
    rows = read_rows(suite, ["mine"])
    assert set(rows["inference"]) == {"global"} and set(rows["seed"]) == {"0"}
    for stem in ("one", "two"):
        lq = to_tensor(read_image(tmp_path / "pairs-a" / "lq" / f"{stem}.png"))
        with torch.no_grad():
            expected = quantise(network(lq[None])[0])
        restored = read_image(suite.work / "restored" / "mine" / "a" / f"{stem}.png")
        assert np.abs(restored.astype(int) - expected).max() <= 1
        assert restored.std() > 1
        hq = read_image(tmp_path / "pairs-a" / "hq" / f"{stem}.png")
        (psnr,) = rows[(rows["image"] == stem) & (rows["metric"] == "PSNR")]["value"]
        assert psnr == pytest.approx(protocol("basicsr-rgb").psnr(restored, hq), abs=1e-5)
    record = read_json(suite.results / "records" / "mine.json")
    own = record["own"]
    assert (own["architecture"], own["scale"], own["channels"]) == (name, scale, 3)
    assert own["file"] == "my.safetensors" and len(own["file_sha256"]) == 64
    assert (own["taken"], own["left"]) == ([], [])
    assert record["parameters"] == sum(p.numel() for p in network.parameters())
    assert record["trained_parameters"] == 0 and record["train_seconds"] == 0
    assert show.crops(open_run(suite, "mine")) is None


def prefixed(weights: dict, prefix: str) -> dict:
    return {prefix + name: value for name, value in weights.items()}


WRAPPED = {
    "alone": (lambda w: w, []),
    "params_ema": (lambda w: {"params_ema": w}, ["params_ema"]),
    "params": (lambda w: {"params": w}, ["params"]),
    "state_dict": (lambda w: {"epoch": 3, "state_dict": w}, ["state_dict"]),
    "model": (lambda w: {"model": w, "optimizer": {"state": {0: {"m": w}}}}, ["model"]),
    "net_g": (lambda w: {"net_g": w}, ["net_g"]),
    "module": (lambda w: prefixed(w, "module."), ["module."]),
    "compiled": (lambda w: prefixed(w, "_orig_mod."), ["_orig_mod."]),
    "net": (lambda w: prefixed(w, "net."), ["net."]),
    "netG": (lambda w: prefixed(w, "netG."), ["netG."]),
    "both orders": (lambda w: prefixed(w, "module._orig_mod."), ["module.", "_orig_mod."]),
    "the other": (lambda w: prefixed(w, "_orig_mod.module."), ["_orig_mod.", "module."]),
    "lightning": (
        lambda w: {"state_dict": prefixed(w, "model.net."), "global_step": 7},
        ["state_dict", "model.", "net."],
    ),
    "nested": (
        lambda w: {"model": {"state_dict": {"params": prefixed(w, "module.netG.")}}},
        ["model", "state_dict", "params", "module.", "netG."],
    ),
    "averaged by torch": (
        lambda w: {"n_averaged": torch.tensor(7)} | prefixed(w, "module."),
        ["module."],
    ),
    "unknown single": (lambda w: {"best_of_all": w, "psnr": 31.5}, ["best_of_all"]),
}


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize(("make", "name"), [(nafnet, "NAFNet"), (rrdbnet, "ESRGAN")])
def test_wrappers_and_prefixes_are_taken_off(tmp_path, how, make, name):
    wrap, taken = WRAPPED[how]
    weights = official(make())
    found = opened(wrap(weights), tmp_path / "my.pth")
    assert found.network.architecture.name == name
    assert list(found.reading.taken) == taken
    assert same(found.reading.weights, weights)


def same(first: dict, second: dict) -> bool:
    names = first.keys() == second.keys()
    return names and all(torch.equal(first[name], second[name]) for name in first)


def test_averaged_weights_are_taken_and_that_the_others_lay_beside_is_said(tmp_path):
    weights, plain = official(nafnet()), official(nafnet())
    plain["intro.bias"] += 1
    for both in (
        {"params": plain, "params_ema": weights},
        {"params_ema": weights, "params": plain},
    ):
        found = opened(both, tmp_path / "my.pth")
        assert same(found.reading.weights, weights)
        assert (found.reading.taken, found.reading.left) == (("params_ema",), ("params",))


def test_names_that_a_network_itself_begins_with_stay(tmp_path):
    """ESRGAN's and DnCNN's own names begin with ``model.``."""
    for network in (rrdbnet(), grey_network()):
        weights = network.state_dict()
        assert all(name.startswith("model.") for name in weights)
        found = opened({"params": prefixed(weights, "net.")}, tmp_path / "my.pth")
        assert found.reading.taken == ("params", "net.")
        assert same(found.reading.weights, weights)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_every_kind_of_file_is_read(tmp_path, suffix):
    file = tmp_path / f"my{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(official(nafnet()), file)
    assert checkpoint.opened(str(file)).network.architecture.name == "NAFNet"


def test_half_precision_is_restored_in_full(tmp_path):
    weights = {name: value.half() for name, value in official(nafnet()).items()}
    torch.save(weights, tmp_path / "my.pth")
    model = checkpoint.build(None, checkpoint.Config(str(tmp_path / "my.pth")))
    restored = model({"lq": torch.rand(1, 3, 16, 16)})
    assert restored.dtype == torch.float32
    assert torch.equal(model.network.intro.weight, weights["intro.weight"].float())


def test_a_grey_network_restores_each_colour_by_itself(tmp_path):
    network = grey_network()
    torch.save(network.state_dict(), tmp_path / "my.pth")
    model = checkpoint.build(None, checkpoint.Config(str(tmp_path / "my.pth")))
    lq = torch.rand(2, 3, 17, 20)
    restored = model({"lq": lq})
    assert restored.shape == lq.shape
    for image in range(2):
        for colour in range(3):
            with torch.no_grad():
                expected = network(lq[image : image + 1, colour : colour + 1]).clamp(0, 1)
            got = restored[image : image + 1, colour : colour + 1]
            assert torch.allclose(got, expected, atol=1e-6)
    facts = checkpoint.facts(checkpoint.Config(str(tmp_path / "my.pth")))
    assert (facts["channels"], facts["architecture"]) == (1, "DnCNN")


def test_a_size_that_the_network_cannot_take_is_filled_up_and_cut(tmp_path):
    """Real-ESRGAN x2 folds 2x2 pixels first: spandrel asks for multiples of four."""
    torch.manual_seed(5)
    network = ESRGAN(in_nc=12, num_filters=8, num_blocks=1, scale=4, shuffle_factor=2)
    torch.save(network.state_dict(), tmp_path / "my.pth")
    model = checkpoint.build(None, checkpoint.Config(str(tmp_path / "my.pth")))
    for size in ((9, 14), (1, 3), (8, 8)):
        assert model({"lq": torch.rand(1, 3, *size)}).shape == (1, 3, 2 * size[0], 2 * size[1])


def test_a_network_of_another_scale_than_the_pairs_is_refused_before_work(tmp_path):
    suite = with_network(tmp_path, nafnet(), scale=2)
    said = r"runs.mine.method: NAFNet enlarges 1 times, but the pairs of test/a ask for 2 \(one\)"
    with pytest.raises(BenchError, match=said):
        train(open_run(suite, "mine"))
    assert not (suite.work / "runs" / "mine").exists()


def test_tiles_are_cut_and_that_the_network_should_see_all_is_said(tmp_path, capsys):
    suite = with_network(tmp_path, swinir(), 2, evaluation={"tile": 64, "overlap": 8})
    for side, times in (("lq", 1), ("hq", 2)):
        file = suite.work / "data" / "test" / "a" / side / "one.png"
        write_png(file, picture(times * 70, times * 80, 0))
    evaluated(suite)
    rows = read_rows(suite, ["mine"])
    assert set(rows[rows["image"] == "one"]["inference"]) == {"global+tile64/8"}
    assert set(rows[rows["image"] == "two"]["inference"]) == {"global"}
    said = "images of over 64 pixels are restored in tiles"
    assert said in capsys.readouterr().out
    assert read_json(suite.results / "records" / "mine.json")["own"]["tiling"] == "discouraged"


def test_a_file_that_changed_since_its_train_stage_is_refused(tmp_path):
    suite = with_network(tmp_path, nafnet())
    plan = open_run(suite, "mine")
    train(plan)
    other = official(nafnet())
    other["intro.bias"] += 1
    save_file(other, tmp_path / "my.safetensors")
    with pytest.raises(
        BenchError, match=r"has changed since .*dvc repro -f -s train@mine"
    ) as error:
        evaluate(plan)
    assert "\n" not in str(error.value)
    (tmp_path / "my.safetensors").unlink()
    with pytest.raises(BenchError, match=r"my\.safetensors: no such file.*runs\.mine"):
        evaluate(plan)


def test_a_run_that_trains_may_start_from_it(tmp_path):
    network = {"name": "nafnet", "width": 4, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]}
    start = {"backbone": network, "init": "runs/mine"}
    save_file(official(nafnet()), tmp_path / "my.safetensors")
    runs = {"mine": own_run(CHECKPOINT), "tuned": own_run({"name": "none"}, **start)}
    suite = suite_of(tmp_path, runs)
    checked(suite)
    train(open_run(suite, "mine"))
    started = start_model(open_run(suite, "tuned"), 0).network.state_dict()
    assert same(started, official(nafnet()))


def test_a_file_below_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save_file(official(nafnet()), tmp_path / "home" / "my.safetensors")
    method = {"name": "checkpoint", "file": "~/my.safetensors"}
    suite = suite_of(tmp_path, {"mine": own_run(method)})
    checked(suite)
    assert train(open_run(suite, "mine"))["own"]["file"] == "my.safetensors"
    suite.runs["mine"].method["file"] = "~nobody-of-that-name/my.pth"
    with pytest.raises(BenchError, match="no such user's home"):
        checked(suite)


# --- what is refused -----------------------------------------------------------------------------


class Bomb:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_bomb_is_refused_and_does_nothing(tmp_path):
    mark, file = tmp_path / "exploded", tmp_path / "my.pth"
    torch.save({"params": official(nafnet()), "bomb": Bomb(mark)}, file)
    assert "refused, it is no plain dict of tensors" in refusal(file)
    file.write_bytes(pickle.dumps(Bomb(mark)))
    refusal(file)
    assert not mark.exists()


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    file = tmp_path / "my.pth"
    assert "no such file" in refusal(file)
    assert "a folder" in refusal(tmp_path)
    torch.save(official(nafnet()), file)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x03\x04" + bytes(100), b"<!doctype html>"):
        file.write_bytes(damaged)
        refusal(file)
    endless: dict = {"w": torch.ones(2)}
    endless["params"] = endless
    alone = {"n_averaged": torch.ones(1)}
    for content in (
        endless,
        alone,
        {},
        [1, 2],
        {"epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}},
    ):
        torch.save(content, file)
        refusal(file)
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(str(file))
    said = refusal(file)
    assert "TorchScript" in said and "weights_only" not in said
    other = tmp_path / "my.onnx"
    other.write_bytes(b"onnx")
    assert "expected weights that end with" in refusal(other)


def test_weights_of_no_known_network_show_what_they_look_like(tmp_path):
    file = tmp_path / "my.pth"
    torch.save(
        {"params": {"stem.weight": torch.ones(4, 3, 3, 3), "stem.bias": torch.ones(4)}}, file
    )
    said = refusal(file)
    assert "knows no network of its 2 tensors (stem.weight, stem.bias)" in said
    classifier = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10))
    torch.save({"state_dict": prefixed(classifier.state_dict(), "module.")}, file)
    assert "it ends in 10 numbers, as a classifier does" in refusal(file)


def test_a_known_network_with_other_weights_is_refused_by_its_name(tmp_path):
    file = tmp_path / "my.pth"
    weights = official(nafnet())
    weights["ending.weight"] = torch.ones(5, 5, 3, 3)
    torch.save(weights, file)
    assert "its names are those of NAFNet" in refusal(file)
    weights = official(nafnet())
    weights["intro.bias"][0] = float("nan")
    torch.save(weights, file)
    assert "'intro.bias' holds values that are not finite" in refusal(file)
    torch.save(
        NAFNet(img_channel=4, width=4, enc_blk_nums=[1], dec_blk_nums=[1]).state_dict(), file
    )
    assert "takes 4 channels and gives 4" in refusal(file)
    torch.save({"a": official(nafnet()), "b": official(nafnet())}, file)
    assert "several networks (a, b)" in refusal(file)


REFUSED = {
    "a backbone beside": (
        own_run(CHECKPOINT, backbone={"name": "nafnet"}),
        r"runs.mine.backbone: got 'nafnet', but method checkpoint brings its own network",
    ),
    "a backbone beside pictures": (
        own_run({"name": "images", "folder": "."}, backbone={"name": "nafnet"}),
        r"runs.mine.backbone: got 'nafnet', but method images brings its own pictures",
    ),
    "no backbone where one is needed": (
        own_run({"name": "none"}),
        r"runs.mine.backbone: got 'none', but method none needs a network; may be .*nafnet",
    ),
    "another start": (
        own_run(CHECKPOINT, init="weights/official"),
        r"runs.mine.init: got 'weights/official', but method checkpoint .*may be weights/random",
    ),
    "a file for a folder": (
        own_run({"name": "images", "folder": "my.safetensors"}),
        r"runs.mine.method: .*my\.safetensors: a file; name the folder that it lies in",
    ),
    "no such file": (
        own_run({"name": "checkpoint", "file": "your.pth"}),
        r"runs.mine.method: .*your\.pth: no such file",
    ),
    "no file": (own_run({"name": "checkpoint"}), r"runs.mine.method.file: missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_that_cannot_be_is_refused_before_any_work(tmp_path, case):
    broken, said = REFUSED[case]
    save_file(official(nafnet()), tmp_path / "my.safetensors")
    params = small_params()
    params["weights"]["official"] = {"asset": "imdn-x4"}
    params["runs"] = {"mine": broken}
    params["priors"] = {"none": params["priors"]["none"]}
    suite = load_params(write_params(tmp_path, params))
    with pytest.raises(BenchError, match=said) as error:
        checked(suite)
    assert "\n" not in str(error.value)


def test_a_backbone_that_is_none_builds_nothing():
    with pytest.raises(BenchError, match="no network"):
        Backbone.from_module(*none_backbone())()


def none_backbone() -> tuple:
    from benchlib.backbones import none

    return none, none.Config()


# --- pictures that were restored elsewhere -------------------------------------------------------

PICTURES = {"name": "images", "folder": "restored"}


def with_pictures(folder: Path, files: dict[str, tuple[int, int]], **more) -> Suite:
    """files: below ``restored``, and their sizes."""
    for i, (name, size) in enumerate(files.items()):
        (folder / "restored" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(*size, 10 + i)).save(folder / "restored" / name)
    return suite_of(folder, {"mine": own_run(PICTURES)}, **more)


def test_pictures_are_a_run(tmp_path, capsys):
    files = {"a/one.png": (33, 41), "two.BMP": (35, 41), "three.png": (5, 5), "a/four.png": (6, 6)}
    suite = with_pictures(tmp_path, files)
    checked(suite)
    evaluated(suite)
    rows = read_rows(suite, ["mine"])
    assert set(rows["inference"]) == {"none"}
    for stem, file in (("one", "a/one.png"), ("two", "two.BMP")):
        restored = read_image(tmp_path / "restored" / file)
        kept = read_image(suite.work / "restored" / "mine" / "a" / f"{stem}.png")
        assert np.array_equal(restored, kept)
        hq = read_image(tmp_path / "pairs-a" / "hq" / f"{stem}.png")
        (psnr,) = rows[(rows["image"] == stem) & (rows["metric"] == "PSNR")]["value"]
        assert psnr == pytest.approx(protocol("basicsr-rgb").psnr(restored, hq), abs=1e-5)
    said = capsys.readouterr().out
    assert "of no test image, not measured: three.png, four.png" in said
    record = read_json(suite.results / "records" / "mine.json")
    assert record["own"]["pictures"] == 2 and len(record["own"]["sha256"]) == 64
    assert record["parameters"] == record["trained_parameters"] == 0
    with pytest.raises(BenchError, match="restores no other"):
        load_model(open_run(suite, "mine"), 0)({"lq": torch.rand(1, 3, 8, 8)})


def test_missing_pictures_are_counted_and_named_before_anything_is_measured(tmp_path):
    names = tuple(f"image{i}" for i in range(9))
    files = {"image0.png": (33, 41), "x.png": (3, 3), "b/image1.png": (35, 41)}
    suite = with_pictures(tmp_path, files, sets={"a": names})
    with pytest.raises(BenchError) as error:
        evaluated(suite)
    said = str(error.value)
    assert "8 of 9 test images" in said and "a/image1, a/image2" in said and "3 more" in said
    assert "of no test image: x.png, b/" in said and "\n" not in said
    assert not (suite.results / "rows" / "mine.csv").exists()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    suite = suite_of(tmp_path, {"mine": own_run(PICTURES)})
    checked(suite)  # it may be made from the set's own lq images later
    with pytest.raises(BenchError, match=r"restored: no such folder"):
        evaluated(suite)


def test_pictures_that_do_not_fit_are_all_counted(tmp_path):
    suite = with_pictures(tmp_path, {"one.png": (33, 40), "two.png": (35, 41)})
    (tmp_path / "restored" / "two.png").write_bytes(b"no picture")
    with pytest.raises(BenchError) as error:
        evaluated(suite)
    said = str(error.value)
    assert "2 of 2 pictures do not fit" in said and "\n" not in said
    assert "one.png: 40 x 33 pixels, its reference has 41 x 33" in said
    assert re.search(r"two\.png: not a readable image", said)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    files = {"one.png": (33, 41), "one.bmp": (33, 41), "two.png": (35, 41)}
    suite = with_pictures(tmp_path, files)
    with pytest.raises(BenchError, match=r"a/one \(several: one\.bmp, one\.png\)"):
        evaluated(suite)


def test_a_picture_that_could_be_of_two_sets_is_refused_outside_their_folders(tmp_path):
    sets = {"a": ("one",), "b": ("one",)}
    suite = with_pictures(tmp_path, {"one.png": (33, 41)}, sets=sets)
    with pytest.raises(BenchError, match=r"a/one \(one\.png could be another set's"):
        evaluated(suite)
    for name in sets:
        write_png(tmp_path / "restored" / name / "one.png", picture(33, 41, 5))
    assert {row["dataset"] for row in evaluate(open_run(suite, "mine"))} == {"a", "b"}


def test_names_are_compared_as_they_read(tmp_path):
    """ "ü" as one letter, and as u with two dots."""
    (tmp_path / "Müller.png").touch()
    config = images.Config(str(tmp_path))
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "Müller")
        assert images.restored_files(config, [("a", name)])["a", name].stem


def test_a_dot_in_a_name_is_no_suffix(tmp_path):
    for name in ("a.png", "a.png.png", "b.v2.png"):
        (tmp_path / name).touch()
    wanted = [("s", "a"), ("s", "a.png"), ("s", "b.v2")]
    found = images.restored_files(images.Config(str(tmp_path)), wanted)
    assert [file.name for file in found.values()] == ["a.png", "a.png.png", "b.v2.png"]


# --- in tables -----------------------------------------------------------------------------------


def test_costs_are_measured_for_a_network_and_not_invented_for_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "REPEATS", 1)
    monkeypatch.setattr(cost, "device_at_hand", lambda: torch.device("cpu"))
    files = {"one.png": (33, 41), "two.png": (35, 41)}
    suite = with_pictures(tmp_path, files)
    save_file(official(nafnet()), tmp_path / "my.safetensors")
    runs = {"mine": suite.runs["mine"], "net": type(suite.runs["mine"])(**own_run(CHECKPOINT))}
    suite = suite.model_copy(update={"runs": runs})
    table = cost.table(suite).set_index("run")
    assert table.loc["net", "parameters"] == sum(p.numel() for p in nafnet().parameters())
    assert table.loc["net", "multiply_adds_per_megapixel"] > 0
    assert table.loc["net", "trained_parameters"] == 0
    assert "cost is not known" in table.loc["mine", "note"]
    assert table.loc["mine"].drop(["label", "note"]).isna().all()
    assert "-" in cost.table_text(cost.table(suite)).iloc[0].tolist()


def test_a_test_set_is_shown_though_runs_name_it_as_their_training_images(tmp_path):
    params = small_params()
    params["runs"]["mine"] = own_run(PICTURES)
    suite = load_params(write_params(tmp_path, params))
    assert list(tables.collections(suite)) == ["test"]
    params["data"]["train/more"] = params["data"]["test/shake-blur"] | {"images": ["rocket"]}
    params["runs"]["learns"] = run({"name": "none"}, images={"train": "train", "test": "train"})
    suite = load_params(write_params(tmp_path, params))
    assert list(tables.collections(suite)) == ["test"]


def test_the_page_of_a_suite_of_one_s_own_says_what_was_brought(tmp_path, monkeypatch):
    """The input, a network and pictures: tables, plots and page; no word of training."""
    monkeypatch.setattr(cost, "REPEATS", 1)
    names = ("one", "two", "three")
    pairs_of(tmp_path / "pairs-a", names)
    suite = with_pictures(
        tmp_path,
        {f"{name}.png": (33 + 2 * i, 41) for i, name in enumerate(names)},
        sets={"a": names},
    )
    save_file(official(nafnet()), tmp_path / "my.safetensors")
    params = small_params() | {"data": suite.data}
    params["priors"] = {key: prior.model_dump() for key, prior in suite.priors.items()}
    params["runs"] = {
        "input": own_run({"name": "identity"}),
        "net": own_run(CHECKPOINT, label="my network"),
        "mine": own_run(PICTURES, label="my pictures"),
    }
    suite = load_params(write_params(tmp_path, params))
    for key in suite.runs:
        evaluated(suite, key)
    export.make_all(suite)
    words = page.make(suite).read_text(encoding="utf-8")
    assert "checkpoint: NAFNet, 1 times" in words and "my.safetensors, SHA-256" in words
    assert "images: 3 pictures" in words and "nothing trained" in words
    assert "iterations of training" not in words
    assert "cost is not known" in (suite.results / "tables" / "cost.md").read_text()
    differences = (suite.results / "tables" / "differences.md").read_text()
    assert "my pictures" in differences and "my network" in differences


# --- tensors that are one ------------------------------------------------------------------------

RECURSIVE = '''
from dataclasses import dataclass

from torch import nn

VERSION = 1


@dataclass(frozen=True)
class Config:
    width: int = 4


class Recursive(nn.Module):
    """One block three times, one PReLU in two places."""

    def __init__(self, width, in_channels):
        super().__init__()
        act = nn.PReLU(width)
        self.head = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), act)
        block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), act)
        self.body = nn.ModuleList([block, block, block])
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        y = self.head(x)
        for block in self.body:
            y = y + block(y)
        return x[:, :3] + self.tail(y)


def build(config, in_channels=3):
    return Recursive(config.width, in_channels)


def blocks(network):
    return list(network.body)
'''


@pytest.fixture
def recursive(tmp_path, monkeypatch):
    file = tmp_path / "recursive.py"
    file.write_text(RECURSIVE)
    return add_file(monkeypatch, "backbones", file)


def tied(network: nn.Module) -> bool:
    body = network.body
    same_block = body[0][0].weight is body[2][0].weight
    return same_block and network.head[1].weight is body[1][1].weight


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_run_whose_network_shares_weights_is_saved_and_loads_back_tied(small, recursive, keep):
    params = small_params()
    budget = {"iterations": 2, "validate_every": 1, "keep": keep}
    shared = run({"name": "none"}, backbone={"name": "recursive"}, validation="held")
    params["runs"] = {"shared": shared | {"training": budget}}
    suite = load_params(write_params(small.folder, params))
    plan = open_run(suite, "shared")
    train(plan)
    kept = load_file(plan.places.weights(0))
    model = load_model(plan, 0)
    assert tied(model.network)
    assert same(dict(model.state_dict()), kept)
    start = recursive.build(recursive.Config()).state_dict()
    assert not torch.equal(kept["network.body.0.0.weight"], start["body.0.0.weight"])
    assert torch.equal(kept["network.body.0.0.weight"], kept["network.body.2.0.weight"])


@pytest.mark.parametrize("how", ["pth", "save_model"])
def test_weights_that_are_tied_are_kept_under_all_their_names(
    tmp_path, monkeypatch, recursive, how
):
    """``save_model`` leaves the further names out, and says in the file's metadata which was kept."""
    network = recursive.build(recursive.Config())
    file = tmp_path / "tied.pth"
    if how == "save_model":
        file = tmp_path / "tied.safetensors"
        save_model(network, str(file))
        assert len(load_file(file)) < len(network.state_dict())
    else:
        torch.save(network.state_dict(), file)
    params = small_params()
    params["weights"]["official"] = {"asset": "imdn-x4"}
    suite = load_params(write_params(tmp_path, params))
    monkeypatch.setattr("benchlib.assets.fetch", lambda name: file)
    make_weights(suite, "official")
    kept = load_file(suite.work / "weights" / "official" / "weights.safetensors")
    assert same(kept, network.state_dict())
    other = recursive.build(recursive.Config())
    load_weights_into(other, kept, "here")
    assert tied(other) and same(other.state_dict(), network.state_dict())
    assert same(load_weights(file), network.state_dict())


def test_a_checkpoint_with_tied_tensors_is_kept(tmp_path):
    """Two tensors of a NAFNet that are one."""
    weights = official(nafnet())
    weights["encoders.0.0.norm2.weight"] = weights["encoders.0.0.norm1.weight"]
    torch.save(weights, tmp_path / "my.pth")
    method = {"name": "checkpoint", "file": "my.pth"}
    suite = suite_of(tmp_path, {"mine": own_run(method)})
    evaluated(suite)
    kept = load_file(suite.work / "runs" / "mine" / "seed0.safetensors")
    assert same(kept, prefixed(weights, "network."))


def test_the_file_of_ordinary_weights_is_what_safetensors_writes(tmp_path):
    weights = official(swinir())
    save_weights(weights, tmp_path / "ours.safetensors")
    save_file(weights, tmp_path / "theirs.safetensors")
    ours, theirs = (tmp_path / f"{who}.safetensors" for who in ("ours", "theirs"))
    assert ours.read_bytes() == theirs.read_bytes()
    part = torch.arange(6.0)
    save_weights({"a": part[:3], "b": part[3:], "c": part}, ours)
    assert same(load_file(ours), {"a": part[:3], "b": part[3:], "c": part})


# --- the docs ------------------------------------------------------------------------------------


def yaml_blocks() -> list[str]:
    page = (Path(__file__).parent.parent / "docs" / "own.md").read_text(encoding="utf-8")
    return [part.split("```")[0] for part in page.split("```yaml\n")[1:]]


def test_the_docs_suite_is_one(tmp_path):
    """The page's last block, word for word, in a folder as deep as ``suites/mine``."""
    folder = tmp_path / "suites" / "mine"
    folder.mkdir(parents=True)
    save_file(official(nafnet()), tmp_path / "suites" / "my.safetensors")
    words = yaml_blocks()[-1].replace("my.pth", "my.safetensors")
    (folder / "params.yaml").write_text(words, encoding="utf-8")
    suite = load_params(folder / "params.yaml")
    (tmp_path / "suites" / "my-images").mkdir()
    checked(suite)
    assert list(suite.runs) == ["degraded", "network", "pictures"]
    first = yaml_blocks()[0]
    for line in own_run({"name": "checkpoint", "file": "../my.pth"}):
        assert f"    {line}: " in first
    assert len(first.strip().splitlines()) == 2 + len(own_run({}))
