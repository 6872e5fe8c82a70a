"""The protocol ledger: every published table has a line; committed effects are what is measured."""

from __future__ import annotations

import re
from collections.abc import Callable

import goldens
import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import structural_similarity
from test_backbone_imdn import needs_mirror, psnr, repository, set5
from torch.nn.functional import interpolate

from benchlib.backbones import prenet, ruas, sci, uretinex, zero_dce
from benchlib.degrade import bicubic
from benchlib.imageio import image_files, quantise, read_image, to_tensor
from benchlib.metrics import protocol
from benchlib.metrics._prepare import to_y
from benchlib.papers import published
from benchlib.report import ledger
from benchlib.restore import Truncated
from benchlib.seeding import name_rng

PAPERS = ("sam-deblur", "spt", "ptg-rm", "lmdir")


@pytest.fixture(scope="module")
def measured() -> pd.DataFrame:
    return ledger.measure()


def test_every_published_table_has_one_line():
    expected = [
        (paper, table) for paper in PAPERS for table in dict.fromkeys(published(paper)["table"])
    ]
    frame = ledger.stated()
    assert sorted(zip(frame["paper"], frame["table"], strict=True)) == sorted(expected)
    assert len(frame) == 1 + 6 + 10 + 3


def test_no_cell_is_empty_and_sections_are_of_the_paper():
    frame = ledger.stated()
    assert (frame != "").all().all()
    assert frame["section"].str.fullmatch(r"((\d\.\d)|(IV-[A-F]))(, ((\d\.\d)|(IV-[A-F])))*").all()


def test_what_a_paper_does_not_state_is_said_by_name():
    lines = ledger.stated().set_index(["paper", "table"])["stated"]
    assert lines[("sam-deblur", "1")].endswith(
        "not stated: colour, border, averaging, quantisation"
    )
    assert (
        lines[("spt", "1")].startswith("colour: Y of YCbCr; ")
        and "not stated: border, quantisation" in lines[("spt", "1")]
    )
    assert lines[("ptg-rm", "5")].startswith("colour: Y of YCbCr; ")


def test_code_is_cited_by_repository_and_file():
    for source in ledger.stated()["source"]:
        assert re.match(r"[\w.-]+/[\w.-]+ [\w./-]+\.(py|yml|m|md)", source), source


def test_protocols_named_there_are_protocols():
    names = (
        pd.read_csv(ledger.FOLDER / "ledger.csv", dtype=str)["protocols"].str.split(" ").explode()
    )
    assert {protocol(name).name for name in names} == set(names)


def test_committed_effects_are_what_is_measured(measured):
    kept = ledger.effects()
    kept = kept[kept["where"] == ledger.HERE].reset_index(drop=True)
    words = ["ambiguity", "on", "reading_a", "reading_b", "unit", "images", "where"]
    pd.testing.assert_frame_equal(kept[words], measured[words])
    numbers = ["a", "b", "effect", "least", "most"]
    np.testing.assert_allclose(
        kept[numbers].astype(float), measured[numbers].astype(float), atol=2e-4
    )


def test_effects_agree_with_another_computation(measured):
    """SSIM by its definition, luma by its matrix, noise by its statistics: not by the protocols."""
    at = measured.set_index(["ambiguity", "on"])
    sharp = ledger._photographs()
    noisy = ledger._KINDS["noise 25"](sharp)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    values = []
    for a, b in zip(noisy, sharp, strict=True):
        values.append(structural_similarity(a, b, data_range=255, channel_axis=-1, **window))
    direct = np.mean(values)
    assert at.loc[("SSIM window across colour", "noise 25"), "a"] == pytest.approx(direct, abs=1e-6)
    # white noise of sigma 25, neither clipped nor rounded; 0.43 million values
    assert at.loc[("noise clipped: the input", "noise 25"), "a"].iloc[0] == pytest.approx(
        20 * np.log10(255 / 25), abs=0.02
    )
    # rounding adds 1/12 to a squared error of 9 where nothing is clipped
    expected = -10 * np.log10(1 + 1 / 12 / 9)
    assert at.loc[("result rounded", "noise 3"), "effect"] == pytest.approx(expected, abs=2e-3)
    # noise of luma: 25 times the length of its weights
    gain = -20 * np.log10(np.linalg.norm([65.481, 128.553, 24.966]) / 255)
    assert at.loc[("PSNR colour", "noise 25"), "effect"] == pytest.approx(
        gain, abs=0.15
    )  # clipping moves it
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(noisy, sharp, strict=True)]
    pooled = np.average(errors, weights=[image.size for image in sharp])
    assert at.loc[("averaging", "noise 25"), "b"] == pytest.approx(
        20 * np.log10(255) - 10 * np.log10(pooled), abs=1e-5
    )


