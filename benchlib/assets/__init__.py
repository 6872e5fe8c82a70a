"""What the suite takes from outside: a catalogue, and one call that fetches an entry and verifies it.

Floor 0. Environment variables: BENCHLIB_CACHE (where fetched files live), BENCHLIB_DATA (where data that must be
fetched by hand lives), BENCHLIB_MIRROR (a folder or URL prefix laid out as host/path, tried first), BENCHLIB_OFFLINE.
"""

from benchlib.assets.catalogue import Entry, find, load_catalogue
from benchlib.assets.manual import folder, images, pairs
from benchlib.assets.store import cache_folder, fetch
from benchlib.assets.weights import load_weights

__all__ = ["Entry", "cache_folder", "fetch", "find", "folder", "images", "load_catalogue", "load_weights", "pairs"]
