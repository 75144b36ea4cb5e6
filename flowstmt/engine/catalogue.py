"""The workflows that an engine knows, by the names under which their runs are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from flowstmt.errors import DefinitionError, a_kind_of, did_you_mean, listed, quoted
from flowstmt.snapshot import version_of

__all__ = ["Catalogue"]


class Catalogue:
    """Classes by name. Raises ``DefinitionError`` if one can't be used, so that no run finds out."""

    def __init__(self, workflows: Iterable[type[Any]] | Mapping[str, type[Any]]) -> None:
        if isinstance(workflows, type):
            raise DefinitionError(f"Engine: workflows= takes a list of classes: workflows=[{workflows.__name__}]")
        named = workflows.items() if isinstance(workflows, Mapping) else [(None, each) for each in workflows]
        self._classes: dict[str, type[Any]] = {}
        self._names: dict[type[Any], str] = {}
        for given, cls in named:
            if not isinstance(cls, type):
                raise DefinitionError(f"Engine: workflows are classes, not {a_kind_of(cls)}")
            if not callable(getattr(cls, "definition", None)):
                raise DefinitionError(f"Engine: the class {cls.__name__} is no workflow: it has no method `definition`")
            name = cls.__name__ if given is None else given
            other = self._classes.get(name)
            if other is not None and other is not cls:
                raise DefinitionError(
                    f"Engine: two workflows are called {name!r}: {other.__module__}.{other.__qualname__} and "
                    f"{cls.__module__}.{cls.__qualname__}. Hand in a dict with a name for each"
                )
            self._classes[name] = cls
            self._names.setdefault(cls, name)
        self._known = MappingProxyType({name: version_of(cls) for name, cls in self._classes.items()})

    def known(self) -> Mapping[str, int]:
        """Names, and the highest version of each that can be loaded here."""
        return self._known

    def class_of(self, name: str) -> type[Any]:
        """The class whose runs are stored under a name. Raises ``DefinitionError``."""
        cls = self._classes.get(name)
        if cls is None:
            known = listed([repr(each) for each in self._classes]) or "none"
            raise DefinitionError(
                f"Engine: no workflow {quoted(name)} is known here: add its class to workflows=. Known: {known}"
                f"{did_you_mean(name, self._classes)}"
            )
        return cls

    def name_of(self, cls: type[Any]) -> str:
        """The name under which runs of a class are stored. Raises ``DefinitionError``."""
        name = self._names.get(cls)
        if name is None:
            raise DefinitionError(f"Engine: the class {cls.__name__} is not among workflows=: add it there")
        return name
