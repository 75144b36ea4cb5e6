"""Waits, and where threads go when time ends them."""

WAITS = {
    "a wait that only a callback ends": """
@dataclass
class Order:
    def definition(self):
        return Wait("payment", On("paid"))  # -> FS101

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):
        return S(
            Step("ask", cls.ask),
            For("until", Wait(  # -> FS101
                "answer",
                On("yes", Break()),
                On("no"),
            )),
        )
    def ask(self): ...
""",
    "a wait that time ends": """
@dataclass
class Order:
    def definition(self):
        return Wait("payment", On("paid"), Timeout("late", DAY, Return("cancelled")))
""",
    "a wait that only reminds, or asks": """
@dataclass
class Order:
    paid: int = 0
    def definition(self):
        return S(
            Wait("payment", On("paid"), On("note", stay=True), Every("remind", DAY, Step("mail", noop))),  # -> FS101
            Wait("again", When("is paid", self.paid), On("cancel", Return())),  # -> FS101
        )
""",
    "an approval without a way out in time": """
@dataclass
class Release:
    def definition(self):
        return S(
            Approval("agreed", ["ann"], Step("release", noop)),  # -> FS101
            Approval("again", ["ann"], remind=Every("remind", DAY, Step("mail", noop))).rejected(Return()),  # -> FS101
            Step("tell", noop),
        )
""",
    "an approval that time ends": """
@dataclass
class Release:
    def definition(self):
        return S(
            Approval("agreed", ["ann"], Step("release", noop), timeout=DAY),
            Approval("again", ["ann"], timeout=DAY).rejected(Return("no")).expired(Step("mail", noop)),
            Step("tell", noop),
        )
""",
    "a wait that a reminder ends": """
@dataclass
class Order:
    mails: int = 0
    def definition(self):
        return Wait("payment", On("paid"), Every("remind", DAY, Step("mail", noop), If("enough", self.mails, Return())))
""",
    "a wait in a thread that somebody joins": """
@dataclass
class Order:
    def definition(self):
        return S(
            Go("asking", Wait("answer", On("yes"))),  # -> FS101
            Scope("inner", Go("asking", Wait("answer", On("yes")))),  # -> FS101
            Join("answered", "asking"),
            Join("answered inside", "inner/asking"),
        )
""",
    "a wait in a thread that ends with main": """
@dataclass
class Order:
    def definition(self):
        return S(
            Go("may withdraw", Wait("withdrawal", On("withdraw"), On("hold", Wait("again", On("go on"))))),
            Go("other", Wait("a day", Timeout("over", DAY))),
            Join("a day has gone", "other"),
        )
""",
    "a condition that nobody could make true": """
@dataclass
class Order:
    paid: bool = False
    def definition(self):
        return S(Step("ask", noop), WaitFor("payment", self.paid))  # -> FS102
""",
    "a condition that another thread makes true": """
@dataclass
class Order:
    paid: bool = False
    def definition(self):
        return S(Go("till", Wait("payment", On("paid", into="paid"))), WaitFor("payment comes", self.paid))
""",
    "a timeout that goes the way of success": """
@dataclass
class Order:
    paid: int = 0
    def definition(self):
        return S(
            Wait("payment", On("paid", into="paid"), Timeout("late", DAY)),  # -> FS103
            Step("ship", noop),
        )

@dataclass
class Approval:
    def definition(self):
        return S(
            If("large", True,
                Wait(
                    "approval",
                    On("approved"),
                    On("rejected", Return("rejected")),
                    Timeout("late", DAY, Step("tell them", noop)),  # -> FS103
                ),
            ),
            S(),
            Return("approved"),
        )

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):
        return S(Wait("payment", On("paid", noop), Timeout("late", lambda w: DAY)), Return(value="paid"))  # -> FS103

@dataclass
class ByCondition:
    paid: int = 0
    def definition(self):
        return S(
            Wait("payment", When("is paid", self.paid), Timeout("late", DAY)),  # -> FS103
            Step("ship", noop),
        )

@dataclass
class BeforeALoop:
    def definition(self):
        return S(
            Wait("payment", On("paid"), Timeout("late", DAY)),  # -> FS103
            For("until shipped", Step("ship", noop), Break()),
        )
""",
    "a timeout that goes a way of its own, or the run looks what happened": """
@dataclass
class Order:
    paid: int = 0
    def definition(self):
        return S(
            Wait("payment", On("paid", into="paid"), Timeout("late", DAY, Return("cancelled"))),
            Wait("second", On("paid", into="paid"), Timeout("late", DAY)),
            If("was paid", self.paid > 0, Step("ship", noop)),
            For("reminding", Wait("third", On("paid", Break()), Timeout("remind", DAY, Step("remind", noop)))),
            ForEach("days", [1, 2], Wait("fourth", On("done"), Timeout("late", DAY))),
            Wait("fifth", On("done", Go("thread", Step("ship it", noop)), Return("shipped")), Timeout("late", DAY)),
            Step("refund", noop),
            For("while", self.paid, Wait("sixth", On("paid"), Timeout("late", DAY, If("c", self.paid, Break())))),
            Wait("open", On("ask", Wait("answer", On("yes"), Timeout("no", DAY)), stay=True), Timeout("over", DAY)),
            Wait("eighth", On("note", stay=True), Every("remind", DAY), Timeout("late", DAY)),
            Step("go on", noop),
            Wait("seventh", On("ok"), Timeout("late", DAY)),
            Return(self.paid),
        )

@dataclass
class InClassStyle:
    paid: int = 0
    @classmethod
    def definition(cls):
        return S(Wait("payment", On("paid", noop), Timeout("late", DAY)), Return(lambda w: w.paid))

@dataclass
class TheEnd:
    def definition(self):
        return Go("wait", Wait("payment", On("paid"), Timeout("late", DAY)))
""",
}
