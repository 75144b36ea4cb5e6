"""Statements that nothing leads to."""

REACH = {
    "statements that nothing leads to": """
@dataclass
class Order:
    n: int = 0
    def definition(self):
        return S(
            Go("a", Return(), Step("after return", noop)),  # -> FS401
            For("b", Break(), Step("after break", noop)),  # -> FS401
            For("c", self.n > 2, Step("counts", noop), Continue(),
                S(S(), Step("after continue", noop)),  # -> FS401
                Step("no more", noop)),
            Go("d", If("x", self.n, Return()).else_if("y", self.n, Return()).else_(Return()),
                Step("after if", noop)),  # -> FS401
            Go("e", Switch(Case("z", self.n, S(Return())), Default(Return())), Step("after switch", noop)),  # -> FS401
            Go("f", Wait("w", On("p", Return()), Timeout("t", DAY, Return())), Step("after wait", noop)),  # -> FS401
            Go("g", S(For("ever", Step("in ever", noop), ForEach("each", [1], Step("in each", noop), Break()))),
                Step("after ever", noop)),  # -> FS401
            Go("i", Wait("v", On("q", stay=True), Every("r", DAY)),
                Step("after cases that stay", noop)),  # -> FS401
            Go("j", Approval("agreed", ["ann"], Return(), timeout=DAY).rejected(Return()).expired(Return()),
                Step("after the approval", noop)),  # -> FS401
            For("h",  # -> FS401
                Step("once", noop), Break(), *[Break()]),
            Return(),
            Step("at last", noop),  # -> FS401
        )

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):
        return S(For("ever", Step("work", noop)), Step("never", noop))  # -> FS401
""",
    "statements that something leads to": """
@dataclass
class Order:
    n: int = 0
    def definition(self):
        return S(
            If("x", self.n, Return()).else_if("y", self.n, Return()),
            Switch(Case("z", self.n, Return()), Default()),
            For("until", If("enough", self.n, Break()), Step("work", noop)),
            For("while", self.n, Step("work once", noop), Return()),
            ForEach("each", [1], Return()),
            Wait("w", On("p", Return()), Timeout("t", DAY)),
            Wait("v", On("q", stay=True), Every("r", DAY), When("s", self.n), Timeout("x", DAY, Return())),
            Approval("agreed", ["ann"], Return(), timeout=DAY).rejected(Return()).expired(),
            Go("thread", Return("done")),
            Return(),
            S(),
        )
""",
}
