"""The published tables as data (floor 2)."""

from benchlib.papers._tables import bibtex, papers, printed, published

__all__ = ["bibtex", "papers", "printed", "published"]
