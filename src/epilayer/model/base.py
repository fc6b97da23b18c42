"""The frozen base of every input and record, and the door at which bad input is refused."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from epilayer.model.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping


class FrozenValues(dict[str, Any]):
    """The JSON values of a `Frozen`. A job's identity counts them as they stand, as it always did."""


class Frozen(BaseModel):
    """An immutable value: unknown keys are refused, and equal content hashes equally."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def as_dict(self) -> FrozenValues:
        """Return the JSON values from which monty makes the value again.

        FireWorks serialises only what has this method, and writes anything else as text. Other engines of
        jobflow serialise by monty alone, which finds the same values by itself.
        """
        from monty.json import MontyEncoder

        return FrozenValues(json.loads(MontyEncoder().encode(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the value that `as_dict` wrote."""
        from monty.json import MontyDecoder

        decode = MontyDecoder().process_decoded
        return cls(**{key: decode(value) for key, value in values.items() if not key.startswith("@")})


FrozenT = TypeVar("FrozenT", bound=Frozen)


def parse(model: type[FrozenT], data: Mapping[str, Any], where: str) -> FrozenT:
    """Validate ``data`` as ``model``, or refuse it with one line that names the key and the remedy.

    Parameters
    ----------
    model
        The typed input.
    data
        What was read, e.g. from a YAML file.
    where
        The file or option to name in the error.

    Raises
    ------
    InputError
        On the first unknown, missing or invalid key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _refusal(model, error, where) from error


def _refusal(model: type[Frozen], error: ValidationError, where: str) -> InputError:
    # A misspelt key usually shows twice (the unknown one, and the required one it was meant
    # to be); the unknown one is what the user can see in their file, so it is reported first.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        return InputError(f"{where}: unknown key {path!r}.", suggest(str(first["loc"][-1]), known))
    if first["type"] == "missing":
        return InputError(f"{where}: the key {path!r} is missing.", f"Add {path!r} to {where}.")
    reason = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    at = f"{path!r}" if path else "the file"
    return InputError(f"{where}: {at}: {reason}{shown}.", f"Correct {at} in {where}.")


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Names that are allowed at ``loc`` inside ``model``."""
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = _inner_model(here.model_fields[str(part)].annotation)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _inner_model(annotation: Any) -> Any:  # noqa: ANN401  (any type expression may stand here)
    """Return the pydantic model inside ``X | None``, ``tuple[X, ...]`` or ``dict[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def canonical_json(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """Return ``value`` as JSON text that is the same for equal content (sorted keys, no spaces)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """Return the SHA-256 of the canonical JSON of ``value``, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
