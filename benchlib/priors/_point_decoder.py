"""SAM's mask decoder for many points on one image, in less than half of the package's operations.

``segment_anything``'s ``MaskDecoder`` repeats the image for every point, projects each of its 4,096
places for each of seven tokens' questions, and computes and enlarges masks that the generator then
drops. The results here are the package's but for rounding:

- What does not depend on a point is computed once an image.
- Seven tokens ask 4,096 places. A product of three matrices is cheapest from its small end, so the
  tokens are projected to the image's channels, never the places to the tokens'.
- Masks are computed only of points that have a good one, and only good ones are enlarged, by one
  matrix an axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

VERSION = 2
LARGER = 4  # times: from the encoder's map to the network's masks, from these to SAM's input


@dataclass(frozen=True)
class Seen:
    """The image for n points, or for n = 1 that stands for all.

    keys: ``(n,4096,256)``, what is known of each place. placed: the same with each place's code
    added.
    """

    keys: Tensor
    placed: Tensor


@dataclass(frozen=True)
class Projected:
    """The image as no point has changed it, projected for the first layer, head by head.

    asked, answering: ``(8,16,4096)``; told: ``(8,4096,16)``.
    """

    asked: Tensor
    told: Tensor
    answering: Tensor


@dataclass(frozen=True)
class Decoded:
    """A batch of B points before their masks: scores and what masks are computed from.

    predicted_iou: ``(B,3)``. kernels: ``(B,4,32)``, the weights of the masks. keys: of each point
    the image, ``(1,4096,256)``.
    """

    predicted_iou: Tensor
    kernels: Tensor
    keys: list[Tensor]


class PointDecoder:
    """Decodes points on the image that a predictor was given.

    predictor: ``SamPredictor`` with its image set. at_once: points whose image side is computed
    together; one where a cache is small.
    """

    def __init__(self, predictor: Any, at_once: int) -> None:
        self.predictor = predictor
        self.prompts = predictor.model.prompt_encoder
        self.decoder = predictor.model.mask_decoder
        self.transformer = self.decoder.transformer
        self.at_once = at_once
        features = predictor.features
        self.side = tuple(features.shape[-2:])
        dense = self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        keys = (features + dense).flatten(2).transpose(1, 2).contiguous()
        self.place = self.prompts.get_dense_pe().flatten(2).transpose(1, 2).contiguous()
        self.first = Seen(keys, keys + self.place)
        self.projected = _projected(self.transformer.layers[0], self.first)
        self.enlarging = tuple(self._enlarging(axis) for axis in (0, 1))

    def decode(self, points: Tensor) -> Decoded:
        """Scores of points, ``(B,2)`` as x and y in SAM's input, and what their masks are made
        from.
        """
        scores, kernels, keys = [], [], []
        for tokens in self._tokens(points).split(self.at_once):
            queries, seen = self._transformed(tokens)
            scores.append(self.decoder.iou_prediction_head(queries[:, 0]))
            kernels.append(self._kernels(queries))
            keys += seen.keys.split(1)
        return Decoded(torch.cat(scores)[:, 1:], torch.cat(kernels), keys)

    def logits(self, decoded: Decoded, good: Tensor) -> Tensor:
        """The n good masks as the network gives them, ``(n,h,w)``, point by point.

        good: ``(B,3)`` bool. h and w are at most 256: a quarter of SAM's input, and of its padding
        little.
        """
        rows, columns = (self._needed(side) for side in self.predictor.input_size)
        found = [torch.empty((0, LARGER * rows, LARGER * columns), device=good.device)]
        for number in good.any(1).nonzero().flatten().tolist():
            keys = self._map(decoded.keys[number])
            above = self.decoder.output_upscaling(keys[..., :rows, :columns])[0]
            kernels = decoded.kernels[number, 1:][good[number]]
            found.append((kernels @ above.flatten(1)).unflatten(1, above.shape[-2:]))
        return torch.cat(found)

    def _map(self, keys: Tensor) -> Tensor:
        """What is known of the image's places as ``(1,256,64,64)``, channels last.

        Of a single image PyTorch cannot tell that layout by its view, and its convolutions then
        take the other one, which is slower by half.
        """
        rows, columns = self.side
        channels = keys.shape[2]
        steps = (keys.numel(), 1, columns * channels, channels)
        return keys.as_strided((1, channels, rows, columns), steps)

    def enlarged(self, low: Tensor) -> Tensor:
        """Logits of n masks at the image's size, ``(n,H,W)``, of :meth:`logits`.

        As ``Sam.postprocess_masks`` does it, its two steps in one.
        """
        down, across = self.enlarging
        return down @ low @ across.T

    def _transformed(self, tokens: Tensor) -> tuple[Tensor, Seen]:
        """``TwoWayTransformer.forward``: tokens, ``(n,7,256)``, and the image, at the end."""
        queries, seen = tokens, self.first
        projected: Projected | None = self.projected
        for layer in self.transformer.layers:
            queries = _ask_each_other(layer, queries, tokens)
            asking = layer.cross_attn_token_to_image
            queries = layer.norm2(queries + _asked(asking, queries + tokens, seen, projected))
            queries = layer.norm3(queries + layer.mlp(queries))
            seen = self._answered(layer, queries, tokens, seen, projected)
            projected = None
        last = self.transformer.final_attn_token_to_image
        queries = queries + _asked(last, queries + tokens, seen, None)
        return self.transformer.norm_final_attn(queries), seen

    def _answered(
        self, layer: Any, queries: Tensor, tokens: Tensor, seen: Seen, projected: Projected | None
    ) -> Seen:
        """The image, after its places have asked the tokens."""
        attention = layer.cross_attn_image_to_token
        heads = attention.num_heads
        vectors = _by_head(attention, attention.k_proj(queries + tokens))
        ready = None
        if projected is not None:
            ready = projected.answering
        bias = attention.q_proj.bias.reshape(heads, -1, 1)
        scores = _products(vectors, attention.q_proj.weight, seen, ready) + vectors @ bias
        weights = torch.softmax(scores / math.sqrt(vectors.shape[-1]), dim=2).flatten(1, 2)
        # The bias in equal shares, since the weights of each head sum to one.
        out = attention.out_proj.weight.T.unflatten(0, (heads, -1))
        said = _by_head(attention, attention.v_proj(queries)) @ out
        said = said.flatten(1, 2) + attention.out_proj.bias / heads
        before = seen.keys.expand(len(queries), -1, -1)
        keys = layer.norm4(torch.baddbmm(before, weights.transpose(1, 2), said))
        return Seen(keys, keys + self.place)

    def _needed(self, side: int) -> int:
        """Rows, or columns, of the encoder's map that reach the image; the others are padding.

        Enlarging looks at one logit more than the image has.
        """
        patch = LARGER * LARGER
        return min(math.ceil((side + LARGER) / patch), self.side[0])

    def _enlarging(self, axis: int) -> Tensor:
        """From a mask's rows (axis 0) or columns (1), ``(H,h)``: to SAM's input, then the image."""
        seen, size = self.predictor.input_size[axis], self.predictor.original_size[axis]
        low = LARGER * self._needed(seen)
        unit = torch.eye(LARGER * self.side[axis], device=self.place.device)[:low]
        large = _resized(unit, LARGER * unit.shape[1])[:, :seen]
        return _resized(large, size).T.contiguous()

    def _tokens(self, points: Tensor) -> Tensor:
        """``(B,7,256)``: the score's token, the masks', the point and the package's padding."""
        labels = torch.ones((len(points), 1), dtype=torch.int, device=points.device)
        sparse, _ = self.prompts(points=(points[:, None], labels), boxes=None, masks=None)
        own = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        return torch.cat((own.expand(len(points), -1, -1), sparse), dim=1)

    def _kernels(self, queries: Tensor) -> Tensor:
        found = []
        for i, network in enumerate(self.decoder.output_hypernetworks_mlps):
            found.append(network(queries[:, 1 + i]))
        return torch.stack(found, dim=1)


