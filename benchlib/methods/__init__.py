"""One file = one method of one paper; ``docs/methods.md`` shows how to add one in ten minutes.

A file has these:

``VERSION``  raised when the numbers that it gives change;
``INFO``     what it is and which priors its batch must hold (``contracts.Info``);
``Config``   a frozen dataclass of its settings, ranges by ``pydantic.Field``;
``build(backbone, config)``  a module whose ``forward(batch)`` restores ``batch["lq"]``,
    ``(B,3,H,W)`` float32 in [0,1], to ``(B,3,scale H,scale W)``. It keeps its backbone, where it
    has one, as ``self.network``: by that name weights are loaded into the backbone alone.

And, where it needs them:

``USES``             versions of the shared files that its numbers pass through (``registry.uses``);
``BACKBONES``        names of the backbones that it is tried on, where it is not made for all;
``check_network(config, backbone)``  raises BenchError, before any work, for a network that it
    cannot use;
``assets(config)``   entries of the catalogue that ``build`` fetches;
``needs(config)``    the batch entries for these settings, where they differ from ``INFO.needs``;
``takes_network(config)``  False where, so set, it goes on from what another run has restored and
    has no backbone of its own; the run then names ``backbone: {name: none}``;
``objective(model, batch, loss)``  what training minimises: a pair of a scalar to minimise, and of
    the restored images, in [0,1] where they are right. ``batch`` has ``hq`` too;
    ``loss(restored, hq)`` is the loss that the run names. Without it the training loop takes
    ``loss(restored, batch["hq"])`` of ``restored = model(batch)``. Minimise a mean over images:
    where a run has several devices, each has a share of the batch and takes its own.
``critics(config)``  a module that training alone needs, as the discriminators of a GAN. It is
    ``model.critics`` in ``objective``, is trained with the rest by the one scalar, stands in
    checkpoints, and is left out of the run's weights. ``INFO.unpaired`` puts ``unpaired`` into the
    batch of training: the hq of other pairs, of ``hq``'s shape.
``added(model)``     the module that it adds to the network, whose cost is shown by itself too.

A method that brings what restores, instead of a backbone, says so in ``INFO.own`` and has:

``PATHS``  names of its settings that are paths: every function gets them joined to the folder of
    params.yaml, ``~`` expanded;
``check(config)``  may be absent: raises BenchError for what can be found wrong before any work;
``facts(config)``  of a network: what the run's record says of it, JSON values, ``scale``,
    ``architecture`` and ``tiling`` ("supported", or a word that advises against it) among them;
``restored_files(config, images)``  of pictures: test image ``(set, image)`` -> its file. Nothing is
    restored then; all that follows is as for any run.

``backbone(in_channels=3)`` makes the network, ``backbone.blocks(network)`` lists its building
blocks in order, and ``backbone.scale`` is how much it enlarges (``contracts.Backbone``).

A batch is a dictionary of tensors: ``lq``, and what the run's prior gives:

    labels  (B,H,W) int64    masks without overlap: 0 = no mask, mask i has the number i
    bits    (B,P,H,W) int64  masks that may overlap: mask i is bit i % 64 of plane i // 64
    vector  (B,d) float32    one vector an image

``benchlib/priors/kinds`` says what each kind of prior gives. Of a bundle of several priors an entry
is named after its part as well: ``faces.vector``. What should stay frozen gets
``requires_grad_(False)``. A module keeps nothing between two calls of ``forward``, so that each
image is restored by what its own batch says. ``tests/test_methods.py`` tests a new file unasked.
"""
