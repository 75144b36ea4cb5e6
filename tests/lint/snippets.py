"""Sources as modules: written to files, so that they have a source, and imported."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flowstmt import lint

PRELUDE = """\
import random, time, uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Any, ClassVar
from uuid import uuid4
from flowstmt import *
DAY = timedelta(days=1)
def noop(*_): ...
"""

CODES_WITHOUT_SOURCES = {code for code in lint.CODES if code < "FS3" or code.startswith("FS4")} - {"FS103"}
"""What is read off the tree alone."""

_numbers = itertools.count()


def module_of(source: str, folder: Path, prelude: str = PRELUDE) -> ModuleType:
    """A module with this source, behind the prelude."""
    name = f"snippet_{next(_numbers)}"
    path = folder / f"{name}.py"
    path.write_text(prelude + source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def workflows(module: ModuleType) -> list[Any]:
    """The workflow classes of a module."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "definition")
    ]


def marked(path: str) -> list[tuple[int, str]]:
    """What is expected of a file: the codes in its comments ``# -> FS101 FS102``, with their lines."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    marks = [
        (number, match[1].split()) for number, line in enumerate(lines, 1) if (match := re.search(r"# -> ([FS\d ]+)", line))
    ]
    return sorted((number, code) for number, codes in marks for code in codes)


def found(module: ModuleType, **options: Any) -> list[tuple[int, str]]:
    """What is found in the workflows of a module."""
    findings = lint.check(*workflows(module), **options)
    assert all(finding.file == module.__file__ for finding in findings)
    return sorted((finding.line or 0, finding.code) for finding in findings)
