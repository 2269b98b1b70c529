"""OData as Graph speaks it: query options, $filter and $search, and pages of answers."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qsl

from sandbox.directory import View

if TYPE_CHECKING:
    from sandbox.graph.call import Call

T = TypeVar("T")
Getter = Callable[[str], Any]
Predicate = Callable[[Getter], bool]


class QueryError(Exception):
    """A query Graph does not understand or serve; `code` as Graph names it."""

    def __init__(self, message: str, code: str = "BadRequest") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Expand:
    """`manager($select=id,displayName)`."""

    name: str
    select: tuple[str, ...] | None


@dataclass(frozen=True)
class Options:
    """The query options of a request; None where one was not given."""

    select: tuple[str, ...] | None = None
    expand: Expand | None = None
    filter: str | None = None
    search: str | None = None
    orderby: str | None = None
    top: int | None = None
    count: bool = False
    skiptoken: str | None = None
    eventual: bool = False  # the header ConsistencyLevel: eventual came with it

    def given(self) -> set[str]:
        """The options that were given, by name."""
        return {f"${name}" for name, value in vars(self).items() if value and name != "eventual"}


_EXPAND = re.compile(r"(\w+)(?:\(\$select=([\w,]+)\))?")


def parse_options(query: str, *, eventual: bool) -> Options:
    """The options in a raw query string; QueryError for one that is unknown, repeated or malformed."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=50):
        if name in given:
            raise QueryError(
                f"Query option '{name}' was specified more than once, but it must be specified at most once."
            )
        given[name] = value
    unknown = given.keys() - {
        "$select", "$expand", "$filter", "$search", "$orderby", "$top", "$count", "$skiptoken"
    }  # fmt: skip
    if unknown:
        raise QueryError(f"The query specified in the URI is not valid. The option '{min(unknown)}' is not supported.")
    top = given.get("$top")
    if top is not None and not re.fullmatch(r"[0-9]{1,6}", top):
        raise QueryError(f"Invalid value '{top}' for $top query option found.")
    if given.get("$count", "false") not in ("true", "false"):
        raise QueryError(f"Invalid value '{given['$count']}' for $count query option found.")
    expand = None
    if "$expand" in given:
        match = _EXPAND.fullmatch(given["$expand"])
        if match is None:
            raise QueryError("Parsing OData Select and Expand failed.")
        expand = Expand(match[1], tuple(match[2].split(",")) if match[2] else None)
    return Options(
        select=tuple(one.strip() for one in given["$select"].split(",")) if "$select" in given else None,
        expand=expand,
        filter=given.get("$filter"),
        search=given.get("$search"),
        orderby=given.get("$orderby"),
        top=None if top is None else int(top),
        count=given.get("$count") == "true",
        skiptoken=given.get("$skiptoken"),
        eventual=eventual,
    )


