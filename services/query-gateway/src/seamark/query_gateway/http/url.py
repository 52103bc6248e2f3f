"""Parameters in a URL, read as one model.

FastAPI does the same for a model in `Query()`, by looking at each of its fields anew for each request. Here they
are looked at once, when routes are made.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

M = TypeVar("M", bound=BaseModel)


def from_url(model: type[M]) -> Any:  # noqa: ANN401 - what FastAPI takes in `Annotated`
    """A dependency: the model of a request's parameters. A parameter that is given twice and is no list counts
    as its last."""
    return Depends(_reader(model))


def _reader(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    lists = {
        name for name, field in model.model_fields.items() if typing.get_origin(field.annotation) is list
    }

    async def read(request: Request) -> M:
        given = request.query_params
        values = {name: given.getlist(name) if name in lists else given[name] for name in given}
        try:
            return model.model_validate(values)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in found]) from None

    return read


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route with `from_url(model)`."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    parameters = []
    for name, one in schema["properties"].items():
        if one.get("default", "") is None:
            del one["default"]  # absent
        told = {"description": one["description"]} if "description" in one else {}
        parameters.append({"name": name, "in": "query", "required": name in required, "schema": one, **told})
    return {"parameters": parameters}
