"""What every block of the file has in common.

An unknown key is a fault with a suggestion, an empty value means "not given", and a block remembers where it stands.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from syncd.settings.tree import Mapping


class Block(BaseModel):
    # Every command loads this. Only the file as a whole is ever validated, so its blocks get no validators of their own
    # (defaults are constructed without one), and the text under a key is looked up when the JSON Schema is asked for.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    _where: str = PrivateAttr("")

    @property
    def where(self) -> str:
        """`config/syncd.yaml:41`, for messages about this block later on; empty if the file does not have it."""
        return self._where

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, written: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(written, Mapping):
            return handler({} if written is None else written)
        given = {key: value for key, value in written.items() if value is not None or key not in cls.model_fields}
        try:
            block = handler(given)
        except ValidationError as exc:
            raise ValidationError.from_exception_data(
                exc.title, [cls._suggest(error) for error in exc.errors(include_url=False)]
            ) from None
        block._where = written.where
        return block

    @classmethod
    def _suggest(cls, error: Any) -> InitErrorDetails:
        kind: Any = error["type"]
        context: dict[str, Any] = error.get("ctx", {})
        if kind == "extra_forbidden" and len(error["loc"]) == 1:
            kind = PydanticCustomError("unknown_key", "{what}", {"what": unknown(error["loc"][0], cls.model_fields)})
        elif kind in ("unknown_key", "contradiction"):
            kind = PydanticCustomError(kind, "{what}", context)
        return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=context)


def unknown(key: object, known: Any) -> str:
    return f"unknown key '{key}'{did_you_mean(str(key), known)}"


def did_you_mean(word: str, known: Any) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""
