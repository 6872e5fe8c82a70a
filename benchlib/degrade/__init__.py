"""What a camera does to a sharp photograph: one file is one degradation, its name is the file's (``shake-blur``).

Every file holds::

    @dataclass(frozen=True)
    class Config: ...      # plain types with their ranges (``Annotated[float, Field(gt=0)]``), units in a comment
    NEEDS_REGION = False   # True: the caller gives the region that moves
    def degrade(hq, config, rng, region=None) -> lq

``hq`` and ``lq`` are ``(H,W,3)`` uint8 RGB of one size, ``region`` is ``(H,W)`` bool; ``rng`` is the only source of
chance (``seeding.name_rng(set, image, copy, seed)``), so a pair does not depend on the order in which pairs are made.
Motion is centred (the mean position over the exposure is zero), so that lq lies on hq and PSNR between them has a
meaning. A wrong shape or type raises BenchError. To add a degradation, add a file.
"""
