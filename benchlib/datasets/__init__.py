"""Where pairs come from: one file is one kind of source, its name is the file's (``photographs``, ``folder``).

Every file holds::

    @dataclass(frozen=True)
    class Config: ...
    def pairs(config, out, ...) -> list[dict]      # one record a pair: image, lq, hq, asset and the file's own

``image`` is unique in its set and safe as a file name. ``lq`` and ``hq`` are paths relative to the set's folder where
``asset`` is empty (the file made them), or to the folder of the catalogue entry ``asset`` (nothing is copied). An lq is
as large as its hq, or smaller (super-resolution); it is an 8-bit picture, or an ``.npy`` file that ``imageio.write_lq``
wrote (noise that no 8-bit file could hold). An unknown image, an empty list or a missing file raises BenchError. To add
a source of pairs, add a file.
"""
