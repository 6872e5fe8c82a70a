"""The contract of a task: what it must define."""

from __future__ import annotations

from benchlib import registry
from benchlib.conformance._subject import (
    Subject,
    expect,
    states_its_version_and_what_it_uses,
)


def has_what_the_contract_names(subject: Subject) -> None:
    """Every function is there; WHOLE says how a validation restores."""
    module = subject.module
    for name in registry.REQUIRED["tasks"]:
        if name.islower():
            expect(callable(getattr(module, name)), f"{name} is no function")
    expect(module.WHOLE is not None, "WHOLE is None; expected the tiles of a validation: none")


CHECKS = (states_its_version_and_what_it_uses, has_what_the_contract_names)
