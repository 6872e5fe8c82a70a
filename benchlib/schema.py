"""The JSON schema of ``params.yaml``, for editors: the models, and every file's own settings.

Layer 1. ``params.schema.json`` in the checkout is what :func:`params_schema` gives; a test holds
them equal, and ``benchlib schema --out params.schema.json`` renews it.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from benchlib import registry
from benchlib.params import Evaluation, Suite, Training

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{model}"


def params_schema() -> Schema:
    """The schema (JSON Schema 2020-12) of a suite's ``params.yaml``.

    Where a file of a folder is chosen by ``name``, the settings are those of its ``Config``.
    Imports every file of those folders.
    """
    schema = Suite.model_json_schema(ref_template=REFERENCE)
    models: dict[str, Schema] = schema["$defs"]
    schema["properties"].pop("folder", None)
    run, prior, budget = (models[name]["properties"] for name in ("Run", "Prior", "Training"))
    run["backbone"] = choices("backbones", models)
    run["method"] = choices("methods", models)
    run["training"] = changes(Training)
    run["evaluation"] = changes(Evaluation)
    prior["prior"] = choices("priors", models)
    prior["kind"] = named("priors/kinds", prior["kind"])
    budget["candidates"]["items"] = changes(Training)
    degrade = {"degrade": choices("degrade", models)}
    data = choices("datasets", models, degrade)
    tops = schema["properties"]
    for pattern in tops["data"]["patternProperties"]:
        tops["data"]["patternProperties"][pattern] = data
    for mapping in tops.values():
        if "patternProperties" in mapping:  # names of the user's own, in letters that DVC takes
            mapping["additionalProperties"] = False
    tops["task"] = named("tasks", tops["task"])
    tops["metrics"]["items"] = named("metrics", tops["metrics"]["items"])
    schema["$defs"] = dict(sorted(models.items()))
    return {"$schema": DIALECT} | schema


def named(folder: str, before: Schema) -> Schema:
    """A name of a folder's file, with what was said of the field before."""
    return before | {"enum": registry.names(folder)}


def choices(folder: str, models: dict[str, Schema], more: Schema | None = None) -> Schema:
    """``{name: <file>, ...its settings}`` for each file of a folder; more: keys beside them all."""
    places = []
    for name in registry.names(folder):
        key = f"{folder}/{name}"
        models[key] = _choice(folder, name, models, more or {})
        places.append({"$ref": REFERENCE.format(model=key.replace("/", "~1"))})
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": registry.names(folder)}},
        "oneOf": places,
    }


def _choice(folder: str, name: str, models: dict[str, Schema], more: Schema) -> Schema:
    module = registry.load(folder, name)
    strict = dataclass(module.Config, config=ConfigDict(extra="forbid", strict=True), frozen=True)
    settings = TypeAdapter(strict).json_schema(ref_template=REFERENCE)
    models |= settings.pop("$defs", {})
    about, _, _ = cleandoc(module.__doc__ or "").partition("\n\n")
    return {
        "type": "object",
        "description": " ".join(about.split()),
        "properties": {"name": {"const": name}} | settings.get("properties", {}) | more,
        "required": ["name", *settings.get("required", []), *more],
        "additionalProperties": False,
    }


def changes(model: type[BaseModel]) -> Schema:
    """Some fields of a model, none of them required: what differs from the suite's."""
    schema = model.model_json_schema(ref_template=REFERENCE)
    schema.pop("required", None)
    for field in schema["properties"].values():
        field.pop("default", None)
    return schema | {"title": f"{model.__name__}, changes of it"}
