"""benchlib/priors/sam.py with a generator that counts its calls, and with the real MobileSAM."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from segment_anything.utils.amg import mask_to_rle_pytorch
from skimage import data

from benchlib import assets, registry
from benchlib.contracts import BenchError
from benchlib.imageio import read_image, write_png
from benchlib.priors import sam
from benchlib.priors._store import load_masks, unpack

CONFIG = sam.Config()


def as_found(*masks: np.ndarray, stability: float = 0.96) -> list[dict]:
    """What ``SamAutomaticMaskGenerator.generate`` gives for these masks."""
    runs = mask_to_rle_pytorch(torch.from_numpy(np.stack(masks)))
    return [
        {"segmentation": run, "predicted_iou": 0.9 + i / 100, "stability_score": stability}
        for i, run in enumerate(runs)
    ]


class TopAndAll:
    """Finds the upper half (rounded up), then the whole image; fails at call number ``fails_at``."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.fails_at = fails_at

    def generate(self, image: np.ndarray) -> list[dict]:
        if len(self.shapes) == self.fails_at:
            raise KeyboardInterrupt
        self.shapes.append(image.shape)
        top = np.zeros(image.shape[:2], bool)
        top[: (len(image) + 1) // 2] = True
        return as_found(top, np.ones_like(top))


def named(files: list[Path]) -> dict[str, Path]:
    return {file.stem: file for file in files}


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [tmp_path / "in" / f"{name}.png" for name in "abcd"]
    for file in files:
        write_png(file, rng.integers(0, 256, (6, 9, 3), np.uint8))
    return files


def test_every_image_gets_a_file_and_a_record(tmp_path, photographs) -> None:
    records = sam.compute(named(photographs), tmp_path / "out", CONFIG, generator=TopAndAll())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.npz", "b.npz", "c.npz", "d.npz"]
    assert [r["image"] for r in records] == ["a", "b", "c", "d"]
    assert len({r["sha256"] for r in records}) == 4
    first = records[0]
    assert (first["height"], first["width"], first["n_masks"], first["regions"]) == (6, 9, 2, 2)
    assert (first["area_min"], first["area_median"], first["area_max"], first["coverage"]) == (27, 40.5, 54, 1.0)
    assert first["predicted_iou"] == pytest.approx(0.905)
    assert first["stability"] == pytest.approx(0.96)
    assert first["refused"] is None
    json.dumps(records)


def test_masks_are_stored_largest_first_with_their_own_scores(tmp_path, photographs) -> None:
    sam.compute(named(photographs[:1]), tmp_path, CONFIG, generator=TopAndAll())
    masks = sam.load(tmp_path / "a.npz")
    assert masks.area.tolist() == [54, 27]
    assert masks.predicted_iou.tolist() == pytest.approx([0.91, 0.90])
    assert masks.labels.tolist() == [[2] * 9] * 3 + [[1] * 9] * 3


def test_a_killed_run_does_only_what_is_left_and_ends_as_a_straight_one(tmp_path, photographs) -> None:
    killed, after = TopAndAll(fails_at=2), TopAndAll()
    with pytest.raises(KeyboardInterrupt):
        sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=tmp_path / "kept", generator=killed)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.npz", "b.npz"]
    records = sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=tmp_path / "kept", generator=after)
    assert (len(killed.shapes), len(after.shapes)) == (2, 2)

    straight = sam.compute(named(photographs), tmp_path / "straight", CONFIG, generator=TopAndAll())
    for record, other in zip(records, straight, strict=True):
        assert record | {"seconds": 0} == other | {"seconds": 0}
        name = record["image"] + ".npz"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_only_changed_images_and_changed_settings_are_computed_again(tmp_path, photographs) -> None:
    def calls(config: sam.Config) -> int:
        generator = TopAndAll()
        sam.compute(named(photographs), tmp_path / "out", config, resume=tmp_path / "kept", generator=generator)
        return len(generator.shapes)

    assert calls(CONFIG) == 4
    assert calls(CONFIG) == 0
    photographs[1].rename(photographs[1].with_name("renamed.png"))
    photographs[1] = photographs[1].with_name("renamed.png")
    assert calls(CONFIG) == 0
    write_png(photographs[2], np.zeros((6, 9, 3), np.uint8))
    assert calls(CONFIG) == 1
    assert calls(dataclasses.replace(CONFIG, points_per_side=9)) == 4


