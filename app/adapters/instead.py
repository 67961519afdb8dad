"""A port that stands for another one: some of its methods are given anew, every other one is the other's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")


def instead(port: T, methods: Mapping[str, Callable[..., Any]]) -> T:
    return cast(T, _Instead(port, methods))


class _Instead:
    def __init__(self, port: Any, methods: Mapping[str, Callable[..., Any]]) -> None:
        self._port = port
        self.__dict__ |= methods

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)
