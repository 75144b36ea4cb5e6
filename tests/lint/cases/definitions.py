"""What Python computes in a definition: chance, clocks, captured variables, methods."""

DEFINITIONS = {
    "chance and clocks in definitions": """
import datetime as dt
from random import Random
from time import time as clock

def today(): return date.today()  # -> FS501

class Later(datetime): ...

@dataclass
class Named:
    def definition(self):
        return S(
            Step("a", noop),
            If("b", random.random, Return()),  # -> FS501
            Go("c", Step("d", uuid4), id=uuid4),  # -> FS501
            If("e", partial(random.choice, [1, 0]), Return()),  # -> FS501
        )

@dataclass
class Order:
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    def definition(self):
        from time import monotonic
        import os.path
        key = uuid4()  # -> FS501
        return S(
            Step("a", noop),
            If("late", datetime.now(UTC) > self.start, Return()),  # -> FS501
            If("later", dt.datetime.now(UTC) > self.start, Return()),  # -> FS501
            If("lucky",
               lambda: random.random() > 0.5,  # -> FS501
               Return()),
            If("unlucky", self.is_unlucky, Return()),
            If("of age", lambda: self.is_of_age(), Return()),
            If("local", monotonic() > 3, Return()),  # -> FS501
            Go("thread", Step("b", noop), id=lambda: str(uuid.uuid4())),  # -> FS501
            Sleep("until", lambda: Later.now(UTC) + DAY),  # -> FS501
            WaitFor("today", partial(self.is_past, clock)),
            If("on time", self.on_time, Return()),
            If("aged", lambda: self.aged, Return()),
            For("dice", Random().random() > 0.5, Step("c", noop)),  # -> FS501
        )
    def is_unlucky(self):
        return random.choice([True, False])  # -> FS501
    def is_of_age(self): return today() > self.start
    @property
    def on_time(self):
        return datetime.now(UTC) < self.start  # -> FS501
    @cached_property
    def aged(self):
        return date.today().year > 2026  # -> FS501
    def is_past(self, clock):
        return time.time() > 3  # -> FS501

@dataclass
class InClassStyle:
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    @classmethod
    def definition(cls):
        return S(
            If("late", lambda w: w.start < datetime.utcnow(), Return()),  # -> FS501
            If("later", cls.is_late, cls.ending()),
        )
    def is_late(self):
        return self.age() > DAY
    def age(self):
        return datetime.now(UTC) - self.start  # -> FS501
    @classmethod
    def ending(cls):
        return Return(uuid4().hex)  # -> FS501
""",
    "chance and clocks in what acts": """
@dataclass
class Order:
    key: str = ""
    until: datetime | None = None
    def definition(self):
        def roll(): ...
        def roll():
            return random.random()
        rng = random
        return S(
            Step("a", lambda: uuid4().hex, into="key"),
            Step("b", roll, into=lambda value: setattr(self, "key", str(random.random()))),
            Step("c", self.now, into="until"),
            Go("listen", Wait("w", On("e", lambda word: random.choice(word)))),
            Sleep("nap", timedelta(hours=1)),
            If("five", uuid.uuid5(uuid.NAMESPACE_DNS, "x").hex < datetime.fromtimestamp(0, UTC).isoformat(), Return()),
            WaitFor("x", lambda: len(self.key) > sum([1]), lambda: random.random()),
        )
    def now(self): return datetime.now(UTC)
""",
    "captured loop variables": """
@dataclass
class Order:
    said: list[str] = field(default_factory=list)
    def definition(self):
        steps = []
        for number, word in enumerate(["a", "b"]):
            def say():  # -> FS502
                self.said.append(word)
            steps.append(Step(f"say {word}", say))
            steps.append(If(f"is {word}", lambda: number, Step(f"then {word}", noop)))  # -> FS502
        return S(
            *steps,
            *[Step(f"also {word}", lambda: self.said.append(word)) for word in ("a", "b")],  # -> FS502
            *(Step(f"too {word}", partial(lambda more: self.said.append(word), 1)) for word in ("a", "b")),  # -> FS502
        )

@dataclass
class InClassStyle:
    said: list[str] = field(default_factory=list)
    @classmethod
    def definition(cls):
        return S(*[Step(word, lambda w: w.said.append(word)) for word in "ab"])  # -> FS502
""",
    "loop variables that are bound": """
@dataclass
class Order:
    said: list[str] = field(default_factory=list)
    def definition(self):
        word = "x"
        return S(
            *[Step(f"a {word}", lambda word=word: self.said.append(word)) for word in ("a", "b")],
            *[Step(f"b {word}", self.say(word)) for word in sorted(("a", "b"), key=lambda each: len(word))],
            *[Step(f"c {each}", lambda: self.said.append("".join([word for word in "ab"]))) for each in ("a", "b")],
            Step("d", lambda: self.said.append(word)),
            Step("e", lambda: never),
        )
        if not self.said:
            never = 1
    def say(self, word): return lambda: self.said.append(word)
""",
    "methods that are not called": """
@dataclass
class Order:
    total: int = 0
    def definition(self):
        unpaid = not self.is_paid  # -> FS503
        return S(
            If("a", unpaid, Return()),
            If("b", self.is_free or self.is_paid, Return()).else_if(  # -> FS503 FS503
                "c", self.is_paid is True, Return()),  # -> FS503
            For("d", lambda: not self.is_paid, Step("e", noop)),  # -> FS503
            WaitFor("f", self.waits),
            Go("g", Step("h", noop), id=1 if self.is_paid else 2),  # -> FS503
            If("i", lambda: self.is_paid, Return()),  # -> FS503
            If("j", bool(self.is_paid), Return()),  # -> FS503
        )
    def is_paid(self): return True
    @staticmethod
    def is_free(): return True
    def waits(self):
        return self.total and self.is_paid  # -> FS503

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):
        return S(
            If("a", lambda w: not w.is_paid, Return()),  # -> FS503
            If("b", lambda w: w.is_paid, Return()),  # -> FS503
            If("e", lambda w: w.is_paid(), Return()
            ).else_if("f", lambda w: not w.is_paid, Return()  # -> FS503
            ).else_if("g", cls.is_paid and cls.is_free, Return()),  # -> FS503 FS503
            ForEach("c", lambda w: [1], If("d", lambda w, item: item and w.is_paid, Return())),  # -> FS503
        )
    def is_paid(self): return True
    def is_free(self): return True

@dataclass
class Static:
    @staticmethod
    def definition():
        return S(
            If("a", Static.is_paid or Static.is_free, Return()),  # -> FS503 FS503
            If("b", Static.is_paid, Return()),
        )
    def is_paid(self): return True
    def is_free(self): return True
""",
    "methods that are called, named, or no methods": """
@dataclass
class Order:
    paid: bool = False
    is_late: Any = None
    def definition(self):
        return S(
            If("a", self.is_paid, Return()),
            If("b", not self.is_paid(), Return()),
            If("c", not self.is_free or self.paid or self.is_late, Return()),
            If("d", lambda: self.is_paid() and self.is_free, Return()),
            Step("e", self.is_paid if self.paid else self.other, into="paid"),
        )
    def is_paid(self): return self.paid
    def other(self): return not self.is_paid()
    @property
    def is_free(self): return True

@dataclass
class InClassStyle:
    @classmethod
    def definition(cls):
        return S(If("a", cls.is_paid, Return()), If("b", lambda w: not w.is_paid(), Return()))
    def is_paid(self): return True
""",
}
