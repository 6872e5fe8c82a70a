"""What large pre-trained models say of an image. One file = one prior; its name is the key in ``params.yaml``.

A prior's file offers
    Config                                      frozen dataclass; types and ranges are read by ``params.py``
    ENTRIES                                     names of the batch entries it gives, () for none
    compute(images, out, config, *, device, resume) -> list[dict]
                                                name -> file in; one ``out/<name>.npz`` and one record an image out; a
                                                refused image has the reason under "refused", the others get done
    record(config, device) -> dict              for ``prior.json``: settings, weights' SHA-256, device, versions
and, where ENTRIES is not empty,
    load(path) -> object                        one image's file, whole
    crop(object, top, left, height, width, flip_h, flip_v, transpose) -> dict[str, np.ndarray]
                                                its ENTRIES for one training crop, augmented as the image is
"""
