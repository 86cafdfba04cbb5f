"""Makes of a real event one that can be shown: another's names, ids and words, and everything that routes look at."""

from sodarouter.anonymise.document import anonymise

__all__ = ["anonymise"]
