"""What large pre-trained models say of an image. One file = one prior; its stem is its name.

To add yours, copy the nearest file and name it in ``params.yaml``. A file has

``VERSION``  raised when what it gives changes; ``USES``: versions of the files it builds on;
``KIND``     a file of ``priors/kinds``: how what it gives is stored, cropped, zeroed, shuffled;
``Config``   a frozen dataclass of its settings, ranges by ``pydantic.Field``;
``open(config, device)``  a callable from one image, ``(H,W,3)`` uint8 RGB, to what the kind stores.
             It raises BenchError for an image that it refuses: the others still get done. Its
             ``notes()``, if it has one, are facts of the last image for the record;
``record(config, device)``  what it was made by: settings, the weights' SHA-256, versions of
packages.
             With the image's pixels it is what a finished prior is found by;
``SHOWN``    optional: what a sentence of the report calls what it gives, many things ("SAM's
             masks"); the first paragraph of the file's docstring says there what it is;
``assets(config)``  optional: names of the catalogue's entries that it fetches;
``stands_in(config)``  optional: whether, with these settings, it is a control in another prior's
             place (a network of random weights); ``CONTROL = True`` where it always is;
``told(config, dataset, image)``  optional: what the prior is told of an image by its name, plain
             data; part of what a finished prior is found by, and ``open``'s callable gets it too;
``words(config, device)``  optional, of kind ``tokens``: what is said of an image, as text;
``ON_CPU = True``  optional: it computes on the CPU alone; no stage loads PyTorch to know that;
``PATHS``    optional: names of settings that are paths, relative to params.yaml;
``size(config)``  for a ``vector`` alone: its length.

The loop over images, the cache, progress, time and memory are ``_loop.py``; a run's side of it,
with the controls "zeroed" and "shuffled" for any kind, is ``_read.py``.
"""