def test_other_weights_or_another_device_do_not_reuse_what_was_kept(tmp_path, photographs, monkeypatch) -> None:
    weights = tmp_path / "weights"
    weights.write_text("one")
    made = []
    monkeypatch.setattr(assets, "fetch", lambda name: weights)
    monkeypatch.setattr(sam, "build", lambda config, device: made.append(device) or TopAndAll())
    for text, device in (("one", "cpu"), ("one", "cpu"), ("one", "cuda"), ("two", "cuda")):
        monkeypatch.setattr(sam, "_device", lambda name, here=device: here)
        weights.write_text(text)
        sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=tmp_path / "kept")
    assert len(made) == 3  # all but the second


def test_time_and_memory_of_each_image_are_recorded_and_kept_with_its_masks(tmp_path, photographs) -> None:
    """64 MiB that live while an image is looked at are in its figure, and in no other's."""

    class Hungry(TopAndAll):
        def generate(self, image: np.ndarray) -> list[dict]:
            held = np.ones((64 if len(self.shapes) == 1 else 1) * 2**20, np.uint8)
            time.sleep(0.05)
            return super().generate(image) if held.all() else []

    made = sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=tmp_path / "kept", generator=Hungry())
    first, second, *rest = [record["peak_mib"] for record in made]
    assert second > 60 and max(first, *rest) < 60
    assert all(0.05 <= record["seconds"] < 30 for record in made)
    again = sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=tmp_path / "kept", generator=TopAndAll())
    assert again == made


def test_superpixels_are_not_computed_again(tmp_path, photographs, monkeypatch) -> None:
    superpixels, calls = registry.load("priors", "superpixels"), []
    segment = superpixels.segment
    monkeypatch.setattr(superpixels, "segment", lambda *given: calls.append(1) or segment(*given))
    for kind, expected in (("slic", 4), ("slic", 4), ("felzenszwalb", 8)):
        config = superpixels.Config(kind=kind)
        made = superpixels.compute(named(photographs), tmp_path / "out", config, resume=tmp_path / "kept")
        assert len(calls) == expected
        assert all(record["peak_mib"] >= 0 and record["seconds"] > 0 for record in made)


def test_a_damaged_kept_file_is_made_again(tmp_path, photographs) -> None:
    kept = tmp_path / "kept"
    sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=kept, generator=TopAndAll())
    good = (tmp_path / "out" / "a.npz").read_bytes()
    for file in kept.glob("*.npz"):
        file.write_bytes(good[:50])
    generator = TopAndAll()
    sam.compute(named(photographs), tmp_path / "out", CONFIG, resume=kept, generator=generator)
    assert len(generator.shapes) == 4
    assert (tmp_path / "out" / "a.npz").read_bytes() == good


def write_odd_images(folder: Path) -> list[Path]:
    """Files that must be handled, one of each kind."""
    rng = np.random.default_rng(1)
    pixels = Image.fromarray(rng.integers(0, 256, (10, 16, 3), np.uint8))
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side
    write_png(folder / "one.png", np.full((1, 1, 3), 7, np.uint8))
    pixels.convert("L").save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 65536, (10, 16), np.uint16)).save(folder / "deep.png")
    pixels.convert("RGBA").save(folder / "rgba.png")
    pixels.convert("P").save(folder / "palette.png")
    pixels.save(folder / "turned.jpg", exif=turned)
    write_png(folder / "line.png", np.zeros((1, 5000, 3), np.uint8))
    return sorted(folder.iterdir())


def test_images_of_odd_kinds_get_masks_of_their_upright_size(tmp_path) -> None:
    files = write_odd_images(tmp_path / "in")
    records = sam.compute(named(files), tmp_path / "out", CONFIG, generator=TopAndAll())
    assert [r["refused"] for r in records] == [None] * 7
    for file in files:
        masks = load_masks(tmp_path / "out" / f"{file.stem}.npz")
        assert masks.labels.shape == read_image(file).shape[:2]
        assert len(masks) == 2
    assert load_masks(tmp_path / "out" / "turned.npz").labels.shape == (16, 10)


