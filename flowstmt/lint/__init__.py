"""What a definition will probably not do as it was meant: found without running it.

>>> from flowstmt import Return, S, Step
>>> for finding in check(S(Return("done"), Step("ship", print))):
...     print(finding.code, finding.place, finding.message, sep=": ")
FS401: Step 'ship': nothing leads to it: Return before it leaves
"""

from flowstmt.lint.checks import check
from flowstmt.lint.findings import CODES, Finding

__all__ = ["CODES", "Finding", "check"]
