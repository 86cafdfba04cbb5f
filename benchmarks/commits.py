"""What one would write in an afternoon instead: FastAPI on uvicorn, Soda's models, a SQLite commit for each request.

    BENCHMARK_SECRET=... uvicorn --app-dir benchmarks commits:app

It is as careful as the router in what it is compared by: it verifies the signature over the raw bytes, validates with the
same pydantic models, and answers when the event is synced to disk. One connection, used where the request is handled: a
thread for each commit was slower.
"""

import hashlib
import hmac
import os
import sqlite3
import uuid
from datetime import UTC, datetime

from fastapi import FastAPI, HTTPException, Request
from pydantic import ValidationError

from sodarouter.soda import validate

SECRET = os.environ["BENCHMARK_SECRET"].encode()

app = FastAPI()
database = sqlite3.connect("events.db")
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY, received TEXT, type TEXT, body BLOB)")


@app.post("/webhooks/soda")
async def receive(request: Request) -> dict[str, str]:
    raw = await request.body()
    signature = "sha256=" + hmac.new(SECRET, raw, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature, request.headers.get("X-Soda-Signature", "")):
        raise HTTPException(401, "bad signature")
    try:
        payload = validate(raw)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_input=False)) from error
    row = (str(uuid.uuid4()), datetime.now(UTC).isoformat(), payload.event, raw)
    with database:  # a commit
        database.execute("INSERT INTO event VALUES (?, ?, ?, ?)", row)
    return {"id": row[0]}
