"""What is found where: sources whose comments say so (``# -> FS101``), and those beside them in which nothing is."""

from __future__ import annotations

from tests.lint.cases.definitions import DEFINITIONS
from tests.lint.cases.failures import FAILURES
from tests.lint.cases.reach import REACH
from tests.lint.cases.silences import SILENCES
from tests.lint.cases.threads import THREADS
from tests.lint.cases.waits import WAITS

CASES = WAITS | THREADS | FAILURES | REACH | DEFINITIONS | SILENCES
