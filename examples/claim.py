"""An insurance claim: documents come in by callbacks, while those that are there are filed one by one.

The workflow that ``stored_in_sqlalchemy.py`` and ``stored_in_django.py`` store. Its callbacks and its actions come at any time
and in any order, so whatever gets lost or doubled in a store shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from flowstmt import Break, For, Go, If, Join, On, Return, S, Statement, Step, Timeout, Wait, WaitFor, current


@dataclass
class Document:
    id: str
    text: str


class Archive(Protocol):
    """A service outside: it does its work once per key, as a step may run twice."""

    def put(self, key: str, document: Document) -> None: ...


@dataclass
class Claim:
    documents: list[Document] = field(default_factory=list)
    filed: list[str] = field(default_factory=list)
    closed: bool = False

    def definition(self) -> Statement:
        return S(
            Go(
                "filing",
                For(
                    "documents",
                    WaitFor("next", lambda: self.closed or len(self.filed) < len(self.documents)),
                    If("no more", lambda: len(self.filed) == len(self.documents), Break()),
                    Step("file", self.file),
                ),
            ),
            For(
                "open",
                Wait(
                    "documents arrive",
                    On("document", self.receive),
                    On("complete", Break()),
                    Timeout("forgotten", timedelta(days=30), Break()),
                ),
            ),
            Step("close", self.close),
            Join("all filed", "filing"),
            Return(lambda: self.filed),
        )

    def receive(self, document: Document) -> str:
        # Who got no answer sends the document again, and must not be refused.
        if all(known.id != document.id for known in self.documents):
            self.documents.append(document)
        return f"we have document {document.id}"

    def file(self) -> None:
        document = self.documents[len(self.filed)]
        archive: Archive = current().deps
        archive.put(current().idempotency_key, document)
        self.filed.append(document.id)

    def close(self) -> None:
        self.closed = True
