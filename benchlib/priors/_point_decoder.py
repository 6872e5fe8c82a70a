"""SAM's mask decoder for many points on one image: the package's numbers, bit for bit, sooner.

``segment_anything``'s ``MaskDecoder`` repeats the image for every point, and computes and enlarges
masks that the generator then drops. Here what does not depend on a point is computed once an
image; the image's side of the network is computed for few points at a time, so that it stays in the
processor's cache; masks are computed only of points that have a good one, and only good ones are
enlarged. Each number comes of the package's own operations in the package's own order, on arrays
that lie in memory as the package's do, where that decides how PyTorch rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

VERSION = 1
LARGER = 4  # times: from the encoder's map to the network's masks, from these to SAM's input
LEAST = 16  # rows, or columns, of that map: of a single one the convolutions round otherwise


@dataclass(frozen=True)
class Seen:
    """The image as one attention sees it, for n points, or for n = 1 that stands for all.

    keys: ``(n,4096,256)``, what is known of each place. key, value: ``(n,4096,128)``, what points
    ask. query: likewise, what the image asks of points; None for the last attention, where it asks
    nothing.
    """

    keys: Tensor
    key: Tensor
    value: Tensor
    query: Tensor | None


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
        # The layouts are those that the package's tensors have: they decide how sums are rounded.
        dense = self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        keys = (features + dense).flatten(2).permute(0, 2, 1)
        place = self.prompts.get_dense_pe().flatten(2).permute(0, 2, 1)
        first = self._seen(keys, place, self.transformer.layers[0])
        self.place = place.contiguous()
        self.first = Seen(keys.contiguous(), first.key, first.value, first.query)

    def decode(self, points: Tensor) -> Decoded:
        """Scores of points, ``(B,2)`` as x and y in SAM's input, and what their masks are made
        from.
        """
        tokens = self._tokens(points)
        seen = [self.first] * math.ceil(len(points) / self.at_once)
        queries = tokens
        layers = list(self.transformer.layers)
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            queries = self._ask_each_other(layer, queries, tokens)
            queries = queries + self._ask(layer.cross_attn_token_to_image, queries + tokens, seen)
            queries = layer.norm2(queries)
            queries = layer.norm3(queries + layer.mlp(queries))
            seen = self._answer(layer, following, queries, tokens, seen)
        last = self.transformer.final_attn_token_to_image
        queries = queries + self._ask(last, queries + tokens, seen)
        return self._scored(self.transformer.norm_final_attn(queries), seen)

    def logits(self, decoded: Decoded, good: Tensor) -> Tensor:
        """The n good masks as the network gives them, ``(n,h,w)``, point by point.

        good: ``(B,3)`` bool. h and w are at most 256: a quarter of SAM's input, and of its padding
        little.
        """
        rows, columns = (self._needed(side) for side in self.predictor.input_size)
        found = [torch.empty((0, LARGER * rows, LARGER * columns), device=good.device)]
        for number in good.any(1).nonzero().flatten().tolist():
            keys = self._map(decoded, number)
            above = self.decoder.output_upscaling(keys[..., :rows, :columns])
            masks = decoded.kernels[number : number + 1] @ above.flatten(2)
            found.append(masks.unflatten(2, above.shape[-2:])[0, 1:][good[number]])
        return torch.cat(found)

    def _map(self, decoded: Decoded, number: int) -> Tensor:
        """What is known of the image's places, ``(1,256,64,64)``, channels last.

        A single point is computed as the package does, whose view leaves open which layout is
        meant, and the convolutions take the other one.
        """
        keys = decoded.keys[number].transpose(1, 2)
        if len(decoded.keys) == 1:
            return keys.unflatten(2, self.side)
        rows, columns = self.side
        channels = keys.shape[1]
        steps = (keys.numel(), 1, columns * channels, channels)
        return keys.as_strided((1, channels, rows, columns), steps)

    def enlarged(self, low: Tensor) -> Tensor:
        """Logits of n masks at the image's size, ``(n,H,W)``, of :meth:`logits`.

        As ``Sam.postprocess_masks`` does it, three masks side by side (of one or two, PyTorch's
        interpolation rounds otherwise on one thread), but for the padding; channels last, so that
        nothing is laid out anew between its two steps.
        """
        height, width = self.predictor.input_size
        n = len(low)
        if n == 0:
            return torch.empty((0, *self.predictor.original_size), device=low.device)
        filled = torch.arange(3 * math.ceil(n / 3), device=low.device) % n
        threes = low[filled].unflatten(0, (-1, 3)).contiguous(memory_format=torch.channels_last)
        padded = _resized(threes, (LARGER * low.shape[-2], LARGER * low.shape[-1]))
        large = _resized(padded[..., :height, :width], self.predictor.original_size)
        return large.contiguous().flatten(0, 1)[:n]

    def _needed(self, side: int) -> int:
        """Rows, or columns, of the encoder's map that reach the image; the others are padding.

        Enlarging looks at one logit more than the image has.
        """
        patch = LARGER * LARGER
        return min(max(math.ceil((side + LARGER) / patch), LEAST), self.side[0])

    def _tokens(self, points: Tensor) -> Tensor:
        """``(B,7,256)``: the score's token, the masks', the point and the package's padding."""
        labels = torch.ones((len(points), 1), dtype=torch.int, device=points.device)
        sparse, _ = self.prompts(points=(points[:, None], labels), boxes=None, masks=None)
        own = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        return torch.cat((own.expand(len(points), -1, -1), sparse), dim=1)

    def _ask_each_other(self, layer: Any, queries: Tensor, tokens: Tensor) -> Tensor:
        if layer.skip_first_layer_pe:
            return layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
        placed = queries + tokens
        return layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))

    def _ask(self, attention: Any, placed: Tensor, seen: list[Seen]) -> Tensor:
        """What tokens, ``(B,7,256)`` with their places, learn of the image."""
        asked = attention.q_proj(placed).split(self.at_once)
        told = []
        for query, image in zip(asked, seen, strict=True):
            told.append(_attend(attention, query, image.key, image.value))
        return attention.out_proj(torch.cat(told))

    def _answer(
        self, layer: Any, following: Any, queries: Tensor, tokens: Tensor, seen: list[Seen]
    ) -> list[Seen]:
        """The image after it has asked the tokens, as the next layer (None: the last) sees it."""
        attention = layer.cross_attn_image_to_token
        keys = attention.k_proj(queries + tokens).split(self.at_once)
        values = attention.v_proj(queries).split(self.at_once)
        answered = []
        for key, value, image in zip(keys, values, seen, strict=True):
            assert image.query is not None
            learnt = _attend(attention, image.query, key, value, copied=len(queries) > 1)
            learnt = attention.out_proj(learnt)
            answered.append(self._seen(layer.norm4(learnt.add_(image.keys)), self.place, following))
        return answered

    def _seen(self, keys: Tensor, place: Tensor, layer: Any) -> Seen:
        placed = keys + place
        if layer is None:
            last = self.transformer.final_attn_token_to_image
            return Seen(keys, last.k_proj(placed), last.v_proj(keys), None)
        asked = layer.cross_attn_token_to_image
        query = layer.cross_attn_image_to_token.q_proj(placed)
        return Seen(keys, asked.k_proj(placed), asked.v_proj(keys), query)

    def _scored(self, tokens: Tensor, seen: list[Seen]) -> Decoded:
        scores = self.decoder.iou_prediction_head(tokens[:, 0])
        kernels = []
        for i, network in enumerate(self.decoder.output_hypernetworks_mlps):
            kernels.append(network(tokens[:, 1 + i]))
        keys: list[Tensor] = []
        for image in seen:
            keys += image.keys.split(1)
        return Decoded(scores[:, 1:], torch.stack(kernels, dim=1), keys)


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def _attend(
    attention: Any, query: Tensor, key: Tensor, value: Tensor, copied: bool = False
) -> Tensor:
    """``Attention.forward`` between its projections: ``(n,a,128)`` of as many queries.

    key, value: ``(n,b,128)``, or n = 1 for all. copied: the keys are those of several points, which
    the package's product copies into another layout, and few keys are rounded otherwise in it.
    """
    q = attention._separate_heads(query, attention.num_heads)
    k = attention._separate_heads(key, attention.num_heads).transpose(2, 3)
    v = attention._separate_heads(value, attention.num_heads)
    if copied:
        k = k.contiguous()
    scores = q @ k
    weights = torch.softmax(scores.div_(math.sqrt(q.shape[-1])), dim=-1)
    return attention._recombine_heads(weights @ v)
