"""Sentiment of English and Polish texts."""

LABELS = ("negative", "neutral", "positive")
# By what checkpoints call them, in lower case: served name, and colour on the page.
KNOWN_AS = {
    name: {"label": label, "tone": tone}
    for label, tone in zip(LABELS, ("red", "gray", "green"), strict=True)
    for name in (label, label[:3])
}
# Without one of these, a model has another task.
ESSENTIAL = frozenset({"negative", "positive"})
