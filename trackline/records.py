"""Plain mappings as frozen, typed records: unknown keys, wrong types and impossible values are refused."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from trackline.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The closed interval that a number must lie in; `unit` finishes the sentence of the error."""

    low: float
    high: float = float("inf")
    unit: str = ""


Fraction = Annotated[float, Range(0, 1, "a fraction")]
Difference = Annotated[float, Range(-1, 1, "a difference of fractions")]
Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
NonNegative = Annotated[float, Range(0)]


def read(kind: type[T], path: Path) -> T:
    """Read a YAML file into a record; raises ConfigError with the file, the key, the rule and the remedy."""
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return parse(kind, raw or {})
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def parse(kind: type[T], raw: Any, where: str = "") -> T:
    """Build a record of `kind` from plain mappings, checking every name, type and range on the way."""
    if not isinstance(raw, Mapping):
        raise ConfigError(
            f"{where or 'the file'} is {_show(raw)}; it must be a mapping of names to values"
        )
    hints = typing.get_type_hints(kind, include_extras=True)
    for key in raw:
        if key not in hints:
            raise ConfigError(_unknown(f"{where}.{key}".lstrip("."), str(key), list(hints)))
    values = {k: _convert(hints[k], v, f"{where}.{k}".lstrip(".")) for k, v in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).split(') ', 1)[-1]}") from None


def plain(record: Any) -> dict[str, Any]:
    """Turn a record back into what YAML and JSON can hold."""
    return {f.name: _plain(getattr(record, f.name)) for f in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _mapping(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {_show(value)}; it must be a mapping of names to values")
    return {str(k): _convert(hint, v, f"{where}.{k}") for k, v in value.items()}


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 (a kind a line)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _within(_convert(arguments[0], value, where), arguments[1], where)
    if origin is Literal:
        return _one_of(value, arguments, where)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {_show(value)}; it must be a list")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        return _mapping(arguments[1], value, where)
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type[Any], hint), value, where)
    return _scalar(hint, value, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """None and true or false as they are, where they may stand; else the kind beside them."""
    plain_kinds = (bool, types.NoneType)
    if type(value) in arguments and type(value) in plain_kinds:
        return value
    return _convert(next(a for a in arguments if a not in plain_kinds), value, where)


def _scalar(hint: type[Any], value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{where} is {_show(value)}; that is too large a number") from None
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            pass
    if type(value) is not hint:
        raise ConfigError(f"{where} is {_show(value)}; it must be of type {hint.__name__}")
    return value


def _show(value: Any) -> str:
    """Write a value out, but for the inside of what is deep or long: YAML unfolds a line to gigabytes."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 200
    return short.repr(value)


def _within(value: float, limits: Range, where: str) -> float:
    if limits.low <= value <= limits.high:
        return value
    interval = (
        f"in [{limits.low:g}, {limits.high:g}]"
        if limits.high < float("inf")
        else f"at least {limits.low:g}"
    )
    rule = f"it is {limits.unit} {interval}" if limits.unit else f"it must be {interval}"
    hint = f"; did you mean {value / 100:g}?" if limits.high == 1 and 1 < value <= 100 else ""
    raise ConfigError(
        f"{where} is {_show(value) if isinstance(value, int) else f'{value:g}'}; {rule}{hint}"
    )


def _one_of(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value in choices:
        return value
    raise ConfigError(
        f"{where} is {_show(value)}; it must be one of "
        f"{', '.join(map(str, choices))}{_nearest(value, choices)}"
    )


def _unknown(where: str, key: str, names: list[str]) -> str:
    return f"unknown key {where!r}{_nearest(key, names) or '; known here: ' + ', '.join(names)}"


def _nearest(value: Any, names: typing.Sequence[Any]) -> str:
    close = difflib.get_close_matches(
        value if isinstance(value, str) else _show(value), [str(n) for n in names], n=1
    )
    return f"; did you mean {close[0]!r}?" if close else ""
