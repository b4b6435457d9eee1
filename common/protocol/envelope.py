"""Where a frame lies in a Flower message, known to coordinator and courier alike."""

from __future__ import annotations

ACTION = "answer"
MESSAGE_TYPE = f"query.{ACTION}"
"""Flower's message type for every query; the frame says which one it is."""
RECORD = "fedward"
FIELD = "frame"
"""``message.content[RECORD][FIELD]`` (a ConfigRecord) holds the frame's bytes."""
