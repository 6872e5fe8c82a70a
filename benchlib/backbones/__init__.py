"""Networks under their official parameter names. A file has ``Config``,
``build(config, in_channels=3) -> nn.Module`` from ``(B,in_channels,H,W)`` to ``(B,3,H,W)``, and ``blocks(network)``,
the building blocks in order, where a plug-in attaches.
"""
