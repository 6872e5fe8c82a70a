"""What an item is: how it is read, cropped, restored, measured and shown. One file = one task.

Manifests, priors, the training loop, rows and the report are the same for all. A file has

``VERSION``    raised when the numbers that pass through it change;
``read(pair)`` an item of a manifest's line (``records.Pair``), whole;
``size(item)`` its ``(H,W)`` as the network sees it: a prior must fit it;
``nbytes(item)``  what it takes in memory;
``crop(item, window)``  the batch entries of one training crop, ``lq`` and ``hq`` among them, as
               float32 or in 8-bit levels, of which ``imageio.to_unit`` makes float32;
``batch(item)``  the batch entries of the whole item, without ``hq``, with a first dimension of 1;
``restore(model, batch, tiles, device, prior)``  what the network makes of it, as it is measured and
               kept; ``prior``: from a ``contracts.Window`` of it to the prior's batch entries;
``tiled(item, tiles)``  whether ``restore`` cuts it;
``views(item, restored)``  the images that metrics read: "restored", "reference", "degraded";
``save(path, restored)``  write it beside ``path`` (no suffix); returns the file;
``picture(item)``  what a person looks at: name -> ``(H,W,3)`` uint8, all of one size.

A task whose items are frames says ``CLIPS = True``, and has what arranges them beside:

``in_clips(pairs)``  the same, each with its clip and its place in it;
``window(pair, frames)``  the frames that are seen at once to restore one; ``drawn(pair, frames,
               rng)``: the places in its clip that a training crop shows;
``joined(crops, frames)``, ``together(pairs)``  several frames' entries as a batch's;
``restore_clip(...)``  every frame of a clip by one call of the network.
"""
