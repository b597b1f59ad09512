"""The configuration file as JSON Schema, for editors: `syncd check --schema`."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from syncd.settings import entitlements, model, outgoing, service, sources
from syncd.settings.block import Block

# Where the keys are written, each with its text under it.
MODULES = (model, service, entitlements, sources, outgoing)


class _AsWritten(GenerateJsonSchema):
    """Without the defaults that would not be written as pydantic writes them: P1D for a day, 0.05 for 5%."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        if isinstance(schema.get("default"), str | int):
            return super().default_schema(schema)
        return self.generate_inner(schema["schema"])


def json_schema() -> dict[str, Any]:
    """Each key with the text that stands under it in its class."""
    made = model.File.model_json_schema(schema_generator=_AsWritten)
    texts = _texts()
    for name, block in {"File": made, **made["$defs"]}.items():
        for key, described in block.get("properties", {}).items():
            written = (texts.get((each.__name__, key)) for each in _block(name).__mro__)
            if text := next(filter(None, written), None):
                described["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made


def _block(name: str) -> type[Block]:
    return next(found for module in MODULES if isinstance(found := getattr(module, name, None), type))


def _texts() -> dict[tuple[str, str], str]:
    """Of every key that has one, by (class, key)."""
    found = {}
    for block in (each for module in MODULES for each in ast.parse(inspect.getsource(module)).body):
        if isinstance(block, ast.ClassDef):
            for key, text in zip(block.body, block.body[1:], strict=False):
                match key, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                        found[block.name, name] = inspect.cleandoc(written)
    return found
