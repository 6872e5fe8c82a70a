"""Kinds of prior: what is stored decides how it is cropped, batched, zeroed, shuffled and shown.

That is written once a kind; a file of this folder has

``VERSION``   raised when the numbers that pass through it change;
``ENTRIES``   names of the batch entries it gives;
a frozen dataclass of what is stored of one image;
``save(path, stored)``, ``load(path)``   one file an image, whole or not there; ``load`` checks
              shapes, types and damage and names the file;
``load_entries(path, entries)``  optional: as ``load``, of what only those ENTRIES are made of; the
              arrays of the others may be empty;
``fits(stored, shape)``   whether it can belong to an image of ``(H,W)`` pixels;
``crop(stored, window)``  its ENTRIES as arrays for one crop, cut and turned as the image is
              (``contracts.Window``);
``collate(items)``        those entries of several crops as tensors of one batch;
``zeroed(stored)``        the control "prior zeroed": nothing of it, in the same shape;
``resized(stored, shape, turn)``  for an image of another size; with ``turn`` another thing than it
              was, for the control "another image's prior" where there is no other image;
``facts(stored)``         what records and the report say of it (numbers of one image);
``ROWS``      optional: row of an image -> the fact that it holds;
``SHOWN``     optional: what the page's question calls several priors of the kind, in the plural;
``SWAPS``     optional: False where it is no guidance, and no control stands in its place;
``picture(stored, image)``  ``(H,W,3)`` uint8, for notebooks and the page; None if it shows nothing.
"""
