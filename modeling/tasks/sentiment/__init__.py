"""Sentiment of English and Polish texts."""

LABELS = ("negative", "neutral", "positive")
