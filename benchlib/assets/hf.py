"""One file of a model repository of the Hugging Face Hub, at a pinned revision.

Through the package huggingface_hub, with the user's own settings: ``HF_ENDPOINT`` says where from,
``HF_HUB_OFFLINE`` forbids the network, the user's login opens gated models. What the user's own
cache of the Hub holds at that revision is copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchlib.contracts import BenchError, shortened

PREFIX = "hf:"


class Place(NamedTuple):
    """repository: ``owner/name``. revision: 40 hexadecimal digits. path: within the repository."""

    repository: str
    revision: str
    path: str


def place(source: str) -> Place:
    """``hf:owner/name@revision#path``, taken apart."""
    release, _, path = source.removeprefix(PREFIX).partition("#")
    repository, _, revision = release.partition("@")
    return Place(repository, revision, path)


def url(source: str) -> str:
    """Where the Hub itself serves the file; a mirror has it under this host and path."""
    from huggingface_hub import hf_hub_url

    found = place(source)
    hub = "https://huggingface.co"
    return hf_hub_url(found.repository, found.path, revision=found.revision, endpoint=hub)


def in_own_cache(source: str) -> Path | None:
    """The file in the user's cache of the Hub, where it is there at that revision."""
    from huggingface_hub import try_to_load_from_cache

    found = place(source)
    kept = try_to_load_from_cache(found.repository, found.path, revision=found.revision)
    if isinstance(kept, str):
        return Path(kept)
    return None


def forbids_network() -> bool:
    """Whether ``HF_HUB_OFFLINE`` or ``TRANSFORMERS_OFFLINE`` is set."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def download_from_hf(source: str, name: str, output: Path) -> None:
    """Write the file that ``source`` names to ``output``; what an earlier try has brought is kept.

    name: the entry's, for the error. Raises BenchError, without any token, if it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    found = place(source)
    part = output.parent / ".hf"  # beside it, so that another run can continue
    print(f"{name}: {found.path} of {found.repository} at {found.revision[:12]}", flush=True)
    try:
        with _quiet():
            got = hf_hub_download(
                found.repository, found.path, revision=found.revision, local_dir=part
            )
    except Exception as error:  # the package's, its client's, and the system's
        raise BenchError(_said(source, name, error)) from None
    os.replace(got, output)


@contextmanager
def _quiet() -> Iterator[None]:
    """The package's own warnings would show who logs in at ``HF_ENDPOINT``."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _said(source: str, name: str, error: Exception) -> str:
    """One line: what failed, and what to do."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    advice = "check the network and HF_ENDPOINT, set BENCHLIB_MIRROR, or put the file there by hand"
    if isinstance(error, GatedRepoError):
        advice = "its owner asks for consent: give it on the model's page, then `hf auth login`"
    elif isinstance(error, RepositoryNotFoundError):
        advice = "no such repository, or a private one: `hf auth login`"
    elif isinstance(error, HfHubHTTPError):
        advice = "check the catalogue's revision and path"
    said = shortened(f"{type(error).__name__}: {error}", 400)
    return f"{name}: {source}: {_without_tokens(said)}; {advice}"


def _without_tokens(text: str) -> str:
    """``text`` without the user's token, whatever looks like one, and who logs in at a URL."""
    from huggingface_hub import get_token

    token = get_token()
    if token:
        text = text.replace(token, "***")
    text = re.sub(r"hf_[A-Za-z0-9]{8,}", "***", text)
    return re.sub(r"//[^/@\s]+@", "//***@", text)