@needs_mirror
def test_figures_of_official_imdn_are_what_is_measured():
    kept = ledger.effects()
    known = kept[kept["where"] != ledger.HERE].set_index(["ambiguity", "on"])
    repeated = bicubic.Config(scale=4, between="8-bit", border="replicate")
    mirrored = set5(4)
    other = [(bicubic.degrade(high, repeated, name_rng("unused")), high) for _, high in mirrored]
    line = known.loc[("MATLAB's bicubic at the border", "official IMDN x4, Set5, basicsr-y@4")]
    assert (line["a"], line["b"]) == pytest.approx(
        (psnr(mirrored, 4, "basicsr-y"), psnr(other, 4, "basicsr-y")), abs=1e-4
    )
    for word, pairs in (("mirrored", mirrored), ("repeated", other)):
        line = known.loc[("Y rounded", f"official IMDN x4, Set5, {word} border")]
        assert line["b"] == pytest.approx(psnr(pairs, 4, "matlab-y-rounded"), abs=1e-4)
        assert line["effect"] == pytest.approx(line["b"] - line["a"], abs=1e-6)


@needs_mirror
@pytest.mark.parametrize(("scale", "printed"), [(3, "30.3066"), (4, "28.5724")])
def test_set14_of_official_imdn_is_what_spt_prints(scale, printed):
    """Y rounded, border mirrored; x2 comes out too, in a minute.

    SelfExSR's files repeat the border: 0.006 dB off.
    """
    folder = repository("jbhuang0604/SelfExSR") / "data/Set14/image_SRF_2"
    whole = [read_image(folder / f"img_{i:03d}_SRF_2_HR.png") for i in range(1, 15)]
    sharp = [hq[: hq.shape[0] // scale * scale, : hq.shape[1] // scale * scale] for hq in whole]
    pairs = [
        (bicubic.degrade(hq, bicubic.Config(scale=scale), name_rng("unused")), hq) for hq in sharp
    ]
    table = published("spt").set_index(["row", "dataset", "metric"])
    assert table.loc[(f"IMDN x{scale}", "Set14", "PSNR"), "printed"] == printed
    assert f"{psnr(pairs, scale, 'matlab-y-rounded'):.4f}" == printed


# --- low light and rain, from the official weights ------------------------------------------------

LOL = "LOL v1 eval15, "
SCALED = ("as restored", "scaled to the reference's mean grey")
CUT = ("rounded to 8 bits", "truncated to 8 bits")


def lol() -> list[tuple[np.ndarray, np.ndarray]]:
    """(dark, reference), the 15 evaluation pairs by name."""
    folder = repository("Gouguokupa/Digital-Image-Processing-LowLight-Deblur")
    folder = folder / "lowlight/lol_raw/lol_dataset/eval15"
    pairs = []
    for file in image_files(folder / "low"):
        pairs.append((read_image(file), read_image(folder / "high" / file.name)))
    return pairs


def network(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """An official enhancer: from a dark image and its reference ``(1,3,H,W)`` to the restored."""
    if name == "gamma 2.2":
        return lambda image, reference: image ** (1 / 2.2)
    backbone, where, path = OFFICIAL[name]
    model = backbone.build(backbone.Config())
    model.load_state_dict(goldens.official(where, path), strict=True)
    model.eval()
    if name != URETINEX_REFERENCE:
        return lambda image, reference: model(image)
    light = uretinex.ReferenceLight()
    light.load_state_dict(goldens.official(where, "ckpt/init_high.pth"), strict=True)

    def by_reference(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        reflectance, dark = model.unfold(image)
        ratio = uretinex.reference_ratio(dark, light(reference))
        return model.brighten(reflectance, dark, ratio)

    return by_reference


URETINEX, URETINEX_REFERENCE = "URetinex-Net, ratio 5", "URetinex-Net, the reference's ratio"
OFFICIAL = {
    "Zero-DCE": (zero_dce, "Li-Chongyi/Zero-DCE", "Zero-DCE_code/snapshots/Epoch99.pth"),
    "SCI medium": (sci, "vis-opt-group/SCI", "weights/medium.pt"),
    "RUAS lol": (ruas, "KarelZhang/RUAS", "ckpt/lol.pt"),
    URETINEX: (uretinex, "AndersonYong/URetinex-Net", "ckpt/L_adjust.pth"),
    URETINEX_REFERENCE: (uretinex, "AndersonYong/URetinex-Net", "ckpt/L_adjust.pth"),
}


def restored(name: str) -> dict[str, list[dict[str, np.ndarray]]]:
    """ "rounded" and "truncated": what a protocol reads, an image each."""
    enhance, found = network(name), {"rounded": [], "truncated": []}
    for dark, reference in lol():
        with torch.inference_mode():
            out = enhance(to_tensor(dark)[None], to_tensor(reference)[None])
            cut = Truncated(torch.nn.Identity())(out)
        for word, image in (("rounded", out), ("truncated", cut)):
            found[word].append({"restored": quantise(image[0]), "reference": reference})
    return found


def values(name: str, metric: str, views: list[dict[str, np.ndarray]]) -> list[float]:
    return [protocol(name).measure(view, [metric])[metric] for view in views]


def kept_line(ambiguity: str, on: str) -> pd.Series:
    return ledger.effects().set_index(["ambiguity", "on"]).loc[(ambiguity, on)]


def expect(ambiguity: str, on: str, readings: tuple[str, str], a: list, b: list) -> None:
    line, change = kept_line(ambiguity, on), np.subtract(b, a)
    assert (line["reading_a"], line["reading_b"]) == readings
    found = [np.mean(a), np.mean(b), np.mean(change), change.min(), change.max()]
    kept = line[["a", "b", "effect", "least", "most"]].astype(float)
    np.testing.assert_allclose(kept, found, atol=1.1e-4)
    assert line["images"] == len(a)


@needs_mirror
def test_what_gt_mean_does_to_the_dark_images_themselves():
    views = [{"restored": dark, "reference": reference} for dark, reference in lol()]
    plain, matched = (values(name, "psnr", views) for name in ("basicsr-rgb", "hvi-cidnet-gt-mean"))
    assert f"{np.mean(plain):.4f}" == "7.7733"
    expect("GT-mean: PSNR", f"{LOL}the input", SCALED, plain, matched)


@needs_mirror
@pytest.mark.parametrize(
    ("name", "saved", "official"),
    [
        ("gamma 2.2", "rounded", None),
        ("Zero-DCE", "rounded", "14.8607"),
        ("SCI medium", "truncated", "14.7840"),
        ("RUAS lol", "truncated", "16.4047"),
        (URETINEX, "truncated", "19.8416"),
        (URETINEX_REFERENCE, "truncated", "21.3282"),
    ],
)
def test_figures_of_official_enhancers_are_what_is_measured(name, saved, official):
    """Each saved as its own script saves it, RGB; URetinex-Net takes minutes."""
    found = restored(name)
    plain = {word: values("basicsr-rgb", "psnr", views) for word, views in found.items()}
    matched = values("hvi-cidnet-gt-mean", "psnr", found[saved])
    said = name if official is None else f"official {name}"
    on = f"{LOL}{said}, truncated" if saved == "truncated" else f"{LOL}{said}"
    expect("GT-mean: PSNR", on, SCALED, plain[saved], matched)
    if official is not None:
        assert f"{np.mean(plain[saved]):.4f}" == official
    if name in ("Zero-DCE", "SCI medium", "RUAS lol", URETINEX):
        both = plain["rounded"], plain["truncated"]
        expect("result truncated", f"{LOL}{said}", CUT, *both)
    if name == URETINEX:
        gaussian = values("basicsr-rgb", "ssim", found[saved])
        uniform = values("llformer", "ssim_uniform", found[saved])
        assert f"{np.mean(uniform):.4f}" == "0.8243"  # what was measured by hand: skimage's default
        line = kept_line("SSIM window shape", on)
        assert (line["a"], line["b"]) == pytest.approx(
            (np.mean(gaussian), np.mean(uniform)), abs=1e-4
        )


def test_gt_mean_turns_the_ranking():
    """Gamma 2.2, which is no network, is last without it and overtakes three networks with it."""
    lines = ledger.effects()
    lines = lines[(lines["ambiguity"] == "GT-mean: PSNR") & lines["on"].str.startswith(LOL)]
    lines = lines.set_index("on")
    gamma = lines.loc[f"{LOL}gamma 2.2"]
    overtaken = lines[lines.index.str.contains("Zero-DCE|SCI|RUAS")]
    assert len(overtaken) == 3
    assert (overtaken["a"] > gamma["a"]).all() and (overtaken["b"] < gamma["b"]).all()
    ratios = lines.loc[
        [f"{LOL}official {name}, truncated" for name in (URETINEX, URETINEX_REFERENCE)]
    ]
    line = kept_line("URetinex-Net's ratio", f"{LOL}official URetinex-Net, truncated")
    assert [line["a"], line["b"]] == ratios["a"].tolist()


@needs_mirror
def test_a_perfect_result_of_snr_s_resizing_has_38_db():
    """LOL's references at 400x608 and back: what resizing alone costs."""
    found = []
    for _, reference in lol():
        image = to_tensor(reference)[None]
        wider = interpolate(image, size=(400, 608), mode="bilinear")
        back = quantise(interpolate(wider, size=(400, 600), mode="bilinear")[0])
        found.append(protocol("basicsr-rgb").psnr(back, reference))
    assert (np.mean(found), min(found)) == pytest.approx((38.2134, 34.2193), abs=1e-3)


def ssim_of_range(first: np.ndarray, second: np.ndarray, largest: float) -> float:
    """MATLAB's ssim of doubles: borders repeated, sigma 1.5, population covariance."""
    return float(
        structural_similarity(
            np.pad(first, 5, mode="edge"),
            np.pad(second, 5, mode="edge"),
            data_range=largest,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


@needs_mirror
def test_figures_of_official_prenet_are_what_is_measured():
    """Two images that the repository does not store turned."""
    folder = repository("Nealgo/DerainSys") / "ai_engine/dataset"
    model = prenet.build(prenet.Config())
    path = "logs/Rain100L/PReNet6/net_latest.pth"
    model.load_state_dict(goldens.official("csdwren/PReNet", path), strict=True)
    model.eval()
    psnrs, ssims = {"rounded": [], "truncated": []}, {255.0: [], 1.0: []}
    for side, name in (("test", "1.png"), ("train", "11.png")):
        reference = read_image(folder / side / "gt" / name)
        with torch.inference_mode():
            out = model(to_tensor(read_image(folder / side / "rain" / name))[None])
            cut = quantise(Truncated(torch.nn.Identity())(out)[0])
        psnrs["rounded"].append(protocol("prenet").psnr(quantise(out[0]), reference))
        psnrs["truncated"].append(protocol("prenet").psnr(cut, reference))
        for largest, found in ssims.items():
            found.append(ssim_of_range(to_y(cut), to_y(reference), largest))
    on = "official PReNet, 2 images of Rain100L, prenet"
    expect("result truncated", on, CUT, *psnrs.values())
    readings = ("255", "1, which MATLAB's ssim takes for doubles")
    expect("SSIM's range", on, readings, *ssims.values())
