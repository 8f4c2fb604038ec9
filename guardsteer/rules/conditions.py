"""The language of ``when:``, a subset of CEL: text to a typed tree, or to every mistake in it.

    condition  = every { "||" every }
    every      = relation { "&&" relation }
    relation   = unary [ ("==" | "!=" | "<" | "<=" | ">" | ">=") unary | "in" ( list | "request.labels" ) ]
    unary      = { "!" } primary
    primary    = "(" condition ")" | literal | flag | classifier.output | request.key | "step"
    list       = "[" literal { "," literal } "]"

Syntax ends the reading at its first mistake; unknown names and wrong types are all collected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, TypeAlias, cast

from guardsteer.rules import syntax
from guardsteer.rules.lexer import Mistake, SyntaxMistake, Token, tokenize
from guardsteer.rules.names import WORDS, Names, look_up
from guardsteer.rules.places import shown

__all__ = ["MAX_DEPTH", "MAX_MISTAKES", "parse_condition"]

MAX_DEPTH = 32
MAX_MISTAKES = 20
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_NUMBERS = frozenset(("int", "float"))
_ARTICLES = {"bool": "true or false", "int": "a number", "float": "a number", "string": "a string"}
_ANY_FLAG = syntax.FlagRef("")


@dataclass(frozen=True, slots=True)
class _Typed:
    """A part of a condition; type None after a mistake, which silences what would follow from it."""

    node: syntax.Condition | syntax.Operand
    type: syntax.Type | None
    offset: int
    simple: bool = True


_Parsed: TypeAlias = tuple[syntax.Condition | None, list[Mistake]]


def parse_condition(text: str, names: Names) -> _Parsed:
    """Return the typed tree of ``text`` and no mistakes, or None and every mistake found."""
    mistakes: list[Mistake] = []
    try:
        parser = _Parser(tokenize(text), names, mistakes)
        typed = parser.condition(0)
        parser.expect_end()
        parser.want_condition(typed)
    except SyntaxMistake as error:
        return None, [*mistakes, error.mistake]
    except _TooMany:
        return None, mistakes
    if mistakes:
        return None, mistakes
    return cast("syntax.Condition", typed.node), []


class _TooMany(Exception):
    """More mistakes than are worth listing."""


class _Parser:
    """Recursive descent; depth is bounded by parentheses and ``!``."""

    def __init__(self, tokens: list[Token], names: Names, mistakes: list[Mistake]) -> None:
        self.tokens = tokens
        self.names = names
        self.position = 0
        self.mistakes = mistakes

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def is_operator(self, text: str) -> bool:
        return self.token.kind == "operator" and self.token.text == text

    def take(self) -> Token:
        token = self.tokens[self.position]
        self.position += 1
        return token

    def fail(self, message: str, hint: str = "") -> NoReturn:
        raise SyntaxMistake(self.token.offset, message, hint)

    def note(self, offset: int, message: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(offset, message, hint))
        if len(self.mistakes) >= MAX_MISTAKES:
            raise _TooMany

    def got(self) -> str:
        return self.token.text if self.token.kind == "end" else shown(self.token.text)

    def expect_end(self) -> None:
        if self.token.kind == "end":
            return
        if self.token.text in _COMPARISONS:
            self.fail("comparisons cannot be chained", "write a < b && b < c")
        if self.token.kind == "operator" and self.token.text == "-":
            self.fail("there is no arithmetic", "'-' only begins a negative number")
        self.fail(
            f"expected && or || or the end of the condition, got {self.got()}",
            WORDS.get(self.token.text, ""),
        )

    def want_condition(self, typed: _Typed) -> _Typed:
        if typed.type in ("int", "float", "string"):
            name = typed.node.name if isinstance(typed.node, syntax.SignalRef) else ""
            hint = f"compare it, as in {name} >= 0.5" if name else "compare it"
            self.note(typed.offset, f"expected a condition, got {_ARTICLES[typed.type]}", hint)
        return typed

    def condition(self, depth: int) -> _Typed:
        return self._joined(depth, "||")

    def _joined(self, depth: int, operator: str) -> _Typed:
        first = self._joined(depth, "&&") if operator == "||" else self.relation(depth)
        if not self.is_operator(operator):
            return first
        items = [self.want_condition(first)]
        while self.is_operator(operator):
            self.take()
            part = self._joined(depth, "&&") if operator == "||" else self.relation(depth)
            items.append(self.want_condition(part))
        nodes = tuple(cast("syntax.Condition", item.node) for item in items)
        node = syntax.AnyOf(nodes) if operator == "||" else syntax.AllOf(nodes)
        return _Typed(node, "bool", first.offset, simple=False)

    def relation(self, depth: int) -> _Typed:
        left = self.unary(depth)
        token = self.token
        if token.kind == "operator" and token.text in _COMPARISONS:
            self.take()
            result = self._compare(left, token, self.unary(depth))
        elif token.kind == "name" and token.text == "in":
            self.take()
            result = self._member(left, token)
        else:
            return left
        if self.token.kind == "operator" and self.token.text in _COMPARISONS:
            self.fail("comparisons cannot be chained", "write a < b && b < c")
        return result

    def unary(self, depth: int) -> _Typed:
        offset, count = self.token.offset, 0
        while self.is_operator("!"):
            self.take()
            count += 1
        if depth + count > MAX_DEPTH:
            raise SyntaxMistake(
                offset, f"the condition is nested more than {MAX_DEPTH} levels deep", "use flags"
            )
        typed = self.primary(depth + count)
        if not count:
            return typed
        if typed.type in ("int", "float", "string"):
            self.note(typed.offset, f"! needs a condition, got {_ARTICLES[typed.type]}", "write !(a < b)")
            return _Typed(_ANY_FLAG, None, offset, simple=False)
        node = cast("syntax.Condition", typed.node)
        for _ in range(count):
            node = syntax.Not(node)
        return _Typed(node, typed.type, offset, simple=False)

    def primary(self, depth: int) -> _Typed:
        token = self.token
        if self.is_operator("("):
            return self._parenthesis(depth)
        if token.kind == "name":
            return self._name(self.take())
        if token.kind in ("number", "string") or self.is_operator("-"):
            return self._literal()
        if self.is_operator("["):
            self.fail("a list can only follow 'in'")
        return self.fail(f"expected a flag, a score, a value or '(', got {self.got()}")

    def _parenthesis(self, depth: int) -> _Typed:
        opening = self.take()
        inner = self.condition(depth + 1)
        if not self.is_operator(")"):
            self.fail(f"expected ')', got {self.got()}", f"'(' opens at character {opening.offset + 1}")
        self.take()
        return _Typed(inner.node, inner.type, opening.offset, inner.simple)

    def _literal(self) -> _Typed:
        offset, sign = self.token.offset, 1
        if self.is_operator("-"):
            self.take()
            sign = -1
            if self.token.kind != "number":
                self.fail(
                    f"expected a number after '-', got {self.got()}", "'-' only begins a negative number"
                )
        token = self.take()
        if token.kind == "string":
            return _Typed(syntax.Constant(token.value), "string", offset)
        value = sign * cast("int | float", token.value)
        return _Typed(syntax.Constant(value), "int" if isinstance(value, int) else "float", offset)

    def _name(self, token: Token) -> _Typed:
        text, offset = token.text, token.offset
        if self.is_operator("("):
            raise SyntaxMistake(offset, "there are no functions", "put the operator && or || before '('")
        if text in WORDS and text not in self.names.flags:
            raise SyntaxMistake(offset, f"{shown(text)} is not part of the language", WORDS[text])
        if text == "in":
            raise SyntaxMistake(offset, "'in' needs a value before it", "write request.tenant in ['a', 'b']")
        found, wrong = look_up(text, self.names)
        if found is not None and found[1] == "labels":
            found, wrong = None, (f"{text} is a list of texts", f'write "vip" in {text}')
        if found is None:
            self.note(offset, *wrong)
            return _Typed(_ANY_FLAG, None, offset)
        return _Typed(found[0], found[1], offset)

    def _compare(self, left: _Typed, token: Token, right: _Typed) -> _Typed:
        unknown = _Typed(_ANY_FLAG, "bool", left.offset, simple=False)
        if left.type is None or right.type is None:
            return unknown
        same = left.type == right.type or {left.type, right.type} <= _NUMBERS
        if not same:
            what = f"{_ARTICLES[left.type]} with {_ARTICLES[right.type]}"
            self.note(token.offset, f"cannot compare {what}", _comparing_hint(left, right))
            return unknown
        if left.type in ("bool", "string") and token.text not in ("==", "!="):
            what = "conditions" if left.type == "bool" else "strings"
            self.note(token.offset, f"{what} have no order, got {shown(token.text)}", "use == or !=")
            return unknown
        if left.type == "bool":
            return self._same_truth(left, token, right)
        operator = cast("syntax.Comparison", token.text)
        node = syntax.Compare(operator, cast("syntax.Operand", left.node), cast("syntax.Operand", right.node))
        return _Typed(node, "bool", left.offset, simple=False)

    def _same_truth(self, left: _Typed, token: Token, right: _Typed) -> _Typed:
        for side in (left, right):
            if not side.simple:
                message = f"{shown(token.text)} compares flags, request keys and true or false alone"
                self.note(side.offset, message, "use !, && and || to combine conditions")
                return _Typed(_ANY_FLAG, "bool", left.offset, simple=False)
        kinds = (syntax.FlagRef, syntax.RequestRef, syntax.Constant)
        first, second = left.node, right.node
        if not isinstance(first, kinds) or not isinstance(second, kinds):
            raise TypeError("a simple condition is a flag, a request key or a constant")
        node: syntax.Condition = syntax.SameTruth(first, second)
        return _Typed(node if token.text == "==" else syntax.Not(node), "bool", left.offset, simple=False)

    def _has_label(self, left: _Typed) -> _Typed:
        name = self.take().text
        node = left.node
        if isinstance(node, syntax.Constant) and isinstance(node.value, str):
            return _Typed(syntax.HasLabel(node.value), "bool", left.offset, simple=False)
        if left.type is not None:
            message = f"expected a text in quotes before 'in {name}', got {_ARTICLES[left.type]}"
            self.note(left.offset, message, f'write "vip" in {name}')
        return _Typed(_ANY_FLAG, "bool", left.offset, simple=False)

    def _member(self, left: _Typed, token: Token) -> _Typed:
        if self.token.kind == "name" and self.token.text == "request.labels":
            return self._has_label(left)
        if not self.is_operator("["):
            hint = "write request.tenant in ['a', 'b'], or \"vip\" in request.labels"
            self.fail(f"expected a list after 'in', got {self.got()}", hint)
        self.take()
        values: list[str | int | float] = []
        while True:
            values.append(self._element(left))
            if not self.is_operator(","):
                break
            self.take()
        if not self.is_operator("]"):
            self.fail(f"expected ',' or ']', got {self.got()}")
        self.take()
        if left.type == "bool":
            self.note(token.offset, "'in' needs a number or a string before it, got a condition")
        if left.type in (None, "bool"):
            return _Typed(_ANY_FLAG, "bool", left.offset, simple=False)
        node = syntax.Member(cast("syntax.Operand", left.node), tuple(values))
        return _Typed(node, "bool", left.offset, simple=False)

    def _element(self, left: _Typed) -> str | int | float:
        if self.token.kind not in ("number", "string") and not self.is_operator("-"):
            self.fail(f"expected a number or a string in the list, got {self.got()}")
        element = self._literal()
        fits = element.type == left.type or {element.type, left.type} <= _NUMBERS
        if left.type in ("int", "float", "string") and not fits and element.type is not None:
            message = (
                f"the list must hold {_ARTICLES[left.type]} at each place, got {_ARTICLES[element.type]}"
            )
            self.note(element.offset, message)
        if not isinstance(element.node, syntax.Constant):
            raise TypeError("a literal is a constant")
        return element.node.value


def _comparing_hint(left: _Typed, right: _Typed) -> str:
    for side, other in ((left, right), (right, left)):
        if isinstance(side.node, syntax.FlagRef) and other.type in _NUMBERS:
            return f"{shown(side.node.name)} is a flag and has no number; compare its signal"
    return ""
