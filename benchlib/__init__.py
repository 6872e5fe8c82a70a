"""benchlib: do priors from large pre-trained models really help image restoration, which, by how
much, at what cost?

Importing the package imports nothing else; every folder is loaded when it is named.
"""

__version__ = "0.1.0"

import warnings

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm's advice in a kernel without widgets
