"""What degrades a photograph: one file is one degradation, and its name is the file's stem.

Every file (``shake_blur.py``, ``bicubic.py``) holds::

    VERSION = 1            # raised when the numbers that it gives change
    NEEDS_REGION = False   # True: the caller gives the region that moves
    USES = {...}           # may be absent: other versioned files that its numbers pass through

    @dataclass(frozen=True)
    class Config: ...      # a default for every setting; numbers with their ranges, units said

    def degrade(hq, config, rng, region=None) -> lq
    def multiple(config) -> int   # may be absent (1): hq comes cut to a multiple of it
    def needs_depth(config) -> bool   # may be absent (False): `degrade` takes a fifth argument,
                                      # depth, (H,W) float above 0: the distance of each pixel

hq: ``(H,W,3)`` uint8 RGB; it is not changed. region: ``(H,W)`` bool.
lq: as large as hq, or smaller by one whole factor on both sides (super-resolution); uint8 RGB, or
float32 RGB in units of [0,1] that need not stay in it (noise that no 8-bit file could hold).
rng: the only source of chance (``seeding.name_rng(set, image, copy, seed)``), so a pair does not
depend on the order in which pairs are made.

Motion is centred: the mean position over the exposure is zero, so that lq lies on hq and PSNR
between them has a meaning. A wrong shape or type raises BenchError.

To add a degradation, add a file: ``docs/data.md`` takes ten minutes.
"""
