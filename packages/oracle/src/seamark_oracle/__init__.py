"""Judges whether a lake is exactly what its log says it must be. Imports nothing of seamark.

Every rule stands here a second time, written from the specification in the plainest way, so
that the judge cannot repeat a mistake of the judged.
"""

from seamark_oracle.judge import judge
from seamark_oracle.verdict import Check, JournalFigures, TableFigures, Unproven, Verdict

__all__ = ["Check", "JournalFigures", "TableFigures", "Unproven", "Verdict", "judge"]
