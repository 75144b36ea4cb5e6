"""Comments."""

SILENCES = {
    "comments on the lines of a statement": """
@dataclass
class Order:
    def definition(self):
        return S(
            Wait("a", On("x")),  # flowstmt: ignore[FS101] the warehouse always answers
            Wait(  # flowstmt: ignore[FS101]
                "b", On("x")),
            Wait(
                "c",  # flowstmt: ignore[ FS101 , ] a reason
                On("x"),
            ),
            Wait(
                "d",
                On("x"),
            ),  # noqa  # flowstmt: ignore[FS101] behind another comment
            # flowstmt: ignore[FS101] a line of its own,
            # with more to say
            Wait("e", On("x")),
        )
""",
    "comments in functions that make statements": """
def asking(name):
    return Wait(name, On("x"))  # flowstmt: ignore[FS101] they answer

answering = lambda name: Wait(name, On("x"))  # flowstmt: ignore[FS101] they answer as well

@dataclass
class Order:
    def definition(self):
        return S(asking("a"), answering("f"), self.second(), *[Wait(name, On("x")) for name in "de"])  # flowstmt: ignore[FS101]
    def second(self):  # flowstmt: ignore[FS101] for all that it makes
        return S(Wait("b", On("x")), Wait("c", On("x")))

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):  # flowstmt: ignore[FS101,FS401] both
        return S(asking("a"), Wait("b", On("x")), Return(), Step("c", noop))
""",
    "comments on the line of a class": """
@dataclass
class Order:  # flowstmt: ignore[FS101] a toy
    def definition(self):
        return S(Wait("a", On("x")), self.second())
    def second(self):
        return Wait("b", On("x"))

@dataclass
class Refund:  # -> FS001 # flowstmt: ignore[FS101] not this one
    state: str = ""
    def definition(self):
        return Step("pay", self.pay)
    def pay(self):
        return 1  # -> FS001 # flowstmt: ignore[FS303]

@dataclass
class Twice:
    def definition(self):
        return Wait("a", On("x"), Timeout("t", DAY))  # flowstmt: ignore[FS101] of a class that is no more

@dataclass
class Twice:
    def definition(self):
        return Step("a", noop)
""",
    "comments at expressions": """
@dataclass
class Order:
    at: float = 0
    def definition(self):
        now = time.time()  # flowstmt: ignore[FS501] only shown
        return S(If("late", self.is_late, Return()), Step("a", self.change, concurrent=True))
    def is_late(self):
        return self.at > time.time()  # flowstmt: ignore[FS501] nothing depends on it
    def change(self):
        self.at = 1  # flowstmt: ignore[FS303]
""",
    "comments that silence nothing": """
@dataclass
class Order:
    def definition(self):
        return S(
            Wait("a", On("x"), Timeout("t", DAY, Return())),  # -> FS001 : flowstmt: ignore[FS101] no more
            Wait("b", On("x")),  # -> FS001 FS101 : flowstmt: ignore[FS102]
            Wait("c", On("x")),  # -> FS001 FS101 : flowstmt: ignore because
            Wait("d", On("x")),  # -> FS001 : flowstmt: ignore[FS101, FS999]
            Wait(
                "e",
                On(  # -> FS001 : flowstmt: ignore[FS101] not at the Wait
                    "x",
                ),
                Timeout("u", DAY, Return()),
            ),
            Step("f", lambda: "# flowstmt: ignore[FS101]"),
        )
""".replace(" : flowstmt:", " # flowstmt:"),
}
