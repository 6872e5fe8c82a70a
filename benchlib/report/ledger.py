"""The protocol ledger: how each published table was measured, as far as it can be known, and what that does. Layer 4.

``stated`` is read from ``benchlib/papers/ledger/ledger.csv``, transcribed by hand. ``measure`` measures each ambiguity
on one fixed set of images; ``effects.csv`` beside it holds what it measured, and figures of official weights that
tests hold. This is why numbers from different papers cannot be set side by side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchlib import papers
from benchlib.metrics import load_metric, protocol

if TYPE_CHECKING:
    from collections.abc import Callable


FOLDER = Path(papers.__file__).parent / "ledger"
ASPECTS = {"colour": "colour", "border": "border", "ssim": "SSIM window", "averaging": "averaging", "data": "data",
           "quantisation": "quantisation"}  # fmt: skip
NOT_STATED = "not stated"
STATED = ["paper", "table", "section", "stated", "official_code", "source", "here"]
EFFECTS = [
    "ambiguity",
    "on",
    "reading_a",
    "reading_b",
    "a",
    "b",
    "effect",
    "least",
    "most",
    "unit",
    "images",
    "where",
]

PHOTOGRAPHS = (
    "astronaut",
    "chelsea",
    "coffee",
    "motorcycle",
)  # scikit-image's, stored without loss
LONG_SIDE = 256  # pixels
HERE = f"benchlib/report/ledger.py: {', '.join(PHOTOGRAPHS)} at {LONG_SIDE} px"
ALL = ("noise 25", "x4", "shake-blur")
DARK = "noise 10, times 0.6"

Pictures = list[
    np.ndarray
]  # of one kind, in the order of PHOTOGRAPHS; (H,W,3) uint8, or float64 in [0,255]


def stated() -> pd.DataFrame:
    """A row a published table: what the paper states, what official code does, what is used here.

    Columns: paper, table (as in ``benchlib/papers``), section (where the paper says so), stated (colour, border, SSIM
    window, averaging, data, quantisation; what is "not stated" by name), official_code, source (the repositories and
    files read), here (with the protocols' names).
    """
    frame = pd.read_csv(FOLDER / "ledger.csv", dtype=str, keep_default_na=False)
    here = [f"{line.here} ({line.protocols.replace(' ', ', ')})" for line in frame.itertuples()]
    return frame.assign(stated=[_said(line) for line in frame.itertuples()], here=here)[STATED]


def _said(line: Any) -> str:
    """What the paper states, aspect by aspect, then the names of those it does not state."""
    said = {word: getattr(line, name) for name, word in ASPECTS.items()}
    silent = [word for word, text in said.items() if text == NOT_STATED]
    parts = [f"{word}: {text}" for word, text in said.items() if text != NOT_STATED]
    return "; ".join([*parts, *([f"{NOT_STATED}: {', '.join(silent)}"] if silent else [])])


def effects() -> pd.DataFrame:
    """What each ambiguity does, as it was measured once (``measure`` gives the same again).

    Columns: ambiguity; on (the kind of images); reading_a, reading_b; a, b (the mean under each); effect (b - a);
    least, most (of one image; empty where there is no value an image); unit; images (how many); where (measured).
    """
    return pd.read_csv(FOLDER / "effects.csv")


def measure() -> pd.DataFrame:
    """Measure every ambiguity on the fixed set; columns as ``effects``. The same figures each time, in seconds.

    No network is in it: images degraded with a seed stand in for restored ones ("noise 3" for a good restoration, of
    about 39 dB). So the effects are examples of their size, not corrections of published figures.
    """
    sharp = _photographs()
    kinds = {name: make(sharp) for name, make in _KINDS.items()}
    lines = [line for kind in ALL for line in _measures(kind, kinds[kind], sharp)]
    lines += _averaging({kind: kinds[kind] for kind in ALL}, sharp)
    lines += [_rounding(kinds["noise 3"], sharp), *_resizing(sharp), *_clipping(sharp)]
    lines += [_truncating(kinds["noise 3"], sharp), *_brightness(sharp), *_ssims(kinds, sharp)]
    lines += [_resized(kinds["noise 3"], sharp)]
    return pd.DataFrame(lines, columns=EFFECTS).round(6)


STATED_NOTE = "How each published table was measured: what the paper states, what official code does, what is used here."
EFFECTS_NOTE = (
    "What each ambiguity does to the figure: the second reading minus the first, mean over images (smallest and "
    "largest of one image). Degraded images stand in for restored ones; the sizes are examples, not corrections."
)


def effects_text(frame: pd.DataFrame) -> pd.DataFrame:
    """``effects`` as text for reading, four digits."""
    lines = []
    for line in frame.itertuples():
        spread = "" if pd.isna(line.least) else f" [{line.least:+.4f}, {line.most:+.4f}]"
        lines.append(
            {
                "ambiguity": line.ambiguity,
                "images": f"{line.images} ({line.on})",
                "readings": f"{line.reading_a} / {line.reading_b}",
                "values": f"{line.a:.4f} / {line.b:.4f}",
                "effect": f"{line.effect:+.4f}{spread} {line.unit}",
                "measured": line.where,
            }
        )
    return pd.DataFrame(lines, dtype=object)


def _photographs() -> Pictures:
    from PIL import Image

    from benchlib import assets
    from benchlib.imageio import read_image

    pictures = []
    for name in PHOTOGRAPHS:
        image = read_image(assets.images(name)[0])
        scale = LONG_SIDE / max(image.shape[:2])
        height, width = (
            round(side * scale) // 4 * 4 for side in image.shape[:2]
        )  # x4 needs whole multiples
        pictures.append(
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
        )
    return pictures


def _degraded(kind: str, sharp: Pictures, **settings: Any) -> Pictures:
    """Each photograph degraded by a file of ``degrade``, as it is stored: uint8, or float32 around [0,1] (noise)."""
    from benchlib.params import configure
    from benchlib.seeding import name_rng

    module, config = configure("degrade", {"name": kind, **settings}, "ledger")
    word = kind.replace("_", "-")  # what the generator was seeded with when effects.csv was made
    degraded = []
    for name, image in zip(PHOTOGRAPHS, sharp, strict=True):
        degraded.append(module.degrade(image, config, name_rng("ledger", word, name), None))
    return degraded


def _noisy(sigma: float, sharp: Pictures) -> Pictures:
    """Float64 in units of grey levels, neither clipped nor rounded."""
    return [
        255 * image.astype(np.float64) for image in _degraded("gaussian_noise", sharp, sigma=sigma)
    ]


def _to_8bit(pictures: Pictures) -> Pictures:
    return [np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in pictures]


def _enlarged(small: Pictures) -> Pictures:
    from benchlib.report.pictures import enlarged

    return [enlarged(image, (4 * image.shape[0], 4 * image.shape[1])) for image in small]


_KINDS: dict[str, Callable[[Pictures], Pictures]] = {
    "noise 25": lambda sharp: _to_8bit(_noisy(25.0, sharp)),
    "noise 3": lambda sharp: _noisy(3.0, sharp),
    "x4": lambda sharp: _enlarged(_degraded("bicubic", sharp, scale=4)),
    "shake-blur": lambda sharp: _degraded("shake_blur", sharp, extent=10.0),
}


def _line(
    ambiguity: str, on: str, readings: tuple[str, str], a: list[float], b: list[float], unit: str
) -> dict[str, Any]:
    """One effect from two readings' values, an image each; of a single pooled value there is no spread."""
    change = np.subtract(b, a)
    spread = (float(change.min()), float(change.max())) if len(a) > 1 else (None, None)
    values = (float(np.mean(a)), float(np.mean(b)), float(np.mean(change)), *spread)
    return dict(
        zip(EFFECTS, (ambiguity, on, *readings, *values, unit, len(PHOTOGRAPHS), HERE), strict=True)
    )


def _by(name: str, metric: str, pictures: Pictures, sharp: Pictures) -> list[float]:
    """The values of a metric, by its word in the rows, under a protocol: one an image."""
    one = protocol(name)
    file = next(file for file in one.metrics if metric == load_metric(file).NAME)
    values = []
    for image, reference in zip(pictures, sharp, strict=True):
        views = {"restored": image, "reference": reference}
        values.append(one.measure(views, [file])[file])
    return values


def _measures(kind: str, images: Pictures, sharp: Pictures) -> list[dict[str, Any]]:
    """The ambiguities of the measure alone, on one kind of images."""
    from skimage.metrics import structural_similarity

    pairs = list(zip(images, sharp, strict=True))
    of = {
        (name, metric): _by(name, metric, images, sharp)
        for name in (
            "basicsr-rgb",
            "basicsr-y",
            "basicsr-y@4",
            "matlab-y-rounded",
            "nafnet-y",
            "nafnet-ssim3d",
        )
        for metric in ("PSNR", "SSIM")
    }
    uniform = [
        float(structural_similarity(a, b, data_range=255, channel_axis=-1)) for a, b in pairs
    ]
    rgb, y = of["basicsr-rgb", "SSIM"], of["basicsr-y", "SSIM"]
    inside = ("windows inside the image", "border replicated, every pixel")
    across = ("2-D Gaussian per channel", "3-D Gaussian across colour")
    window = ("Gaussian 11x11", "uniform 7x7, sample covariance (scikit-image's default)")
    colour, cut = ("RGB", "Y of BT.601"), ("none cut", "4 px cut")
    luma = of["basicsr-y", "PSNR"]
    return [
        _line("SSIM window across colour", kind, across, rgb, of["nafnet-ssim3d", "SSIM"], "SSIM"),
        _line("SSIM window shape", kind, window, rgb, uniform, "SSIM"),
        _line("SSIM at the border", kind, inside, y, of["nafnet-y", "SSIM"], "SSIM"),
        _line("PSNR colour", kind, colour, of["basicsr-rgb", "PSNR"], luma, "dB"),
        _line("SSIM colour", kind, colour, rgb, y, "SSIM"),
        _line(
            "Y rounded",
            kind,
            ("Y as computed", "Y in whole numbers"),
            luma,
            of["matlab-y-rounded", "PSNR"],
            "dB",
        ),
        _line("border cut", kind, cut, luma, of["basicsr-y@4", "PSNR"], "dB"),
    ]


def _averaging(kinds: dict[str, Pictures], sharp: Pictures) -> list[dict[str, Any]]:
    """Mean of the images' PSNR against the PSNR of all pixels' mean squared error, per kind and over all."""
    lines = []
    errors = {
        kind: [
            float(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(images, sharp, strict=True)
        ]
        for kind, images in kinds.items()
    }
    sizes = np.array([image.size for image in sharp], float)
    readings = ("mean of the images' PSNR", "PSNR of the pooled squared error")
    for kind, own in [
        *errors.items(),
        (" + ".join(errors), [e for part in errors.values() for e in part]),
    ]:
        weights = np.tile(sizes, len(own) // len(sizes))
        pooled = 10 * np.log10(255**2 / np.average(own, weights=weights))
        line = _line(
            "averaging",
            kind,
            readings,
            [float(np.mean(10 * np.log10(255**2 / np.array(own))))],
            [pooled],
            "dB",
        )
        lines.append(line | {"images": len(own)})
    return lines


def _rounding(images: Pictures, sharp: Pictures) -> dict[str, Any]:
    from benchlib.metrics.psnr import measure as psnr

    clipped = [np.clip(image, 0, 255) for image in images]
    as_float = [psnr(image, b.astype(float)) for image, b in zip(clipped, sharp, strict=True)]
    readings = ("not rounded", "rounded to 8 bits")
    return _line(
        "result rounded",
        "noise 3",
        readings,
        as_float,
        _by("basicsr-rgb", "PSNR", _to_8bit(images), sharp),
        "dB",
    )


def _truncating(images: Pictures, sharp: Pictures) -> dict[str, Any]:
    """How an image becomes 8 bits: by the nearest level, or by ``astype("uint8")``."""
    cut = [np.clip(image, 0, 255).astype(np.uint8) for image in images]
    return _line(
        "result truncated",
        "noise 3",
        ("rounded to 8 bits", "truncated to 8 bits"),
        _by("basicsr-rgb", "PSNR", _to_8bit(images), sharp),
        _by("basicsr-rgb", "PSNR", cut, sharp),
        "dB",
    )


def _brightness(sharp: Pictures) -> list[dict[str, Any]]:
    """GT-mean: of images that are too dark and noisy, by the means that three scripts take."""
    dark = _to_8bit([0.6 * image for image in _noisy(10.0, sharp)])
    plain = {word: _by("basicsr-rgb", word, dark, sharp) for word in ("PSNR", "SSIM")}
    matched = {}
    for word in ("PSNR", "SSIM"):
        matched[word] = _by("hvi-cidnet-gt-mean", word, dark, sharp)
    readings = ("as restored", "scaled to the reference's mean grey")
    lines = []
    for word, unit in (("PSNR", "dB"), ("SSIM", "SSIM")):
        lines.append(_line(f"GT-mean: {word}", DARK, readings, plain[word], matched[word], unit))
    for name, mean in (
        ("pydiff-gt-mean", "of all colours, truncated"),
        ("llflow-gt-mean", "grey over all colours, truncated"),
    ):
        other = _by(name, "PSNR", dark, sharp)
        means = ("grey, not rounded", mean)
        lines.append(_line("GT-mean: which mean", DARK, means, matched["PSNR"], other, "dB"))
    return lines


def _ssims(kinds: dict[str, Pictures], sharp: Pictures) -> list[dict[str, Any]]:
    """SSIMs of scripts that are more than a window's shape apart, of noisy images."""
    from skimage.metrics import structural_similarity

    from benchlib.metrics._brightness import to_grey

    images = kinds["noise 25"]
    square = []
    for image, reference in zip(images, sharp, strict=True):
        greys = to_grey(image), to_grey(reference)
        square.append(float(structural_similarity(*greys, data_range=255)))
    along = load_metric("ssim_columns").measure
    columns = [along(*pair) for pair in zip(images, sharp, strict=True)]
    windows = ("square of 7 pixels", "7 pixels along columns (scikit-image 0.18, multichannel)")
    single = _by("mprnet-sidd", "SSIM", images, sharp)
    double = _by("restormer-gopro", "SSIM", images, sharp)
    precision = ("single (nafnet-ssim3d)", "double (as MATLAB takes 8-bit arrays)")
    return [
        _line("SSIM of grey by LLFlow", "noise 25", windows, square, columns, "SSIM"),
        _line("3-D SSIM's precision", "noise 25", precision, single, double, "SSIM"),
    ]


def _resized(images: Pictures, sharp: Pictures) -> dict[str, Any]:
    """SNR-Aware restores LOL's 400x600 at 400x608 and resizes back; of a network that does nothing else."""
    from torch import from_numpy
    from torch.nn.functional import interpolate

    back = []
    for image in images:
        height, width = image.shape[:2]
        tensor = from_numpy(image).permute(2, 0, 1)[None].clamp(0, 255)
        wider = interpolate(tensor, size=(height, round(width * 608 / 600)), mode="bilinear")
        same = interpolate(wider, size=(height, width), mode="bilinear")
        back.append(same[0].permute(1, 2, 0).numpy())
    return _line(
        "resized to be restored",
        "noise 3",
        ("at its own size", "608/600 as wide and back, bilinear"),
        _by("basicsr-rgb", "PSNR", _to_8bit(images), sharp),
        _by("basicsr-rgb", "PSNR", _to_8bit(back), sharp),
        "dB",
    )


def _resizing(sharp: Pictures) -> list[dict[str, Any]]:
    """How MATLAB's bicubic is read; of the low-resolution images, enlarged again by one kernel."""
    first = _degraded("bicubic", sharp, scale=4)
    others = {
        ("MATLAB's bicubic between dimensions", "8 bits", "float"): _degraded(
            "bicubic", sharp, scale=4, between="float"
        ),
        ("MATLAB's bicubic at the border", "mirrored", "repeated"): _degraded(
            "bicubic", sharp, scale=4, border="replicate"
        ),
    }
    lines = []
    for (ambiguity, one, other), second in others.items():
        values = [_by("basicsr-y@4", "PSNR", _enlarged(small), sharp) for small in (first, second)]
        lines.append(_line(ambiguity, "x4", (one, other), values[0], values[1], "dB"))
        apart = [
            float(np.mean(np.abs(a.astype(float) - b))) for a, b in zip(first, second, strict=True)
        ]
        change = f"{ambiguity}: mean change of the input"
        lines.append(_line(change, "x4", (one, other), [0.0] * len(apart), apart, "grey levels"))
    return lines


def _clipping(sharp: Pictures) -> list[dict[str, Any]]:
    """Whether noise is clipped: of the noisy input, and of the image denoised by total variation (Chambolle 2004)."""
    from benchlib.metrics.psnr import measure as psnr

    noisy = _noisy(25.0, sharp)
    clipped = [image.astype(float) for image in _to_8bit(noisy)]
    cut = [np.floor(np.clip(image, 0, 255)) for image in noisy]
    lines = []
    for other, images in (("clipped, rounded", clipped), ("clipped, truncated", cut)):
        readings = ("float, not clipped", other)
        values = [
            [psnr(a, b.astype(float)) for a, b in zip(some, sharp, strict=True)]
            for some in (noisy, images)
        ]
        lines.append(
            _line("noise clipped: the input", "noise 25", readings, values[0], values[1], "dB")
        )
        values = [_by("basicsr-rgb", "PSNR", _denoised(some), sharp) for some in (noisy, images)]
        lines.append(
            _line("noise clipped: denoised", "noise 25", readings, values[0], values[1], "dB")
        )
    return lines


def _denoised(noisy: Pictures) -> Pictures:
    from skimage.restoration import denoise_tv_chambolle

    return _to_8bit(
        [255 * denoise_tv_chambolle(image / 255, weight=0.1, channel_axis=-1) for image in noisy]
    )
