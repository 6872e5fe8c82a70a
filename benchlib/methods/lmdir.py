"""LMDIR: words of what degrades and of what is shown, and a reference picture, inside Restormer.

He et al., "Training-Free Large Model Priors for Multiple-in-One Image Restoration" (arXiv
2407.13181). The words about the degradation, refined by the image, scale, shift and gate the
encoder's blocks; the words about the content are attended to in the bottleneck; a reference picture
is attended to in the decoder. There is no official code. ``docs/lmdir.md`` has what is stated, what
is open, and the setting of each reading.

The priors are a bundle of up to three parts: ``degradation`` and ``content`` (tokens) and
``reference`` (a picture). Table III's rows are ``reads``: [] is row I, which equals its backbone;
[degradation] is II; with content it is III; with reference too, the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from benchlib.contracts import Backbone, BenchError, Info, need
from benchlib.methods._lmdir import (
    Adapter,
    PictureReference,
    PromptEncoder,
    Start,
    TokenReference,
    as_large_as,
    content_aware,
    degradation_aware,
    mirrored,
    reference_based,
)

VERSION = 1
USES = {"methods/_lmdir.py": 1}
ENTRIES = {
    "degradation": ("degradation.tokens", "degradation.tokens_mask"),
    "content": ("content.tokens", "content.tokens_mask"),
    "reference": ("reference.picture",),
}
INFO = Info(
    paper="lmdir",
    source="section III, equations 1 to 29",
    needs=(*ENTRIES["degradation"], *ENTRIES["content"], *ENTRIES["reference"]),
    label="LMDIR",
)
BACKBONES = ("restormer",)
MULTIPLE = 8  # pixels: what Restormer halves three times
# parts of Restormer: levels down, those of the way up with the picture's side over theirs
ENCODER = ("encoder_level1", "encoder_level2", "encoder_level3")
DECODER = {"decoder_level3": 4, "decoder_level2": 2, "decoder_level1": 1}
LEAST = 2  # channels a head: a softmax of one entry is 1, whatever the reference says

Part = Literal["degradation", "content", "reference"]
Count = Annotated[int, Field(ge=1, le=2**16)]


@dataclass(frozen=True)
class Config:
    """Which priors are read, sizes, and the reading where the paper leaves a choice.

    reads: the parts of the bundle that are used, each once. size: numbers in a token of degradation
    (512: the text encoder of CLIP ViT-B/32). content_size: in one of content (None: as many).
    channels: C of Z_d. queries: N-hat. width: channels of the image encoder. grid: I_d is so many
    means a side of the image; 1 is the paper's one vector.

    start: at first the gates, and what the other blocks add, are "zero"; or the gates are "one", so
    that a fresh network equals Restormer; or all is "random". pool: Z_d's rows become one by their
    "mean", or stand "beside" each other. modulate: scale and shift "after" the layer norm or
    "before" it. scaled: the content's softmax has 1 / sqrt(C). residual: equation 16 keeps what it
    refines; False: as it is written. softmax: of equation 28 over "channels", or over "pixels".
    Raises BenchError for a part that is named twice.
    """

    reads: Annotated[tuple[Part, ...], Field(strict=False)] = (
        "degradation",
        "content",
        "reference",
    )
    size: Count = 512
    content_size: Count | None = None
    channels: Count = 256
    queries: Count = 16
    width: Count = 32
    grid: Annotated[int, Field(ge=1, le=64)] = 1
    start: Start = "zero"
    pool: Literal["mean", "beside"] = "mean"
    modulate: Literal["after", "before"] = "after"
    scaled: bool = False
    residual: bool = True
    softmax: Literal["channels", "pixels"] = "channels"

    def __post_init__(self) -> None:
        for place, part in enumerate(self.reads):
            if part in self.reads[:place]:
                raise BenchError(f"lmdir: reads: got {part!r} twice; name each once")


def needs(config: Config) -> tuple[str, ...]:
    """The entries of the parts that are read."""
    entries: list[str] = []
    for part in config.reads:
        entries += ENTRIES[part]
    return tuple(entries)


class LMDIR(nn.Module):
    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.config = config
        self.network = backbone()
        _check(self.network)
        guides: dict[str, nn.Module] = {}
        if "degradation" in config.reads:
            guides["prompt"] = PromptEncoder(
                config.size, config.channels, config.queries, config.width, config.grid
            )
            guides["degradation"] = self._adapters()
        if "content" in config.reads:
            guides["content"] = self._token_references()
        if "reference" in config.reads:
            guides["reference"] = self._picture_references()
        self.guides = nn.ModuleDict(guides)

    def _level(self, name: str) -> list[Any]:
        """The transformer blocks of a part of Restormer."""
        return list(self.network.get_submodule(name).children())

    def _adapters(self) -> nn.ModuleDict:
        """One a block of the encoder, level by level."""
        config, made = self.config, nn.ModuleDict()
        for name in ENCODER:
            level = nn.ModuleList()
            for block in self._level(name):
                dim = _width(block)
                level.append(
                    Adapter(config.channels, config.queries, dim, config.pool, config.start)
                )
            made[name] = level
        return made

    def _token_references(self) -> nn.ModuleList:
        config, made = self.config, nn.ModuleList()
        size = config.content_size or config.size
        for block in self._level("latent"):
            made.append(TokenReference(size, _width(block), config.scaled, config.start))
        return made

    def _picture_references(self) -> nn.ModuleDict:
        """One a block of the decoder, level by level."""
        config, made = self.config, nn.ModuleDict()
        for name, scale in DECODER.items():
            level = nn.ModuleList()
            for block in self._level(name):
                dim, heads = _width(block), len(block.attn.temperature)
                _check_heads(name, dim // 2, heads)
                level.append(PictureReference(dim, heads, scale, config.softmax, config.start))
            made[name] = level
        return made

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        parts: Any = self.network  # by Restormer's names
        lq = batch["lq"]
        height, width = lq.shape[-2:]
        image = mirrored(lq, MULTIPLE)
        full, half, quarter = self._encoded(image, batch)
        x = self._bottleneck(parts.down3_4(quarter), batch)
        picture = self._picture(batch)
        x = parts.reduce_chan_level3(torch.cat([parts.up4_3(x), quarter], 1))
        x = self._decoded("decoder_level3", x, picture)
        x = parts.reduce_chan_level2(torch.cat([parts.up3_2(x), half], 1))
        x = self._decoded("decoder_level2", x, picture)
        x = self._decoded("decoder_level1", torch.cat([parts.up2_1(x), full], 1), picture)
        x = parts.output(parts.refinement(x)) + image
        return x[..., :height, :width]

    def embeddings(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the prompt encoder reads and gives, for looking at (Figure 10), a row an image.

        "text": the mean of e_d ``(B,size)``; "image": that of I_d, and "refined": that of Z_d, both
        ``(B,channels)``. Raises BenchError where the method reads no degradation.
        """
        if "degradation" not in self.config.reads:
            raise BenchError("lmdir: reads: has no degradation; there is nothing to embed")
        prompt: Any = self.guides["prompt"]
        image = mirrored(batch["lq"], MULTIPLE)
        tokens, there = self._tokens(batch, "degradation", self.config.size)
        counted = tokens * there[..., None]
        return {
            "text": counted.sum(1) / there.sum(1, keepdim=True).clamp(min=1),
            "image": prompt.image(image).mean(1),
            "refined": prompt(image, tokens, there).mean(1),
        }

    def _encoded(
        self, image: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The maps of the three levels on the way down."""
        parts: Any = self.network
        z = self._refined(image, batch)
        full = self._down("encoder_level1", parts.patch_embed(image), z)
        half = self._down("encoder_level2", parts.down1_2(full), z)
        return full, half, self._down("encoder_level3", parts.down2_3(half), z)

    def _down(self, name: str, x: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
        """A level of the encoder; z: None where the method reads no degradation."""
        if z is None:
            return self.network.get_submodule(name)(x)
        adapters: Any = self.guides.get_submodule(f"degradation.{name}")
        for block, adapter in zip(self._level(name), adapters, strict=True):
            x = degradation_aware(block, x, adapter(z), self.config.modulate)
        return x

    def _refined(self, image: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """Z_d; None where the method reads no degradation."""
        if "degradation" not in self.config.reads:
            return None
        tokens, there = self._tokens(batch, "degradation", self.config.size)
        return self.guides["prompt"](image, tokens, there)

    def _bottleneck(self, x: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if "content" not in self.config.reads:
            return self.network.get_submodule("latent")(x)
        size = self.config.content_size or self.config.size
        tokens, there = self._tokens(batch, "content", size)
        references: Any = self.guides["content"]
        for block, reference in zip(self._level("latent"), references, strict=True):
            x = content_aware(block, x, reference, tokens, there, self.config.residual)
        return x

    def _decoded(self, name: str, x: torch.Tensor, picture: torch.Tensor | None) -> torch.Tensor:
        """A level of the decoder; picture: None where the method reads none."""
        if picture is None:
            return self.network.get_submodule(name)(x)
        references: Any = self.guides.get_submodule(f"reference.{name}")
        for block, reference in zip(self._level(name), references, strict=True):
            x = reference_based(block, x, reference, picture)
        return x

    def _picture(self, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """The reference as large as the mirrored image; None where the method reads none."""
        if "reference" not in self.config.reads:
            return None
        picture = need("lmdir", batch, "reference.picture")
        return mirrored(as_large_as(picture, batch["lq"]), MULTIPLE)

    def _tokens(
        self, batch: dict[str, torch.Tensor], part: str, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A part's tokens ``(B,n,size)`` and which are there; raises BenchError for others."""
        name = f"{part}.tokens"
        tokens, there = need("lmdir", batch, name), need("lmdir", batch, f"{name}_mask")
        if tokens.ndim != 3 or tokens.shape[2] != size:
            setting = "content_size" if part == "content" else "size"
            raise BenchError(
                f"lmdir: {name}: expected (B,n,{size}), got {tuple(tokens.shape)}; set the "
                f"method's {setting} to how many numbers the prior's tokens have"
            )
        return tokens, there


def _width(block: Any) -> int:
    """Channels of a transformer block of Restormer."""
    return block.attn.project_out.out_channels


def _check_heads(name: str, half: int, heads: int) -> None:
    if half % heads or half // heads < LEAST:
        raise BenchError(
            f"lmdir: {name}: {heads} heads for {half} channels, half of the level's; expected a "
            f"divisor that leaves {LEAST} or more a head: give the backbone fewer heads"
        )


def _check(network: Any) -> None:
    """Raise BenchError for a network that is no Restormer of three colours."""
    parts = (*ENCODER, "latent", *DECODER, "refinement", "patch_embed", "output")
    missing = [name for name in parts if not hasattr(network, name)]
    if missing or hasattr(network, "prompt1"):
        raise BenchError(
            "lmdir: the network is no Restormer, whose blocks it changes; take the backbone "
            "restormer"
        )
    if network.patch_embed.proj.in_channels != 3 or network.output.out_channels != 3:
        raise BenchError(
            "lmdir: the network reads or gives no image of three colours; take the backbone "
            "restormer with channels: 3 and dual: false"
        )


def check_network(config: Config, backbone: Backbone) -> None:
    """Raise BenchError for a network that is no Restormer, or whose heads leave no choice."""
    LMDIR(backbone, config)


def added(model: nn.Module) -> nn.Module:
    """What stands beside Restormer, whose cost the table shows by itself."""
    return model.get_submodule("guides")


def build(backbone: Backbone, config: Config) -> nn.Module:
    """A module from ``lq`` ``(B,3,H,W)``, and what ``reads`` names, to ``(B,3,H,W)``.

    ``degradation.tokens``, ``content.tokens``: ``(B,n,size)`` float32, with ``..._mask`` ``(B,n)``
    bool. ``reference.picture``: ``(B,3,h,w)`` float32 in [0,1]; another size is brought to the
    image's. The output is not clipped.
    Raises BenchError for a network that is no Restormer.
    """
    return LMDIR(backbone, config)