def test_unreadable_images_are_refused_by_name_and_the_others_get_done(tmp_path, photographs, capsys) -> None:
    photographs[0].write_bytes(photographs[0].read_bytes()[:60])
    photographs[2].write_text("no image")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.npz").write_text("of an earlier run")
    records = sam.compute(named(photographs), tmp_path / "out", CONFIG, generator=TopAndAll())
    assert [r["refused"] is None for r in records] == [False, True, False, True]
    assert "a.png" in records[0]["refused"]
    assert "c.png" in records[2]["refused"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.npz", "d.npz"]
    assert capsys.readouterr().out.splitlines()[-1] == "mobilesam masks: refused 2 of 4 images: a, c"


def test_an_image_too_narrow_for_sam_is_refused_unless_a_cap_makes_it_fit(tmp_path) -> None:
    write_png(tmp_path / "line.png", np.zeros((1, 5000, 3), np.uint8))
    (record,) = sam.compute(
        named([tmp_path / "line.png"]), tmp_path, dataclasses.replace(CONFIG, long_side=None), generator=TopAndAll()
    )
    assert "1x5000 pixels: too narrow" in record["refused"]


def test_a_model_that_cannot_be_built_stops_the_run_instead_of_refusing_every_image(
    tmp_path, photographs, monkeypatch
) -> None:
    def absent(name: str) -> Path:
        raise BenchError(f"{name}: no network")

    monkeypatch.setattr(assets, "fetch", absent)
    with pytest.raises(BenchError, match="mobilesam-encoder: no network"):
        sam.compute(named(photographs), tmp_path / "out", CONFIG)


def test_a_large_image_is_shrunk_for_sam_and_its_masks_come_back_to_full_size(tmp_path) -> None:
    write_png(tmp_path / "wide.png", np.zeros((100, 300, 3), np.uint8))
    generator = TopAndAll()
    sam.compute(
        named([tmp_path / "wide.png"]), tmp_path, dataclasses.replace(CONFIG, long_side=150), generator=generator
    )
    assert generator.shapes == [(50, 150, 3)]
    assert load_masks(tmp_path / "wide.npz").area.tolist() == [30000, 15000]


def test_small_empty_and_unstable_masks_are_dropped() -> None:
    class Found:
        def generate(self, image: np.ndarray) -> list[dict]:
            masks = np.zeros((4, 5, 5), bool)
            masks[0, :2, :2], masks[1, :3, :3], masks[2] = True, True, True
            return [*as_found(*masks[:2]), *as_found(masks[2], stability=float("nan")), *as_found(masks[3])]

    image = np.zeros((5, 5, 3), np.uint8)
    assert sam.masks_of(image, Found(), CONFIG).area.tolist() == [9, 4]
    assert sam.masks_of(image, Found(), dataclasses.replace(CONFIG, min_area=5)).area.tolist() == [9]


@pytest.mark.parametrize("name", registry.names("priors"))
def test_every_prior_offers_what_the_room_asks(name: str) -> None:
    prior = registry.load("priors", name)
    assert dataclasses.is_dataclass(prior.Config)
    assert prior.Config.__dataclass_params__.frozen
    assert callable(prior.compute)
    assert callable(prior.record)
    if prior.ENTRIES:
        stored = sam.masks_of(np.zeros((4, 6, 3), np.uint8), TopAndAll(), CONFIG)
        assert callable(prior.load)
        assert set(prior.crop(stored, 0, 0, 2, 2, False, False, False)) == set(prior.ENTRIES)


SETTINGS = {"shuffled": {"of": {"name": "superpixels", "segments": 6}}}  # of priors that have no default


@pytest.mark.parametrize("name", sorted(set(registry.names("priors")) - {"none", "sam"}))
def test_every_control_gives_what_a_method_reads(name: str, tmp_path, photographs) -> None:
    """One file and one whole record an image, of its size; the same again byte for byte; crops as the contract says."""
    prior = registry.load("priors", name)
    for folder in ("a", "b"):
        config = prior.Config(**SETTINGS.get(name, {}))
        records = prior.compute(named(photographs), tmp_path / folder, config)
        assert {r["image"] for r in records} == set(named(photographs)) and not any(r["refused"] for r in records)
    for record in records:
        path = named(photographs)[record["image"]]
        stored = prior.load(tmp_path / "a" / f"{record['image']}.npz")
        assert stored.labels.shape == read_image(path).shape[:2] == (record["height"], record["width"])
        assert record["n_masks"] == len(stored)
        first, second = ((tmp_path / folder / f"{record['image']}.npz").read_bytes() for folder in ("a", "b"))
        assert first == second
        assert set(prior.crop(stored, 1, 2, 4, 5)) == set(prior.ENTRIES)
    assert json.dumps(prior.record(config))


def test_zeroed_has_no_mask_and_superpixels_cover_everything_once(tmp_path, photographs) -> None:
    zeroed, superpixels = registry.load("priors", "zeroed"), registry.load("priors", "superpixels")
    assert all(
        r["n_masks"] == r["coverage"] == 0 for r in zeroed.compute(named(photographs), tmp_path, zeroed.Config())
    )
    image = read_image(photographs[0])
    for kind in ("slic", "felzenszwalb"):
        masks = superpixels.segment(image, superpixels.Config(kind=kind, segments=1024, scale=10.0))
        assert masks.area.sum() == masks.labels.size and (masks.labels > 0).all()
        assert list(masks.area) == sorted(masks.area, reverse=True)
        assert len(superpixels.segment(image, superpixels.Config(kind=kind, segments=3))) <= 3


@given(st.lists(st.from_regex(r"[a-z]{1,3}(-[0-9])?(_c[0-9])?", fullmatch=True), min_size=2, max_size=12, unique=True))
def test_shuffled_never_gives_a_photograph_its_own_masks(names: list[str]) -> None:
    from benchlib.priors.shuffled import donors

    def photograph(name: str) -> str:
        return re.sub(r"(-[0-9])?(_c[0-9])?$", "", name)

    given = donors(names)
    if len({photograph(name) for name in names}) < 2:  # no other there: its own, turned
        assert all(photograph(donor) == photograph(names[0]) for donor in given.values())
        return
    assert set(given) == set(names) and set(given.values()) <= set(names)
    assert all(photograph(name) != photograph(donor) for name, donor in given.items())
    assert given == donors(names[::-1])


def test_a_lone_photograph_s_masks_are_turned(tmp_path, photographs) -> None:
    shuffled, superpixels = registry.load("priors", "shuffled"), registry.load("priors", "superpixels")
    [record] = shuffled.compute(named(photographs[:1]), tmp_path, shuffled.Config(**SETTINGS["shuffled"]))
    own = superpixels.segment(read_image(photographs[0]), superpixels.Config(segments=6))
    assert record["donor"] == "a, turned"
    assert np.array_equal(load_masks(tmp_path / "a.npz").labels, own.labels[::-1, ::-1])


def test_shuffled_masks_are_the_donor_s_at_the_image_s_size(tmp_path, photographs) -> None:
    from benchlib.priors.shuffled import donors, resized

    shuffled, superpixels = registry.load("priors", "shuffled"), registry.load("priors", "superpixels")
    shuffled.compute(named(photographs), tmp_path, shuffled.Config(**SETTINGS["shuffled"]))
    given = donors(list(named(photographs)))
    for name, path in named(photographs).items():
        masks = superpixels.segment(read_image(named(photographs)[given[name]]), superpixels.Config(segments=6))
        got = load_masks(tmp_path / f"{name}.npz")
        assert np.array_equal(got.labels, resized(masks, read_image(path).shape[:2]).labels)
        assert np.array_equal(resized(masks, masks.labels.shape).bits, masks.bits)


def test_no_prior_writes_nothing(tmp_path, photographs) -> None:
    none = registry.load("priors", "none")
    assert none.compute(named(photographs), tmp_path / "out", none.Config()) == []
    assert not (tmp_path / "out").exists()
    assert none.record(none.Config()) == {"prior": "none"}


@pytest.mark.parametrize(
    "settings",
    [{"model": "vit-x"}, {"points_per_side": 0}, {"pred_iou_thresh": 1.5}, {"long_side": 8}, {"min_area": 0}],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    assert TypeAdapter(sam.Config).validate_python({}) == CONFIG
    with pytest.raises(ValidationError) as error:
        TypeAdapter(sam.Config).validate_python(settings)
    assert error.value.errors()[0]["loc"][0] in settings


def test_the_record_says_which_weights_on_which_device(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / name)
    for name in ("mobilesam-encoder", "mobilesam-decoder"):
        (tmp_path / name).write_bytes(b"abc")
    said = sam.record(CONFIG, "cpu")
    of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert said["weights"] == {"mobilesam-encoder": of_abc, "mobilesam-decoder": of_abc}
    assert said["device"] == "cpu"
    assert said["config"]["points_per_side"] == 8
    json.dumps(said)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(BenchError, match="device tpu: not here; may be auto, cpu"):
        sam.record(CONFIG, "tpu")


# The real MobileSAM ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files() -> tuple[Path, Path]:
    try:
        return assets.fetch("mobilesam-encoder"), assets.fetch("mobilesam-decoder")
    except BenchError as error:
        pytest.skip(f"MobileSAM cannot be fetched: {error}")


@pytest.fixture(scope="module")
def predictor(files):
    """The package's predictor, having seen skimage's coffee (400x600)."""
    generator = sam.build(CONFIG, "cpu")
    with torch.inference_mode():
        generator.predictor.set_image(data.coffee())
    return generator.predictor


@pytest.fixture(scope="module")
def onnx_decoder(files):
    import onnxruntime

    return onnxruntime.InferenceSession(str(files[1]), providers=["CPUExecutionProvider"])


def run_onnx(session, embedding, coords, labels, mask=None) -> tuple[np.ndarray, np.ndarray]:
    """(iou, (256,256) logits) of one prompt. Given up to two points it picks the best of three masks, else mask 0."""
    _, iou, low = session.run(
        None,
        {
            "image_embeddings": embedding.numpy(),
            "point_coords": np.array([coords], np.float32),
            "point_labels": np.array([labels], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32) if mask is None else mask.numpy(),
            "has_mask_input": np.array([0 if mask is None else 1], np.float32),
            "orig_im_size": np.array([400, 600], np.float32),
        },
    )
    return iou[0, 0], low[0, 0]


def test_the_weights_are_exactly_those_of_the_packages_prompt_encoder_and_mask_decoder(files) -> None:
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    from benchlib.priors._mobilesam import decoder_weights

    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    official = {
        "prompt_encoder": PromptEncoder(256, (64, 64), (1024, 1024), 16),
        "mask_decoder": MaskDecoder(transformer_dim=256, transformer=transformer),
    }
    expected = {f"{part}.{k}": v.shape for part, net in official.items() for k, v in net.state_dict().items()}
    assert {k: v.shape for k, v in decoder_weights(files[1]).items()} == expected


def test_another_onnx_file_is_refused_as_decoder(files) -> None:
    from benchlib.priors._mobilesam import mobilesam

    with pytest.raises(BenchError, match="of no known layer"):
        mobilesam(files[0], files[0])


@torch.inference_mode()
def test_a_batch_of_points_gives_the_masks_of_the_onnx_decoder(predictor, onnx_decoder) -> None:
    points = torch.tensor([[[300.0, 200.0]], [[500.0, 640.0]], [[1000.0, 30.0]], [[40.0, 500.0]]])
    _, iou, low = predictor.predict_torch(points, torch.ones(4, 1), multimask_output=True, return_logits=True)
    for point, ious, masks in zip(points, iou.numpy(), low.numpy(), strict=True):
        expected_iou, expected = run_onnx(onnx_decoder, predictor.features, [*point.tolist(), [0, 0]], [1, -1])
        assert ious.max() == pytest.approx(expected_iou, abs=1e-5)
        np.testing.assert_allclose(masks[ious.argmax()], expected, atol=2e-4, rtol=0)


@torch.inference_mode()
def test_a_mask_prompt_with_both_kinds_of_point_gives_the_mask_of_the_onnx_decoder(predictor, onnx_decoder) -> None:
    coords, labels = [[500.0, 400.0], [100.0, 100.0]], [1, 0]
    mask = 5 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    _, iou, low = predictor.predict_torch(
        torch.tensor([coords]), torch.tensor([labels]), mask_input=mask, multimask_output=False, return_logits=True
    )
    expected_iou, expected = run_onnx(onnx_decoder, predictor.features, [*coords, [0, 0]], [*labels, -1], mask)
    assert iou.item() == pytest.approx(expected_iou, abs=1e-5)
    np.testing.assert_allclose(low[0, 0].numpy(), expected, atol=2e-4, rtol=0)


@torch.inference_mode()
def test_a_box_prompt_gives_the_mask_of_the_onnx_decoder(predictor, onnx_decoder) -> None:
    box = torch.tensor([[100.0, 120.0, 700.0, 640.0]])
    _, iou, low = predictor.predict_torch(None, None, boxes=box, multimask_output=True, return_logits=True)
    expected_iou, expected = run_onnx(onnx_decoder, predictor.features, box.reshape(2, 2).tolist(), [2, 3])
    assert iou.max().item() == pytest.approx(expected_iou, abs=1e-5)
    np.testing.assert_allclose(low[0, iou.argmax()].numpy(), expected, atol=2e-4, rtol=0)


@torch.inference_mode()
def test_the_torch_encoder_of_a_gpu_agrees_with_the_onnx_encoder_of_a_cpu(files, predictor) -> None:
    from benchlib.priors._mobilesam import TorchEncoder

    encoder = TorchEncoder(files[0]).eval()
    image = predictor.transform.apply_image(data.coffee())
    padded = predictor.model.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None])
    np.testing.assert_allclose(encoder(padded).numpy(), predictor.features.numpy(), atol=1e-5, rtol=0)


