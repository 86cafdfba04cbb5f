"""The spool in one SQLite file: WAL, ``synchronous=FULL``, one connection that writes, as many as you like that read."""

from sodarouter.spool.sqlite.engine import SqliteSpool
from sodarouter.spool.sqlite.lock import Lock
from sodarouter.spool.sqlite.reader import SqliteReader

__all__ = ["Lock", "SqliteReader", "SqliteSpool"]
