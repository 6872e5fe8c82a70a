"""What the suite takes from outside: a catalogue, and one call that fetches and verifies an entry.

Layer 0. Environment variables: BENCHLIB_CACHE (where fetched files live), BENCHLIB_DATA (where data
that must be fetched by hand lives), BENCHLIB_MIRROR (a folder or URL prefix laid out as host/path,
tried first; what is secret in its URL is never printed), BENCHLIB_OFFLINE (1, true, yes or on).

Its modules, each importing only those before it: entry, catalogue, archive, npm, pypi, hf and
https, cache, contents, pinned, download, many, store, sets.
"""

from benchlib.assets.cache import cache_folder
from benchlib.assets.catalogue import find, load_catalogue
from benchlib.assets.entry import Entry
from benchlib.assets.sets import folder, images, pairs
from benchlib.assets.store import fetch
from benchlib.assets.weights import load_weights

__all__ = [
    "Entry",
    "cache_folder",
    "fetch",
    "find",
    "folder",
    "images",
    "load_catalogue",
    "load_weights",
    "pairs",
]
