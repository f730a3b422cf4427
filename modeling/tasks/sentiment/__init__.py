"""Sentiment of English and Polish texts."""
