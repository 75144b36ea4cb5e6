"""What Python, pydantic and orjson say within our messages; other versions of them may say it in other words.

The page has the words of one version. Whatever is installed is made to say the same here, and what it says then is taken for
what the page has: so an upgrade changes nothing on a page that is about our words.
"""

from __future__ import annotations

import copy
import inspect
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import orjson
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

__all__ = ["FOREIGN", "call_it", "in_the_words_of_the_page"]


class Client:
    __module__ = "tests.messages.definitions"  # stands for the one there


@dataclass
class Payment:
    amount: int


class Order: ...


def takes_name(name: str) -> None: ...


def anything(value: Any) -> Any:
    """A value of which the type checker knows nothing."""
    return value


def validated(wanted: Any, value: Any) -> Any:
    return TypeAdapter(wanted).validate_python(value)


FOREIGN: Mapping[str, Callable[[], Any]] = {
    "'NoneType' object is not iterable": lambda: list(anything(None)),
    "'Order' object has no attribute 'lines'": lambda: anything(Order()).lines,
    "'>' not supported between instances of 'NoneType' and 'int'": lambda: anything(None) > 0,
    "Field required": lambda: validated(Payment, {}),
    "Input should be a dictionary or an instance of Payment": lambda: validated(Payment, 5),
    "Input should be a valid integer, unable to parse string as an integer": lambda: validated(int, "five"),
    "Input should be a valid string": lambda: validated(str, 5),
    "Input should be greater than 0": lambda: validated(Annotated[int, Field(gt=0)], 0),
    "Object of type Client is not JSON serializable": lambda: json.dumps(Client()),
    "Type is not JSON serializable: Client": lambda: orjson.dumps(Client()),
    "Unable to serialize unknown type: <class 'tests.messages.definitions.Client'>": lambda: to_json(Client()),
    "cannot pickle '_thread.lock' object": lambda: copy.copy(threading.Lock()),
    "division by zero": lambda: 1 / anything(0),
    "list index out of range": lambda: anything([])[0],
    "missing a required argument: 'name'": lambda: inspect.signature(takes_name).bind(),
    "name 'Nowhere' is not defined": lambda: eval("Nowhere", {}),
    "name 'Payment' is not defined": lambda: eval("Payment", {}),
    "Invalid JSON: expected value": lambda: TypeAdapter(Any).validate_json("?"),
    "EOF while parsing a string": lambda: from_json('"'),
    "expected value": lambda: from_json("?"),
    "recursion limit exceeded": lambda: from_json("[" * 1000),
    "unexpected end of hex escape": lambda: from_json('"\\ud800"'),
}
"""What is on the page, and a way to make it be said."""


@cache
def _now(provoke: Callable[[], Any]) -> str:
    """What the versions that are installed say, without the place in a document."""
    try:
        provoke()
    except ValidationError as error:
        message = error.errors()[0]["msg"]
    except Exception as error:
        message = str(error)
    else:
        raise AssertionError("nothing was said")
    return message.partition(" at line ")[0]


def in_the_words_of_the_page(text: str, foreign: Mapping[str, Callable[[], Any]] = FOREIGN) -> str:
    """A message, with what is not ours in it as the page has it."""
    for words, provoke in foreign.items():
        text = text.replace(_now(provoke), words)
    for place, name in _PLACES.items():
        text = text.replace(place, name)
    return text


_PLACES: dict[str, str] = {}


def call_it(place: str, name: str) -> None:
    """What a row has made, a temporary folder say, is called by another name on the page."""
    _PLACES[place] = name
