"""The package's automatic mask generator, sooner, and with one repair."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import (
    MaskData,
    batched_mask_to_box,
    calculate_stability_score,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    uncrop_masks,
)

from benchlib.priors._point_decoder import PointDecoder

VERSION = 2
USES = {"priors/_point_decoder.py": 2}


class MaskGenerator(SamAutomaticMaskGenerator):
    """Gives the package's masks and scores, but for rounding, and enlarges none that is dropped
    for its predicted IoU (:class:`PointDecoder` says what else is spared).

    Does not fail on an image without any mask when it looks at crops. The package (1.0) then makes
    an empty table of crop boxes with no columns, and asks for the third one.
    """

    decoder: PointDecoder | None = None

    def _process_crop(self, *args: Any) -> Any:
        self.decoder = None
        found = super()._process_crop(*args)
        found["crop_boxes"] = found["crop_boxes"].reshape(-1, 4)
        return found

    def _process_batch(
        self,
        points: np.ndarray,
        im_size: tuple[int, ...],
        crop_box: list[int],
        orig_size: tuple[int, ...],
    ) -> Any:
        """The masks of ``(B,2)`` points in pixels of a crop of ``im_size``, filtered."""
        if self.decoder is None:
            on_cpu = self.predictor.device.type == "cpu"
            self.decoder = PointDecoder(self.predictor, 1 if on_cpu else self.points_per_batch)
        placed = self.predictor.transform.apply_coords(points, im_size)
        decoded = self.decoder.decode(torch.as_tensor(placed, device=self.predictor.device))
        scores = decoded.predicted_iou
        good = torch.ones_like(scores, dtype=torch.bool)
        if self.pred_iou_thresh > 0.0:
            good = scores > self.pred_iou_thresh
        small = self.decoder.logits(decoded, good)
        places = torch.as_tensor(points)[good.nonzero()[:, 0].cpu()]
        few = 3 * self.decoder.at_once
        batches = zip(small.split(few), scores[good].split(few), places.split(few), strict=True)
        found = MaskData()
        for logits, iou, place in batches:
            large = self.decoder.enlarged(logits)
            data = MaskData(masks=large, iou_preds=iou, points=place)
            found.cat(self._filtered(data, crop_box, orig_size))
        return found

    def _filtered(self, data: Any, crop_box: list[int], orig_size: tuple[int, ...]) -> Any:
        """Logits to run lengths, those masks left out that the package leaves out, and as it
        does.
        """
        threshold = self.predictor.model.mask_threshold
        stable = calculate_stability_score(data["masks"], threshold, self.stability_score_offset)
        data["stability_score"] = stable
        if self.stability_score_thresh > 0.0:
            data.filter(stable >= self.stability_score_thresh)
        height, width = orig_size
        data["masks"] = data["masks"] > threshold
        data["boxes"] = batched_mask_to_box(data["masks"])
        data.filter(~is_box_near_crop_edge(data["boxes"], crop_box, [0, 0, width, height]))
        data["masks"] = uncrop_masks(data["masks"], crop_box, height, width)
        data["rles"] = mask_to_rle_pytorch(data["masks"])
        del data["masks"]
        return data
