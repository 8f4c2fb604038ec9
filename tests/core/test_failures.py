"""An error is told by what it is and where it was raised, and never in its own words."""

from __future__ import annotations

import pytest

from guardsteer.core.failures import failure_of
from guardsteer.errors import ClassifierError


def caught(error: Exception) -> Exception:
    with pytest.raises(type(error)) as info:
        raise error
    return info.value


def test_a_message_that_quotes_a_prompt_is_left_out_and_the_place_is_told() -> None:
    told = failure_of(caught(KeyError("a word of a prompt")))
    assert told.startswith(f"KeyError at {__name__}:")
    assert "prompt" not in told


def test_the_place_is_the_innermost_one() -> None:
    with pytest.raises(UnicodeDecodeError) as info:
        b"\xff".decode()
    outer = failure_of(info.value)
    assert outer.rpartition(":")[0] == f"UnicodeDecodeError at {__name__}"


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert failure_of(ValueError("text")) == "ValueError"


def test_an_error_of_this_library_keeps_its_message_only_where_this_library_raised_it() -> None:
    assert "text" not in failure_of(caught(ClassifierError("text")))

    def raised_within(module: str) -> str:
        names = {"__name__": module, "ClassifierError": ClassifierError}
        code = compile("def fail(): raise ClassifierError('gave 2 scores')", "here", "exec")
        exec(code, names)
        with pytest.raises(ClassifierError) as info:
            names["fail"]()  # type: ignore[operator]  # made by exec
        return failure_of(info.value)

    assert raised_within("guardsteer.classify.pace.guarded") == "ClassifierError: gave 2 scores"
    assert "gave" not in raised_within("guardsteer_plugin")


def test_a_class_derived_from_ours_may_say_anything_so_it_is_left_out() -> None:
    class Quoting(ClassifierError):
        pass

    assert "text" not in failure_of(caught(Quoting("text")))
