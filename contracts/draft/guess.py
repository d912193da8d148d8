"""A sample → the draft of a contract: fields, key, scope, personal information, open questions."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from contracts.draft.names import Known, identifiers, known, title, words
from contracts.draft.roles import (
    Look,
    field_of,
    identifies,
    identifying,
    is_division,
    is_open,
    mask_by_value,
)
from contracts.draft.sample import Column, Sample
from contracts.draft.values import guess
from contracts.examine import examine
from contracts.identifiers import level_of
from contracts.model import Contract, Level, Mask
from contracts.shape import Field, Shape, String
from contracts.text import Text

#: Where questions about the contract itself stand, beside those about a field by its name.
PROMISE = "contract."

_UNDECIDED = Text("待定", "to be decided")


class Draft(msgspec.Struct, frozen=True):
    """A contract to begin with. ``questions`` by field name or ``contract.<promise>``; ``columns``
    name the column of each field that is called otherwise."""

    contract: Contract
    origin: str
    questions: dict[str, tuple[str, ...]]
    columns: dict[str, str] = {}
    notes: tuple[str, ...] = ()


def draft(sample: Sample, subject: str) -> Draft:
    """The draft of ``subject`` as ``sample`` suggests it: a valid contract, whatever came.

    Raises WrongContract for a subject that cannot be called so.
    """
    return _Drafting(sample, subject).draft()


def of_contract(contract: Contract, subject: str, origin: str) -> Draft:
    """The draft of a contract that came from another description of data, under a name of ours.

    What that cannot say is guessed from the fields' names: scope, personal information. Raises
    WrongContract.
    """
    looks = [Look(Column(name=field.name), field, known(field.name)) for field in contract.fields]
    by_name = {look.field.name: look for look in looks}
    key, scope = by_name[contract.key], by_name[contract.scope]
    asked: dict[str, list[str]] = defaultdict(list)
    if scope is key:
        scope = next((look for look in looks if _says_division(look)), key)
    fields = {field.name: field for field in contract.fields}
    for look, role in {id(scope): (scope, "scope"), id(key): (key, "key")}.values():
        found, questions = identifying(look, role)
        asked[look.field.name] += questions
        fields[found.name] = msgspec.structs.replace(found, description=look.field.description)
    personal = contract.personal or _personal(looks)
    for name in ("key", "scope", "level", "classification", "sharing", "freshness"):
        asked[PROMISE + name].append("as it was read, or guessed where nothing was said: right?")
    asked[f"{PROMISE}personal"].append("are these all, and is each masked as it should be?")
    made = msgspec.structs.replace(
        contract,
        subject=subject,
        scope=scope.field.name,
        personal=personal,
        condition=contract.condition or (_UNDECIDED if contract.sharing == "conditional" else None),
        fields=tuple(fields.values()),
    )
    examine(made)
    return Draft(made, origin, {where: tuple(said) for where, said in asked.items() if said})


def _says_division(look: Look) -> bool:
    return is_division(look) or (look.about is not None and look.about.kind == "division")


def _personal(looks: Sequence[Look]) -> dict[str, Mask]:
    """Fields that are personal information by name or values, and how each is masked."""
    found: dict[str, Mask] = {}
    somebody = any(mask_by_value(look) for look in looks)
    for look in looks:
        mask = mask_by_value(look) or (look.about.mask if look.about else None)
        if mask:
            found[look.field.name] = mask
        elif somebody and words(look.column.name) == ["name"]:
            found[look.field.name] = "null"
    return found


class _Drafting:
    def __init__(self, sample: Sample, subject: str) -> None:
        self.sample = sample
        self.subject = subject
        self.asked: dict[str, list[str]] = defaultdict(list)
        self.names = identifiers(column.name for column in sample.columns)
        self.looks = [self._look(column) for column in sample.columns]

    def ask(self, where: str, question: str) -> None:
        self.asked[where].append(question)

    # ---- fields ------------------------------------------------------------------------------

    def _look(self, column: Column) -> Look:
        name = self.names[column.name]
        about = _telling(known(column.comment), known(column.name))
        said, sure = title(column.name, column.comment)
        shape = column.shape
        for question in column.questions:
            self.ask(name, question)
        if shape is None or (isinstance(shape, String) and is_open(shape)):
            found = guess(column.values, about, live=self.sample.live)
            # What the database allows is more than what these rows show.
            shape = _widened(found.shape, shape)
            for question in found.questions:
                self.ask(name, question)
        if name != column.name and name.startswith("field_"):
            self.ask(name, "no name could be made of the column's: what is it, in both languages?")
        elif not sure:
            self.ask(name, "the title is made of the column's name: right, in both languages?")
        empty = any(value is None for value in column.values)
        nullable = empty if column.nullable is None else column.nullable
        nullable = nullable or not column.values
        return Look(column, field_of(name, said, shape, nullable=nullable), about)

    # ---- key and scope -----------------------------------------------------------------------

    def _key(self) -> Look:
        candidates = sorted(
            ((identifies(look), -at, look) for at, look in enumerate(self.looks)),
            key=lambda found: found[:2],
        )
        score, _, best = candidates[-1]
        where = f"{PROMISE}key"
        primary = [look for look in self.looks if look.column.primary]
        if primary:
            return primary[0]
        if score <= 0:
            self.ask(where, "nothing seems to identify a record; this is a guess: what does?")
        elif not best.column.unique:
            few = "few rows" if self.sample.rows < 20 else "the rows looked at"
            self.ask(where, f"guessed from its name and {few}: does it identify a record for good?")
        return best

    def _scope(self, key: Look) -> Look:
        likely = [
            (look.about is not None and look.about.kind == "division", -at, look)
            for at, look in enumerate(self.looks)
            if is_division(look)
        ]
        if likely:
            *_, scope = max(likely, key=lambda found: found[:2])
            if len(likely) > 1:
                self.ask(
                    f"{PROMISE}scope", "several fields hold division codes: whose is the record?"
                )
            return scope
        self.ask(
            f"{PROMISE}scope",
            "no field holds division codes, so the key stands in and no grant by division can work:"
            " which division does a record belong to? Add a column for it, or a view",
        )
        return key

    # ---- the whole ---------------------------------------------------------------------------

    def draft(self) -> Draft:
        sample = self.sample
        key = self._key()
        scope = self._scope(key)
        required: dict[str, Field] = {}
        for look, role in {id(scope): (scope, "scope"), id(key): (key, "key")}.values():
            required[look.field.name], asked = identifying(look, role)
            for question in asked:
                self.ask(look.field.name, question)
        fields = tuple(required.get(look.field.name, look.field) for look in self.looks)
        personal = _personal(self.looks)
        contract = Contract(
            subject=self.subject,
            major=1,
            title=self._title(),
            catalogue=self.subject.replace("_", "-"),
            owner=_UNDECIDED,
            level=self._level(scope),
            key=key.field.name,
            scope=scope.field.name,
            classification="important" if personal else "general",
            sharing="conditional",
            basis=_UNDECIDED,
            condition=_UNDECIDED,
            freshness=5.0,
            personal=personal,
            fields=fields,
        )
        self._promises(contract)
        examine(contract)
        return Draft(
            contract,
            sample.origin,
            {where: tuple(questions) for where, questions in self.asked.items()},
            {self.names[c.name]: c.name for c in sample.columns if self.names[c.name] != c.name},
            (self._looked(), *sample.notes),
        )

    def _looked(self) -> str:
        sample = self.sample
        more = "" if sample.whole else "; there are more"
        return f"{sample.rows} rows and {len(sample.columns)} columns looked at{more}"

    def _title(self) -> Text:
        comment = " ".join(self.sample.comment.split())[:100]
        english = " ".join(words(self.subject)).capitalize()
        if not comment:
            self.ask(f"{PROMISE}title", "what is it called in both languages?")
        return Text(comment or self.subject, english)

    def _level(self, scope: Look) -> Level:
        """That of the smallest division all records lie in."""
        self.ask(f"{PROMISE}level", "the level whose office keeps the record: right?")
        codes = [value for value in scope.filled if isinstance(value, str)]
        if not is_division(scope) or not codes:
            return "county"
        common = _common(min(codes), max(codes))
        length = next((length for length in (6, 4, 2) if len(common) >= length), 0)
        return level_of(common[:length] or "0")

    def _promises(self, contract: Contract) -> None:
        for name, question in (
            ("catalogue", "its number in the catalogue of government data"),
            ("owner", "the department that keeps the record (数源部门)"),
            ("classification", "the grade by the data security law: general, important or core"),
            ("sharing", "unconditional, conditional or not_shared, and the law that says so"),
            ("freshness", "seconds within which a window has a change: what is promised?"),
        ):
            self.ask(PROMISE + name, question)
        if contract.personal:
            self.ask(
                f"{PROMISE}personal",
                "guessed from names and values: are these all, and is each masked as it should be?",
            )
        else:
            self.ask(f"{PROMISE}personal", "no personal information was found: is there none?")
        for question in self.sample.questions:
            self.ask(f"{PROMISE}key", question)


def _telling(*told: Known | None) -> Known | None:
    """What tells of personal information first: to miss it is worse than to ask in vain."""
    found = [each for each in told if each]
    return next((each for each in found if each.mask), found[0] if found else None)


def _widened(found: Shape, declared: Shape | None) -> Shape:
    """What the rows show, no narrower than what a database declares: it may hold more tomorrow."""
    if not isinstance(declared, String) or not isinstance(found, String):
        return found
    if found.pattern or found.format:
        return found
    most = declared.max_length or max(found.max_length or 10_000, 200)
    return String(max_length=most)


def _common(first: str, last: str) -> str:
    """How both begin; of the least and the greatest text it is how all between begin."""
    for at, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:at]
    return min(first, last, key=len)
