"""What threads that live at the same time do to each other."""

THREADS = {
    "fields that threads overwrite for each other": """
@dataclass
class Into:
    price: int = 0
    def definition(self):
        return S(
            Go("ann", Step("ask ann", self.ask, into="price")),
            Go("bob", Step("ask bob", self.ask, into="price")),  # -> FS301
            Join("both", "ann", "bob"),
        )
    def ask(self): return 1

@dataclass
class InMethods:
    state: str = ""
    def definition(self):
        return S(
            Go("watch", Wait("cancel", On("cancel", self.cancel))),
            Step("begin", self.begin),  # -> FS301
        )
    def cancel(self): self._set("cancelled")
    def begin(self): self.state = "begun"
    def _set(self, state): self.state, other = state, 1

@dataclass
class InClassStyle:
    found: str = ""
    items: list[int] = field(default_factory=list)
    @classmethod
    def definition(cls):
        return S(
            ForEach("all", lambda w: w.items, Go("one", Step("look", cls.look), id=lambda w, item: str(item))),  # -> FS301
            Join("all done", "one"),
        )
    def look(self, item): self.found = f"found {item}"

@dataclass
class EmptiedMeanwhile:
    said: list[str] = field(default_factory=list)
    def definition(self):
        return S(
            Go("listen", For("ever", Wait("word", On("say", self.say)))),
            Step("clear", self.clear),  # -> FS301
            WaitFor("enough", len(self.said) > 3),
        )
    def say(self, word: str): self.said.append(word)
    def clear(self): self.said = []

@dataclass
class Inside:
    first: str = ""
    rest: list[str] = field(default_factory=list)
    def definition(self):
        return Go("outer", Go("inner", Step("one", self.one)), Step("two", self.two))  # -> FS301 FS301
    def one(self): self.first, *self.rest = "abc"
    def two(self):
        for self.first in "abc": ...
        self.rest: list[str] = []

@dataclass
class Reminding:
    sent: str = ""
    def definition(self):
        return S(
            Wait(
                "payment",
                On("paid", into="sent"),  # -> FS301
                Every("remind", DAY, Go("mail", Step("send", noop, into="sent"), id="1")),
                Timeout("late", DAY, Return()),
            ),
        )

@dataclass
class OnACopy:
    n: int = 0
    def definition(self):
        return S(
            Go("a", Step("count", self.count, into="n", concurrent=True)),
            Go("b", Step("count too", self.count, into="n", concurrent=True)),  # -> FS301
            Join("both", "a", "b"),
        )
    def count(self): return self.n + 1

@dataclass
class AfterTheFirstThread:
    a: int = 0
    def definition(self):
        return S(
            For(
                "loop",
                Go("x", Step("one", noop, into="a"), id="1"),  # -> FS301
                Step("two", lambda: setattr(self, "a", 1)),  # -> FS301
                If("enough", self.a, Break()),
            ),
        )
""",
    "fields that are added to, looked at first, keyed, or written one after the other": """
@dataclass
class Fine:
    n: int = 0
    state: str = ""
    price: int = 0
    log: list[str] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    def definition(self):
        return S(
            Go("a", Step("a counts", self.count), Step("a notes", self.note, into=self.keep), Step("a first", self.first)),
            Go("b", Step("b counts", self.count), Step("b notes", self.note, into=self.keep), Step("b first", self.first)),
            Go("c", Step("adds", self.added, into="n")),
            Go("d", Step("price", noop, into="price")),
            S(Join("all", "a", "b", "c", "d")),
            Step("price again", noop, into="price"),
            If("either", self.n > 3, Go("e", Step("e sets", self.set))).else_(Step("f sets", self.set)),
        )
    def count(self): self.n += 1
    def added(self): return self.n + 1
    def note(self): self.log.append(self.helper()); self.log[0] = "x"; del self.log[0]; setattr(noop, "state", 1)
    @staticmethod
    def helper(): return "noted"
    def keep(self, value): self.by_name["a"] = value; self.by_name.update({})
    def first(self):
        if not self.state:
            self.state = "mine"
    def set(self):
        other = self
        self.state = "set"

@dataclass
class OneByOne:
    price: int = 0
    def definition(self):
        return For(
            "rounds",
            Go("ask", Step("price", noop, into="price"), id="1"),
            Join("asked", "ask"),
            If("enough", self.price > 3, Break()),
        )
""",
    "a concurrent action that changes data": """
@dataclass
class Search:
    found: list[str] = field(default_factory=list)
    total: int = 0
    def definition(self):
        return S(
            Step("look", self.look, concurrent=True),
            Step("look well", self.look_well, into=self.keep, concurrent=True),
            Step("look here", lambda: self.found.append("x"), concurrent=True),  # -> FS303
        )
    def look(self):
        self.found.append("x")  # -> FS303
        self._count()
    def _count(self):
        self.total = 1  # -> FS303
        self.total = 2
    def look_well(self): return ["x"] + self.found
    def keep(self, found): self.found = found
""",
}
