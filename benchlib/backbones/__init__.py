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
``check(config)``        raises BenchError for what can be found wrong before any work;
``tlc(network, crop)``  the network, its global pooling replaced by windows of 1.5 training crops.
"""
