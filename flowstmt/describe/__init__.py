"""A definition as JSON, as JSON Schemas, as a picture and as text; and what may happen to a run now.

``subject`` is, everywhere, a workflow object, a workflow class (in class style, or one whose fields all have defaults), or a
tree of statements. Nothing is run, and nothing is changed: neither the subject nor a state.

>>> from flowstmt import On, S, Step, Timeout, Wait
>>> from datetime import timedelta
>>> print(to_text(S(Wait("payment", On("paid"), Timeout("late", timedelta(days=3))), Step("ship", print))))
definition
├─ Wait payment
│  ├─ On paid
│  └─ Timeout late: after 3 days
└─ Step ship: print
"""

from flowstmt.describe.charts import to_mermaid
from flowstmt.describe.legality import legal
from flowstmt.describe.outline import to_text
from flowstmt.describe.payloads import event_schemas
from flowstmt.describe.possibilities import (
    Legal,
    LegalAction,
    LegalCallback,
    LegalCondition,
    LegalMove,
    LegalOutside,
    LegalTimer,
)
from flowstmt.describe.tree_json import to_json

__all__ = [
    "Legal",
    "LegalAction",
    "LegalCallback",
    "LegalCondition",
    "LegalMove",
    "LegalOutside",
    "LegalTimer",
    "event_schemas",
    "legal",
    "to_json",
    "to_mermaid",
    "to_text",
]