@dataclass(frozen=True)
class Entity(Generic[T]):
    """How things of one kind are shown and searched; `value` gives a property of one by Graph's name."""

    name: str  # Graph's type, without `microsoft.graph.`
    value: Callable[[View, T, str], Any]
    properties: frozenset[str]
    default: tuple[str, ...]
    filterable: frozenset[str] = frozenset()
    searchable: frozenset[str] = frozenset()

    def check_select(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """The properties to show; QueryError for one the type does not have."""
        if names is None:
            return self.default
        for name in names:
            if name not in self.properties:
                raise QueryError(
                    "Parsing OData Select and Expand failed: "
                    f"Could not find a property named '{name}' on type 'microsoft.graph.{self.name}'."
                )
        return tuple(names)

    def show(self, view: View, item: T, names: Sequence[str]) -> dict[str, Any]:
        return {name: self.value(view, item, name) for name in names}


def record_entity(name: str, properties: Sequence[str], filterable: Sequence[str] = ()) -> Entity[Mapping[str, Any]]:
    """An entity whose items are dictionaries in Graph's form; filters may look into them (`status/errorCode`)."""

    def value(_: View, item: Mapping[str, Any], path: str) -> Any:
        found: Any = item
        for key in path.split("/"):
            found = found[key]
        return found

    return Entity(
        name,
        value,
        frozenset((*properties, *filterable)),
        tuple(properties),
        frozenset(filterable),
    )


@dataclass(frozen=True)
class Sized:
    """How many things a page holds: without `$top`, and at most."""

    default: int = 100
    most: int = 999


Expansion = Callable[[T, Sequence[str] | None], Any]
"""Makes what an $expand asks for from a thing and the $select within."""


def expansion_of(options: Options, expansions: Mapping[str, Expansion[T]]) -> Expansion[T] | None:
    """What the request's $expand asks for; QueryError when there is no such thing."""
    if options.expand is None:
        return None
    if options.expand.name not in expansions:
        raise QueryError(
            f"Parsing OData Select and Expand failed: Could not find a property named '{options.expand.name}'."
        )
    return expansions[options.expand.name]


# Pages


def single(
    call: "Call", entity: Entity[T], item: T, context: str, *, expansions: Mapping[str, Expansion[T]] | None = None
) -> dict[str, Any]:
    """One thing as an answer, with $select and $expand."""
    expand = expansion_of(call.options, expansions or {})
    if unserved := call.options.given() - {"$select", "$expand"}:
        raise QueryError(f"The query option '{min(unserved)}' is not supported for a single entity.")
    names = entity.check_select(call.options.select)
    body = {"@odata.context": f"{call.base}/$metadata#{context}/$entity", **entity.show(call.view, item, names)}
    if call.options.expand is not None and expand is not None:
        body[call.options.expand.name] = expand(item, call.options.expand.select)
    return body


def page(
    call: "Call",
    items: Sequence[T],
    entity_of: Callable[[T], Entity[T]],
    context: str,
    *,
    view: View | None = None,
    checked: Entity[T] | None = None,
    typed: bool = False,
    size: Sized | None = None,
    expansions: Mapping[str, Expansion[T]] | None = None,
) -> dict[str, Any]:
    """A page of things as an answer.

    `entity_of` tells each thing's kind, `checked` is the kind $select, $filter and $search are checked against
    (None: a mixture, where a property another kind has is no error); `typed` adds `@odata.type` and `id`.
    `expansions` makes what $expand may ask for.
    """
    options, size, view = call.options, size or Sized(), view or call.view
    expand = expansion_of(options, expansions or {})
    top = size.default if options.top is None else options.top
    if not 1 <= top <= size.most:
        raise QueryError(
            f"Invalid page size specified: '{top}'. Must be between 1 and {size.most} inclusive.", "Request_BadRequest"
        )
    if options.count and not options.eventual:
        raise QueryError("$count is not currently supported.", "Request_BadRequest")
    if checked is not None:
        checked.check_select(options.select)

    def getter(item: T) -> Getter:
        entity = entity_of(item)
        return lambda name: entity.value(view, item, name) if name in entity.properties else None

    if options.filter is not None:
        wanted = parse_filter(options.filter, checked, advanced=options.eventual and options.count)
        items = [item for item in items if wanted(getter(item))]
    if options.search is not None:
        if not options.eventual:
            raise QueryError(
                "Request with $search query parameter only works through MSGraph with a special request header: "
                "'ConsistencyLevel: eventual'",
                "Request_UnsupportedQuery",
            )
        found = parse_search(options.search, checked)
        items = [item for item in items if found(getter(item))]
    if options.orderby is not None:
        items = _ordered(items, options, getter)

    fingerprint = hashlib.sha256(
        f"{call.path}?{options.filter}&{options.search}&{options.orderby}".encode()
    ).hexdigest()
    start = _start(options.skiptoken, fingerprint)
    shown = items[start : start + top]
    value = []
    for item in shown:
        entity = entity_of(item)
        names = entity.default if options.select is None else [n for n in options.select if n in entity.properties]
        row = entity.show(view, item, names)
        if typed:
            row = {"@odata.type": f"#microsoft.graph.{entity.name}", "id": entity.value(view, item, "id"), **row}
        if options.expand is not None and expand is not None:
            row[options.expand.name] = expand(item, options.expand.select)
        value.append(row)
    answer: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{context}"}
    if options.count:
        answer["@odata.count"] = len(items)
    if start + top < len(items):
        token = base64.urlsafe_b64encode(f"{start + top}:{fingerprint[:16]}".encode()).decode()
        rest = "&".join(part for part in call.query.split("&") if part and not _is_skiptoken(part))
        answer["@odata.nextLink"] = f"{call.base}{call.path}?{rest}{'&' if rest else ''}$skiptoken={token}"
    answer["value"] = value
    return answer


def _is_skiptoken(part: str) -> bool:
    return part.partition("=")[0].lower() in ("$skiptoken", "%24skiptoken")


def _start(token: str | None, fingerprint: str) -> int:
    if token is None:
        return 0
    try:
        start, _, made_for = base64.urlsafe_b64decode(token).decode().partition(":")
        number = int(start)
    except ValueError as error:
        raise QueryError("The specified page token value is not valid.", "Directory_ExpiredPageToken") from error
    if made_for != fingerprint[:16]:
        raise QueryError("The specified page token value has expired.", "Directory_ExpiredPageToken")
    return number


def _ordered(items: Sequence[T], options: Options, getter: Callable[[T], Getter]) -> list[T]:
    name, _, direction = (options.orderby or "").partition(" ")
    if name not in ("displayName", "userPrincipalName", "activityDateTime") or direction not in ("", "asc", "desc"):
        raise QueryError(f"Unsupported sort property '{name}'.", "Request_UnsupportedQuery")
    if (options.filter or options.search) and not (options.eventual and options.count):
        raise QueryError("Sorting not supported for current query.", "Request_UnsupportedQuery")
    return sorted(items, key=lambda item: str(getter(item)(name)).casefold(), reverse=direction == "desc")


# $filter

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_./]*(?![A-Za-z0-9_.-]))"
    r"|(?P<literal>[0-9A-Za-z][0-9A-Za-z.:+-]*)"
    r"|(?P<sign>[(),:]))"
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
}
_FUNCTIONS: Mapping[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def parse_filter(text: str, entity: Entity[Any] | None, *, advanced: bool) -> Predicate:
    """A $filter as a function of a thing's properties; QueryError for what is not understood or not served.

    `advanced` says that the request asked for the capabilities of "Advanced query capabilities on Microsoft Entra
    ID objects" (the header and $count=true), without which `ne`, `not` and `endsWith` are refused.
    """
    return _Filter(text, entity, advanced=advanced).parse()


class _Filter:
    def __init__(self, text: str, entity: Entity[Any] | None, *, advanced: bool) -> None:
        self._tokens = self._tokenize(text)
        self._next = 0
        self._entity = entity
        self._advanced = advanced
        self._clauses = 0
        self._depth = 0
        self._variables: dict[str, str] = {}  # of a lambda: the collection it stands for

    @staticmethod
    def _tokenize(text: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise QueryError(f"Invalid filter clause: Syntax error at position {position} in '{text}'.")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def parse(self) -> Predicate:
        predicate = self._either()
        if self._next != len(self._tokens):
            raise self._error()
        return predicate

    def _either(self) -> Predicate:
        choices = [self._both()]
        while self._takes("or"):
            choices.append(self._both())
        return choices[0] if len(choices) == 1 else lambda get: any(choice(get) for choice in choices)

    def _both(self) -> Predicate:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda get: all(part(get) for part in parts)

    def _one(self) -> Predicate:
        self._depth += 1
        if self._depth > 30:
            raise QueryError("The filter is nested too deeply.")
        try:
            if self._takes("not"):
                self._need_advanced("not")
                inner = self._one()
                return lambda get: not inner(get)
            if self._takes("("):
                inner = self._either()
                self._expect(")")
                return inner
            return self._clause()
        finally:
            self._depth -= 1

    def _clause(self) -> Predicate:
        self._clauses += 1
        if self._clauses > 15:
            raise QueryError(
                "Too many child clauses specified in search filter expression.", "Request_UnsupportedQuery"
            )
        kind, word = self._take()
        if kind != "word":
            raise self._error()
        if word.lower() in _FUNCTIONS:
            return self._function(word.lower())
        if word.endswith("/any"):
            return self._any(word.removesuffix("/any"))
        name = self._property(word)
        operator = self._take()[1].lower()
        if operator == "in":
            self._expect("(")
            options = [self._literal()]
            while self._takes(","):
                options.append(self._literal())
            self._expect(")")
            if len(options) > 15:
                raise QueryError(
                    f"Too many child clauses specified in search filter expression containing 'OR' operators: "
                    f"{len(options)}. Max allowed: 15.",
                    "Request_UnsupportedQuery",
                )
            return lambda get: _fold(get(name)) in options
        if operator not in _COMPARISONS:
            raise self._error()
        if operator == "ne":
            self._need_advanced("ne")
        return _comparison(name, operator, self._literal())

    def _function(self, function: str) -> Predicate:
        self._expect("(")
        name = self._property(self._take()[1])
        self._expect(",")
        wanted = self._literal()
        self._expect(")")
        if not isinstance(wanted, str):
            raise self._error()
        if function == "endswith":
            self._need_advanced("endsWith")
        test = _FUNCTIONS[function]
        return lambda get: get(name) is not None and test(str(_fold(get(name))), wanted)

    def _any(self, collection: str) -> Predicate:
        name = self._property(collection)
        self._expect("(")
        variable = self._take()[1]
        self._expect(":")
        self._variables[variable] = name
        inner = self._either()
        del self._variables[variable]
        self._expect(")")
        return lambda get: any(inner(_inside(one)) for one in get(name) or ())

    def _property(self, word: str) -> str:
        if word.partition("/")[0] in self._variables:
            return word
        if self._entity is not None and word not in self._entity.properties:
            raise QueryError(
                f"Invalid filter clause: Could not find a property named '{word}' "
                f"on type 'microsoft.graph.{self._entity.name}'."
            )
        if self._entity is not None and word not in self._entity.filterable:
            raise QueryError(
                f"Unsupported or invalid query filter clause specified for property '{word}' "
                f"of resource '{self._entity.name.capitalize()}'.",
                "Request_UnsupportedQuery",
            )
        return word

    def _literal(self) -> Any:
        kind, text = self._take()
        if kind == "string":
            return text[1:-1].replace("''", "'").casefold()
        if kind == "word" and text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        if kind == "literal":
            return int(text) if text.isdigit() else text.casefold()
        raise self._error()

    def _need_advanced(self, what: str) -> None:
        if not self._advanced:
            raise QueryError(
                f"Operator '{what}' is not supported because the 'ConsistencyLevel:eventual' header and "
                "'$count=true' are missing.",
                "Request_UnsupportedQuery",
            )

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise self._error()
        self._next += 1
        return self._tokens[self._next - 1]

    def _takes(self, text: str) -> bool:
        if self._next < len(self._tokens):
            kind, found = self._tokens[self._next]
            if kind in ("word", "sign") and found == text:
                self._next += 1
                return True
        return False

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            raise self._error()

    def _error(self) -> QueryError:
        return QueryError(f"Invalid filter clause: Syntax error near token {self._next}.")


def _inside(value: Any) -> Getter:
    """What a lambda's variable stands for, and by a path (`t/id`) what is within."""

    def get(path: str) -> Any:
        found = value
        for name in path.split("/")[1:]:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return get


def _comparison(name: str, operator: str, wanted: Any) -> Predicate:
    compare = _COMPARISONS[operator]

    def test(get: Getter) -> bool:
        value = _fold(get(name))
        if value is None or wanted is None:
            return compare(value, wanted) if operator in ("eq", "ne") else False
        if isinstance(value, bool) is not isinstance(wanted, bool) or isinstance(value, str) is not isinstance(
            wanted, str
        ):
            raise QueryError(
                f"Invalid filter clause: A binary operator with incompatible types was detected at '{name}'."
            )
        return compare(value, wanted)

    return test


def _fold(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


# $search

_CLAUSE = re.compile(r'\s*"(\w+):((?:[^"\\]|\\.)*)"\s*')


def parse_search(text: str, entity: Entity[Any] | None) -> Predicate:
    """A $search (`"displayName:ann" OR "mail:ann"`, AND before OR) as a function of a thing's properties.

    displayName is searched by the beginnings of its words, everything else by its own beginning.
    """
    choices: list[list[tuple[str, str]]] = [[]]
    position = 0
    while True:
        match = _CLAUSE.match(text, position)
        if match is None:
            raise QueryError(f"Syntax error: character at position {position} in '{text}' is not valid.")
        name, value = match[1], re.sub(r"\\(.)", r"\1", match[2]).casefold()
        if entity is not None and name not in entity.searchable:
            raise QueryError(f"The property '{name}' cannot be searched.", "Request_UnsupportedQuery")
        choices[-1].append((name, value))
        position = match.end()
        rest = text[position:]
        if not rest:
            break
        if rest.startswith("OR"):
            choices.append([])
        elif not rest.startswith("AND"):
            raise QueryError(f"Syntax error: character at position {position} in '{text}' is not valid.")
        position += len("OR" if rest.startswith("OR") else "AND")

    return lambda get: any(all(_found(name, get(name), value) for name, value in choice) for choice in choices)


def _found(name: str, have: Any, wanted: str) -> bool:
    if not isinstance(have, str):
        return False
    if name not in ("displayName", "description"):
        return have.casefold().startswith(wanted)
    words = re.findall(r"\w+", have.casefold())
    return all(any(word.startswith(part) for word in words) for part in re.findall(r"\w+", wanted)) and bool(wanted)
