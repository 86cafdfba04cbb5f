"""The spool in one SQLite file: WAL, one connection that writes and syncs, as many as you like that read."""

from sodarouter.spool.sqlite.backup import Copy, Progress, back_up, copied
from sodarouter.spool.sqlite.contents import Contents
from sodarouter.spool.sqlite.engine import SqliteSpool
from sodarouter.spool.sqlite.lock import Lock
from sodarouter.spool.sqlite.reader import SqliteReader
from sodarouter.spool.sqlite.restore import put_back

__all__ = ["Contents", "Copy", "Lock", "Progress", "SqliteReader", "SqliteSpool", "back_up", "copied", "put_back"]
