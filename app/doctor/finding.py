"""What the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """state: wrong needs the mend; note may be as it should be. mend: a command or a setting."""

    name: str
    state: State
    text: str
    mend: str = ""