def test_a_photograph_gets_good_masks(tmp_path, files) -> None:
    """Measured: 6 masks, mean predicted IoU 0.991, 98 % covered."""
    write_png(tmp_path / "coffee.png", data.coffee())
    (record,) = sam.compute(named([tmp_path / "coffee.png"]), tmp_path / "out", CONFIG, device="cpu")
    assert record["n_masks"] >= 5
    assert record["predicted_iou"] > 0.97
    assert record["coverage"] > 0.9
    masks = load_masks(tmp_path / "out" / "coffee.npz")
    assert np.all(masks.predicted_iou > 0.88)
    assert np.all(masks.stability >= 0.95)
    assert np.array_equal(unpack(masks.bits, len(masks)).sum((1, 2)), masks.area)
    cup, wall = (260, 250), (20, 30)  # row, column: the coffee itself, the dark upper left corner
    assert masks.labels[cup] != masks.labels[wall]
    assert masks.labels[wall] != 0


@pytest.mark.parametrize("long_side", [None, 160])
def test_a_disc_is_found_where_it_is(long_side: int | None, files) -> None:
    rows, columns = np.mgrid[:200, :320]
    disc = (rows - 75) ** 2 + (columns - 240) ** 2 < 45**2
    image = np.where(disc[..., None], [200, 40, 40], [90, 110, 100]).astype(np.uint8)
    config = dataclasses.replace(CONFIG, points_per_side=3, long_side=long_side)
    masks = sam.masks_of(image, sam.build(config, "cpu"), config)
    overlap = [np.sum(m & disc) / np.sum(m | disc) for m in unpack(masks.bits, len(masks))]
    assert max(overlap) > (0.97 if long_side is None else 0.95)


