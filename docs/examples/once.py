"""Keeps a table of residents and the position in one transaction: each change is entered exactly once.

python once.py [COUNT]: ends at the first watermark after COUNT changes; without it, never.
"""

import json
import sqlite3
import sys

from agents.client.blocking import Change, Live, Reset, Watermark, Window

base = sqlite3.connect("residents.sqlite", isolation_level=None)
base.executescript("""
    CREATE TABLE IF NOT EXISTS resident (key TEXT PRIMARY KEY, record TEXT, round INTEGER);
    CREATE TABLE IF NOT EXISTS position (token TEXT);
""")
row = base.execute("SELECT token FROM position").fetchone()
(turn,) = base.execute("SELECT coalesce(max(round), 0) FROM resident").fetchone()
count = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")

with Window() as window:
    for event in window.subscribe("resident.v2", after=row and row[0], on_gap="state"):
        base.execute("BEGIN")
        match event:
            case Reset():  # what is not told until Live is gone
                turn += 1
            case Change(op="put"):
                row = (event.key, json.dumps(event.record, ensure_ascii=False), turn)
                base.execute("INSERT OR REPLACE INTO resident VALUES (?, ?, ?)", row)
            case Change(op="delete"):
                base.execute("DELETE FROM resident WHERE key = ?", (event.key,))
            case Live():
                base.execute("DELETE FROM resident WHERE round < ?", (turn,))
        if token := getattr(event, "token", None):  # None within the state
            base.execute("DELETE FROM position")
            base.execute("INSERT INTO position VALUES (?)", (token,))
        base.execute("COMMIT")
        count -= isinstance(event, Change)
        if count <= 0 and isinstance(event, Watermark):
            break
