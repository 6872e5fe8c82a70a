"""Networks under their official parameter names, so that official checkpoints load strictly.

A file has these:

``VERSION``  raised when the numbers that it gives change;
``Config``   a frozen dataclass of its settings; the defaults are an official configuration;
``build(config, in_channels=3)``  the network, from ``(B,in_channels,H,W)`` of any size to
    ``(B,3,scale H,scale W)``;
``blocks(network)``  its building blocks in order, where a plug-in attaches: each takes and gives
    a map ``(B,C,H,W)``, or tokens ``(B,HW,C)`` with the map's ``(H,W)`` as second argument. A
    network that works in turns calls all of them, in order, at each turn.

And, where it needs them:

``scale(config)``       how much it enlarges (1 without it);
``frames(config)``      of a network of clips, how it reads time (``contracts.Frames``): from
    ``(B,T,in_channels,H,W)`` to its window's middle frame ``(B,3,scale H,scale W)``, or from a
    whole clip to ``(B,T,3,scale H,scale W)``. Its blocks see frames one by one or as one batch;
    ``seam`` and ``fused_seam`` (``_clips.Seam``) are where a plug-in gets a frame's map with its
    place, before frames are aligned and after they are fused; each frame of a whole clip leaves
    through ``restored`` (``_clips.Restored``);
``check(config)``        raises BenchError for what can be found wrong before any work;
``tlc(network, crop)``  the network, its global pooling replaced by windows of 1.5 training crops.
"""
