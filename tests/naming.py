"""Names of cases: the same in every process, which functions at their addresses are not."""

import re

__all__ = ["name_of"]


def name_of(value: object, length: int = 60) -> str:
    """Write a parameter of a test as text without addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:length]