def test_the_same_image_gets_the_same_bytes_and_one_pixel_does_no_harm(tmp_path, files) -> None:
    images = [tmp_path / name for name in ("face.png", "one.png", "again.png")]
    for path in (images[0], images[2]):
        write_png(path, data.astronaut()[:200, 100:400])
    write_png(images[1], np.full((1, 1, 3), 128, np.uint8))
    records = sam.compute(named(images), tmp_path / "out", dataclasses.replace(CONFIG, points_per_side=2), device="cpu")
    assert [r["refused"] for r in records] == [None, None, None]
    assert records[0]["n_masks"] > 0
    assert (tmp_path / "out" / "face.npz").read_bytes() == (tmp_path / "out" / "again.npz").read_bytes()


def test_an_image_without_masks_is_stored_as_wholly_uncovered_with_crops_too(tmp_path, files) -> None:
    config = dataclasses.replace(CONFIG, points_per_side=1, crop_n_layers=1, pred_iou_thresh=1.0)
    write_png(tmp_path / "cat.png", data.chelsea()[:200, :300])
    (record,) = sam.compute(named([tmp_path / "cat.png"]), tmp_path, config, device="cpu")
    assert (record["n_masks"], record["coverage"], record["predicted_iou"]) == (0, 0.0, None)
    masks = sam.load(tmp_path / "cat.npz")
    assert sam.crop(masks, 0, 0, 8, 8)["labels"].tolist() == [[0] * 8] * 8
    assert masks.bits.shape == (0, 200, 300)


def test_vit_weights_load_strictly_without_the_packages_own_reader(monkeypatch, tmp_path) -> None:
    from segment_anything import sam_model_registry

    weights = sam_model_registry["vit_b"]().state_dict()
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / f"{name}.pth")
    monkeypatch.setattr("benchlib.assets.weights.load_weights", lambda path: weights)
    config = dataclasses.replace(CONFIG, model="vit-b")
    built = sam.build(config, "cpu").predictor.model.state_dict()
    assert built.keys() == weights.keys()
    assert all(torch.equal(built[name], weights[name]) for name in weights)
    del weights["mask_decoder.iou_token.weight"]
    with pytest.raises(BenchError, match=r"sam-vit-b.pth: not the weights of SAM vit-b .*iou_token"):
        sam.build(config, "cpu")
