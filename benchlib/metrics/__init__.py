"""Metrics, one a file, and protocols: frozen, named ways of measuring.

The protocol's name stands in every row and every column header. A metric's file has

``VERSION``, ``USES``  raised when its numbers change; the versions of the files that it uses;
``NAME``, ``SHOWN``    the word in the rows; how the mean over images is called;
``UNIT``, ``FACTOR``   of that mean: "dB", "%", ...; what it is multiplied with to be shown;
``LOWER_IS_BETTER``, ``DIGITS``, ``RANGE``  the last is (low, high), None for open;
``READS``              the images that it takes, in order: "restored", "reference", "degraded", and
                       "mask" under a protocol that aligns;
``SMALLEST``           optional: pixels that each side must have once the border is cut off;
``ASSETS``             names of the catalogue's entries that it needs;
``PROTOCOLS``          optional: protocols that measure it besides those that list it;
``VARIANT``            optional: what tells it from other files of the same NAME;
``measure(...)``       a number from float64 arrays, as the protocol prepares them.

The first paragraph of its docstring is what the report says of it. docs/metrics.md adds one.
"""

from benchlib.metrics._prepare import IMAGES
from benchlib.metrics._protocols import Protocol, listed, load_metric, metrics_of, names, protocol

VERSION = 1
USES = {"metrics/_protocols.py": 1}

__all__ = ["IMAGES", "Protocol", "listed", "load_metric", "metrics_of", "names", "protocol"]
