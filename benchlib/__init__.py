"""benchlib: do priors from large pre-trained models really help image restoration, which, by how
much, at what cost?

Importing the package imports nothing else; every folder is loaded when it is named. For scripts
and notebooks: ``benchlib.score(restored, reference, "basicsr-y")`` measures a folder of images.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchlib.scoring import score

__version__ = "0.1.0"
__all__ = ["__version__", "score"]

import warnings

for advice in (
    "IProgress not found",  # tqdm's, in a kernel without widgets
    "torch.meshgrid: in an upcoming release",  # for who wrote a network that spandrel has
):
    warnings.filterwarnings("ignore", message=advice)


def __getattr__(name: str) -> Any:
    """What the package offers by its own name is loaded when it is asked for."""
    if name == "score":
        from benchlib.scoring import score

        return score
    raise AttributeError(f"module 'benchlib' has no attribute '{name}'")
