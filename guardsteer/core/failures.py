"""How an error is told without quoting the text that was being read when it was raised."""

from __future__ import annotations

from guardsteer.errors import ClassifierError

__all__ = ["failure_of"]


def failure_of(error: BaseException) -> str:
    """Return an error's type and the module and line that raised it, without its message.

    A message may quote what was being read: ``KeyError('a word of a prompt')``. This library's own
    ``ClassifierError`` never does, and comes with its message.
    """
    module, line = "", 0
    frames = error.__traceback__
    while frames is not None:
        module, line = str(frames.tb_frame.f_globals.get("__name__", "")), frames.tb_lineno
        frames = frames.tb_next
    name = type(error).__name__
    if type(error) is ClassifierError and module.startswith("guardsteer."):
        return f"{name}: {error}"
    return f"{name} at {module}:{line}" if line else name
