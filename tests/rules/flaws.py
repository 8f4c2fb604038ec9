# ruff: noqa: E501 (a table reads better in wide rows)
"""Flaws to make in the policy ``CLEAN``: what to replace by what, then kind, line, column and message of the warning."""

from __future__ import annotations

CLEAN = """\
guardsteer: 1
name: clean
context: {tier: int}
classifiers: {s: {use: s, on: all}}
flags:
  low:  {signal: s.a, enter: 0.5, exit: 0.4}
  high: {signal: s.a, enter: 0.8, exit: 0.6}
vectors: {v: {use: v, max_strength: 1}, w: {use: w}}
profiles: {some: {add: {vector: v, strength: 0.1}}}
rules:
  - {id: one, when: low && request.tier > 1, add: {vector: v, strength: 0.2}}
  - {id: two, when: high, subtract: {vector: w, strength: 0.3}}
  - {id: pick, when: s.b > 0.5, route: {high: some}}
budget: 1
fallback: stop
"""

ONE = "  - {id: one, when: low && request.tier > 1, add: {vector: v, strength: 0.2}}\n"
TWO = "  - {id: two, when: high, subtract: {vector: w, strength: 0.3}}\n"
FLAWS: list[tuple[str, str, str, int, int, str]] = [
    ("{tier: int}", "{tier: int, spare: int}", "unused", 3, 22, "no rule reads 'request.spare'"),
    ("{s: {use: s, on: all}}", "{s: {use: s, on: all}, t: {use: t, on: all}}", "unused", 4, 37, "no flag and no rule reads the classifier 't'"),
    ("vectors:", "  idle: {signal: s.b, enter: 0.5}\nvectors:", "unused", 8, 3, "no rule reads the flag 'idle'"),
    ("w: {use: w}", "w: {use: w}, x: {use: x}", "unused", 8, 54, "no rule steers with the vector 'x'"),
    (TWO, TWO + "  - {id: quiet, when: s.c > 0.5, disable: x}\n", "unused", 8, 54, "no rule steers with the vector 'x', only disables it"),
    ("profiles: {", "profiles: {spare: {}, ", "unused", 9, 12, "no rule routes to the profile 'spare'"),
    ("exit: 0.6", "exit: 0.3", "thresholds", 7, 3, "the thresholds of 'high' and 'low' cross: the first enters at 0.8, not 0.5, but leaves below 0.3, not 0.4"),
    ("enter: 0.5, exit: 0.4", "enter: 0", "thresholds", 6, 30, "the flag 'low' enters at 0, which every score reaches"),
    ("exit: 0.4", "exit: 0", "thresholds", 6, 41, "the flag 'low' never goes down: no score is below 0"),
    ("exit: 0.4", "exit: 0.4, latch: true", "no-effect", 6, 35, "'exit' changes nothing: with 'latch' the flag never goes down"),
    ("exit: 0.4", "hold: 3, latch: true", "no-effect", 6, 35, "'hold' changes nothing"),
    ("exit: 0.4", "exit: 0.4, of_last: 5", "no-effect", 6, 46, "'of_last' changes nothing: with 'after: 1'"),
    ("exit: 0.4", "exit: 0.4, smooth: {max: 1}", "no-effect", 6, 46, "'max: 1' smooths nothing"),
    ("low && request", "s.a > 0.7 && s.a < 0.3 && request", "unreachable", 11, 21, "the rule 'one' can never fire: its condition is never true"),
    ("low && request", "low && s.a < 0.2 && request", "unreachable", 11, 21, "the rule 'one' can never fire"),
    ("low && request", "high && !low && request", "unreachable", 11, 21, "the rule 'one' can never fire"),
    ("request.tier > 1", "request.tier > 1 && request.tier < 2", "unreachable", 11, 21, "the rule 'one' can never fire"),
    ("low && request.tier > 1", "'false'", "unreachable", 11, 21, "the rule 'one' can never fire"),
    ("s.b > 0.5", "s.b > 1", "unreachable", 13, 22, "the route 'high' is never taken"),
    ("add: {vector: v, strength: 0.2}", "disable: v", "", 0, 0, ""),
    ("request.tier > 1, add: {vector: v, strength: 0.2}", "request.tier > 1 && s.c > 1, halt: true", "unreachable", 11, 21, "can only fire where something is missing"),
    ("low && request.tier > 1", "low && (request.tier > 1 || step < 0)", "dead-part", 11, 21, "'step < 0' is never true"),
    ("low && request.tier > 1", "low && request.tier > 1 && step >= 0", "dead-part", 11, 21, "'step >= 0' is always true"),
    (ONE, ONE + "  - {id: again, when: low && request.tier > 2, add: {vector: v, strength: 0.1}}\n", "beaten", 12, 23, "the rule 'again' never decides anything: 'one' always takes its place"),
    (TWO, TWO + "  - {id: quiet, when: high || step > 9, disable: w}\n", "beaten", 12, 21, "the rule 'two' never decides anything: 'quiet' always takes its place"),
    (TWO, TWO + "  - {id: end, when: high, halt: true}\n  - {id: fin, when: high && low, halt: true}\n", "beaten", 14, 21, "the rule 'fin' adds nothing to what 'end' does"),
    (TWO, TWO + "  - {id: back, when: high, add: [{vector: w, strength: 0.3}, {vector: v, strength: 0.1}]}\n", "fight", 13, 22, "'back' never steers with 'w': whenever it fires, 'two' steers in the other direction with it"),
    ("strength: 0.3", "strength: 0.3, half_life: 3, stronger: {every: 2, by: 1}", "no-effect", 12, 64, "'half_life' and 'stronger' pull one strength both ways"),
    ("strength: 0.2", "strength: 1, stronger: {every: 2, by: 1}", "no-effect", 11, 76, "'stronger' changes nothing: the strength begins at its bound, 1"),
    ("subtract: {vector: w, strength: 0.3}", "halt: true, hold_back: 3", "no-effect", 12, 39, "'hold_back' comes too late: the rule ends the row as soon as it fires"),
    ("subtract: {vector: w", "hold_back: 3, subtract: {vector: w", "", 0, 0, ""),
    ("strength: 0.3}", "strength: 0.3}, halt: true, revise: {tokens: 2}", "no-effect", 12, 77, "'revise' changes nothing: where the rule fires, 'halt' ends the row"),
    ("subtract: {vector: w, strength: 0.3}", "revise: {tokens: 2, steps: 3}", "no-effect", 12, 27, "the rule revises without steering"),
    ("strength: 0.3}}\n", "strength: 0.3}, revise: {tokens: 9}}\n  - {id: hold, when: 'true', hold_back: 8}\n", "no-effect", 12, 82, "the rule takes back up to 9 tokens, and at most 8 are held back"),
    ("budget: 1", "budget: 1\noverrides: [{vector: w, from: 0, to: 1}]\nbinding: {rules: {two: shadow}}", "", 0, 0, ""),
    ("subtract: {vector: w, strength: 0.3}", "ablate: {vector: w, ramp: 4}", "", 0, 0, ""),
    ("budget: 1", "binding: {mode: shadow, rules: {two: enforce}}\nbudget: 1", "no-effect", 14, 38, "'enforce' changes nothing: no rule goes further than the policy's mode, shadow"),
    ("budget: 1\n", "", "no-budget", 8, 1, "'v' and 'w' can act at once, and nothing bounds their sum"),
]  # fmt: skip
