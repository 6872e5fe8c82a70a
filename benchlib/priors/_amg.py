"""The package's automatic mask generator, with one repair."""

from __future__ import annotations

from typing import Any

from segment_anything import SamAutomaticMaskGenerator

VERSION = 1


class MaskGenerator(SamAutomaticMaskGenerator):
    """Does not fail on an image without any mask when it looks at crops.

    The package (1.0) then makes an empty table of crop boxes with no columns, and asks for the
    third one.
    """

    def _process_crop(self, *args: Any) -> Any:
        found = super()._process_crop(*args)
        found["crop_boxes"] = found["crop_boxes"].reshape(-1, 4)
        return found
