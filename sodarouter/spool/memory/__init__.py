"""The spool in memory: for tests."""

from sodarouter.spool.memory.spool import MemorySpool

__all__ = ["MemorySpool"]
