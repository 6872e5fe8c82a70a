"""One file = one method of one paper. To add yours, copy the nearest file here and name it in ``params.yaml``.

A file has these:

``INFO``     what it is and which priors its batch must hold (``contracts.Info``);
``Config``   a frozen dataclass of its settings, ranges by ``pydantic.Field``;
``build(backbone, config)``  a module whose ``forward(batch)`` restores ``batch["lq"]``, ``(B,3,H,W)`` float32 in
             [0,1], to ``(B,3,scale H,scale W)``.

``needs(config)``  optional: the batch entries for these settings, where they differ from ``INFO.needs``.

``backbone(in_channels=3)`` makes the network, ``backbone.blocks(network)`` lists its building blocks in order, and
``backbone.scale`` is how much it enlarges (``contracts.Backbone``). A batch is a dictionary of tensors: ``lq``, and of
each prior what it loads (SAM: ``labels`` (B,H,W) int64, 0 = no mask; ``bits`` (B,P,H,W) int64, packed). What should
stay frozen gets ``requires_grad_(False)``. ``tests/test_methods.py`` picks the file up unasked.
"""
