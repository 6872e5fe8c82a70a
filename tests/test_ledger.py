"""The protocol ledger: every published table has a line; committed effects are what is measured."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from skimage.metrics import structural_similarity
from test_backbone_imdn import needs_mirror, psnr, repository, set5

from benchlib.degrade import bicubic
from benchlib.imageio import read_image
from benchlib.metrics import protocol
from benchlib.papers import published
from benchlib.report import ledger
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