def _projected(layer: Any, seen: Seen) -> Projected:
    asking, answering = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
    asked = F.linear(seen.placed, asking.k_proj.weight)
    told = F.linear(seen.keys, asking.v_proj.weight)
    answers = F.linear(seen.placed, answering.q_proj.weight)
    return Projected(
        _by_head(asking, asked)[0].transpose(1, 2).contiguous(),
        _by_head(asking, told)[0].contiguous(),
        _by_head(answering, answers)[0].transpose(1, 2).contiguous(),
    )


def _by_head(attention: Any, vectors: Tensor) -> Tensor:
    """``(n,a,128)`` to ``(n,8,a,16)``."""
    return vectors.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _ask_each_other(layer: Any, queries: Tensor, tokens: Tensor) -> Tensor:
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
    placed = queries + tokens
    return layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))


def _asked(attention: Any, placed: Tensor, seen: Seen, projected: Projected | None) -> Tensor:
    """What tokens, ``(n,7,256)`` with their places, learn of the image.

    The keys' bias adds the same to all places, and a softmax does not see it.
    """
    vectors = _by_head(attention, attention.q_proj(placed))
    bias = attention.v_proj.bias
    if projected is None:
        scores = _products(vectors, attention.k_proj.weight, seen, None)
        weights = torch.softmax(scores / math.sqrt(vectors.shape[-1]), dim=-1)
        mean = (weights.flatten(1, 2) @ seen.keys).unflatten(1, weights.shape[1:3])
        value = attention.v_proj.weight.unflatten(0, (attention.num_heads, -1))
        told = mean @ value.transpose(1, 2)
    else:
        scores = _products(vectors, attention.k_proj.weight, seen, projected.asked)
        weights = torch.softmax(scores / math.sqrt(vectors.shape[-1]), dim=-1)
        told = weights @ projected.told
    return attention.out_proj(told.transpose(1, 2).flatten(2) + bias)


def _products(vectors: Tensor, weight: Tensor, seen: Seen, ready: Tensor | None) -> Tensor:
    """``(n,8,7,4096)`` of each head's vectors, ``(n,8,7,16)``, with the image's places, which
    ``weight``, ``(128,256)``, projects. ready: the projected places, ``(8,16,4096)``.
    """
    if ready is not None:
        return vectors @ ready
    folded = vectors @ weight.unflatten(0, (vectors.shape[1], -1))
    found = folded.flatten(1, 2) @ seen.placed.transpose(1, 2)
    return found.unflatten(1, vectors.shape[1:3])


def _resized(rows: Tensor, size: int) -> Tensor:
    """``(k,a)`` to ``(k,size)``, as the package enlarges masks along one axis."""
    return F.interpolate(rows[:, None], size, mode="linear", align_corners=False)[:, 0]
