"""The published tables as data (layer 2).

VERSION is raised when printed numbers, claims or verdicts change.
"""

from benchlib.papers._tables import bibtex, papers, printed, published

VERSION = 1

__all__ = ["bibtex", "papers", "printed", "published"]
