"""Sagas, failures, branches."""

FAILURES = {
    "ways out of a saga": """
@dataclass
class Trip:
    retry: ClassVar[Retry] = Retry()
    n: int = 0
    def definition(self):
        return S(
            Saga("book",
                Step("flight", noop, compensate=noop),
                If("no hotel", self.n, Return("no hotel")),  # -> FS201
                For("nights",
                    If("none", self.n, Break()),
                    Saga("night", Step("hotel", noop, compensate=noop), If("full", self.n, Break())),  # -> FS201
                ),
                Wait("confirmed", On("yes"), Timeout("late", DAY, Return("late"))),  # -> FS201
            ),
        )
""",
    "the end of a saga, and ways that stay inside": """
@dataclass
class Trip:
    retry: ClassVar[Retry] = Retry()
    n: int = 0
    def definition(self):
        return S(
            Saga("look",
                If("nothing done", self.n, Return("nothing to undo")),
                For("rounds", Step("again", noop, compensate=noop), If("enough", self.n, Break()), Continue()),
                Go("thread", Step("x", noop, compensate=noop), If("over", self.n, Return())),
                Step("flight", noop, compensate=noop),
                If("bad", self.n, Fail("bad luck", "no room")),
                S(Return("booked")),
            ),
        )
""",
    "steps in a saga that can't be undone": """
@dataclass
class Trip:
    retry: ClassVar[Retry] = Retry()
    def definition(self):
        return S(
            Step("before", noop),
            Saga("book",
                Step("flight", noop, compensate=noop),
                Step("hotel", noop),  # -> FS202
                Parallel("both",
                    Branch("a", Step("car", noop, concurrent=True)),  # -> FS202
                    Branch("b", Step("bike", noop, concurrent=True, compensate=noop))),
                Step("price", noop),  # flowstmt: ignore[FS202] it looks and changes nothing
                Try("tell", Step("mail", noop, compensate=noop)).catch(ValueError, Step("note", noop))
                .finally_(Step("end", noop)),
            ),
            Step("after", noop),
        )
""",
    "options that stand with an action": """
@dataclass
class Trip:
    price: str = ""
    @step(retry=Retry(), compensate="cancel", concurrent=True)
    def book(self): ...
    @step(concurrent=True, retry=Retry())
    def note(self): ...
    @step(into="price", retry=Retry())
    def ask(self): ...
    @step(concurrent=False, retry=Retry())
    def look(self): ...
    def cancel(self): ...
    def definition(self):
        return S(
            Saga("trip", Step("flight", self.book), Step("note", self.note)),  # -> FS202
            Parallel("ask",
                Branch("a", Step("ann", self.ask)),  # -> FS302
                Branch("b", Step("bob", self.ask)),  # -> FS301 FS302
                Branch("c", Step("car", self.book)),
                Branch("d", Step("dog", self.look))),
        )

@dataclass
class InClassStyle:
    @step(compensate="cancel")
    def book(self): ...
    def cancel(self): ...
    @classmethod
    def definition(cls):
        return Saga("trip", Step("flight", cls.book))  # -> FS203
""",
    "failures that nobody takes": """
@dataclass
class Trip:
    def definition(self):
        return S(
            Step("before", noop),
            Saga("book", Step("flight", noop, compensate=noop)),  # -> FS203
            Parallel("ask",
                Branch("a", Step("ann", noop, concurrent=True)),  # -> FS203
                Branch("b", Try("try", Wait("w", Timeout("t", DAY))).catch(
                    ValueError, Step("bob", noop, concurrent=True)))),  # -> FS203
            Map("lines", [1], Step("line", noop, concurrent=True)),  # -> FS203
            Saga("waiting", Go("c", Sleep("d", DAY)), WaitFor("e", True), WaitFor("f", True, noop)),  # -> FS203
            Try("x", Map("more", [1], Step("more line", noop, concurrent=True))).finally_(Step("last", noop)),  # -> FS203
            Try("around", Saga("in", Go("away", Step("alone", noop, compensate=noop)))).catch(ValueError),  # -> FS203
        )
""",
    "failures that somebody takes": """
@dataclass
class Trip:
    def definition(self):
        return S(
            Saga("book", Step("flight", noop, compensate=noop, retry=Retry())),
            Try("try", Saga("again", Step("hotel", noop, compensate=noop))).catch(Exception, Return("sorry")),
            Parallel("any", Branch("a", Step("ann", noop, concurrent=True)), Branch("b", Sleep("w", DAY)), join=ANY),
            Map("some", [1], Step("line", noop, concurrent=True), tolerate=1),
            Try("all", Parallel("both",
                Branch("c", Step("car", noop, concurrent=True)),
                Branch("d", Step("dog", noop, concurrent=True)))).catch("ParallelError", Return("sorry")),
        )

@dataclass
class ByClass:
    retry: ClassVar[Retry] = Retry()
    def definition(self):
        return Saga("book", Step("flight", noop, compensate=noop))
""",
    "steps of branches that take turns": """
@dataclass
class Search:
    retry: ClassVar[Retry] = Retry()
    found: list[str] = field(default_factory=list)
    def definition(self):
        return S(
            Parallel("ask",
                Branch("a", Step("ann", noop)),  # -> FS302
                Branch("b", Step("bob", noop, concurrent=True), Step("note", self.note), Step("then", noop, concurrent=False))),
            Map("lines", [1, 2], Step("line", noop, into="found")),  # -> FS301 FS302
            Map("turns", [1, 2], Step("turn", noop), max_concurrency=1),
            Parallel("alone", Branch("c", Step("car", noop))),
            Parallel("stoppable", Branch("d", Step("dig", noop)), Branch("e", Wait("stop", On("stop"))), join=ANY),  # -> FS101
            Map("plots", [1, 2], Parallel("plot", Branch("f", Step("fill", noop)), Branch("g", Sleep("nap", DAY)))),  # -> FS302
        )
    def note(self): self.found.append("x")
""",
    "branches that overwrite": """
@dataclass
class Search:
    retry: ClassVar[Retry] = Retry()
    found: str = ""
    best: str = ""
    def definition(self):
        return S(
            Parallel("ask",
                Branch("a", Step("ann", noop, into="found", concurrent=True)),
                Branch("b", Step("bob", noop, into="best", concurrent=True)),
                Branch("c", Step("cho", noop, into="found", concurrent=True))),  # -> FS301
            Step("then", noop, into="found"),
        )
""",
    "behind failures, and catches that others hide": """
class Refused(LookupError): ...

@dataclass
class Order:
    n: int = 0
    def definition(self):
        return S(
            Try("a", Fail("bad", "so bad"), Step("after fail", noop))  # -> FS401
            .catch((ValueError, LookupError), Return("x"))
            .catch((Refused, KeyError), Return("y"))  # -> FS402
            .catch("bad", Return("z"))
            .catch((Refused, "worse"))
            .catch((ValueError, Exception))
            .catch("worst", Return("w")),  # -> FS402
            Try("b", Return()).catch(Refused).catch(LookupError, Return()).finally_(Step("last", noop)),
            Try("c", Step("work", noop)).catch(ValueError, Return()).finally_(Return()),
            Step("never", noop),  # -> FS401
        )

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):
        return S(
            Try("a", Step("work", noop)).catch(Exception, Return()),
            Saga("b", Parallel("c", Branch("d", Return())), Map("e", lambda w: [1], Fail("no", "way"))),
            Try("f", Return()).catch(Exception, Return()).finally_(Step("last", noop)),
            Step("never", noop),  # -> FS401
        )
""",
}
