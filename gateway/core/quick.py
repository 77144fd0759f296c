"""Frozen records as quick to make as others: several are made for each event and for each attempt."""

from __future__ import annotations

import functools
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Record = TypeVar("Record")


def quick(record: type[Record]) -> type[Record]:
    """A frozen dataclass with slots whose fields are set as those of any object while one is made, and not each by a
    call of `object.__setattr__`, as `dataclasses` has it: a third of the time. Those of a subclass, such as a plugin's
    tests may make, are made as `dataclasses` has it. For records without `__post_init__`.
    """
    known: dict[str, Any] = {
        "_frozen": record, "_plain": record.__init__, "_set": object.__setattr__, "_missing": MISSING,
    }  # fmt: skip
    parameters, values, assignments = [], [], []
    for field in fields(record):  # type: ignore[arg-type]  # which are dataclasses
        name, value = field.name, field.name
        default = ""
        if field.default_factory is not MISSING:
            known[f"{name}_factory"] = field.default_factory
            default, value = "=_missing", f"{name}_factory() if {name} is _missing else {name}"
        elif field.default is not MISSING:
            known[f"{name}_default"] = field.default
            default = f"={name}_default"
        parameters.append(name + default)
        values.append(f"{name}={value}")
        assignments.append(f"    self.{name} = {value}")
    known["_open"] = type(record.__name__, (), {"__slots__": tuple(field.name for field in fields(record))})  # type: ignore[arg-type]
    lines = [
        f"def __init__(self, {', '.join(parameters)}):",
        f"    if self.__class__ is not _frozen: return _plain(self, {', '.join(values)})",
        "    _set(self, '__class__', _open)",
        *assignments,
        "    self.__class__ = _frozen",
    ]
    exec("\n".join(lines), known)  # noqa: S102 - of names of fields, as dataclasses does
    record.__init__ = functools.wraps(record.__init__)(known["__init__"])  # type: ignore[method-assign]
    return record
