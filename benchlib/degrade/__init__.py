"""What degrades a photograph: one file is one degradation, its name is the file's (``shake-blur``, ``bicubic``).

Every file holds::

    @dataclass(frozen=True)
    class Config: ...      # plain types with their ranges (``Annotated[float, Field(gt=0)]``), units in a comment
    NEEDS_REGION = False   # True: the caller gives the region that moves
    def degrade(hq, config, rng, region=None) -> lq
    def multiple(config) -> int    # may be absent (1): the caller crops hq to a multiple of it, at the right and bottom

``hq`` is ``(H,W,3)`` uint8 RGB, ``region`` is ``(H,W)`` bool. ``lq`` is as large as hq, or smaller by one whole factor
on both sides (super-resolution); it is uint8 RGB, or float32 RGB in units of [0,1] that need not stay in it (noise that
no 8-bit file could hold). ``rng`` is the only source of chance (``seeding.name_rng(set, image, copy, seed)``), so a
pair does not depend on the order in which pairs are made. Motion is centred (the mean position over the exposure is
zero), so that lq lies on hq and PSNR between them has a meaning. A wrong shape or type raises BenchError. To add a
degradation, add a file.
"""
