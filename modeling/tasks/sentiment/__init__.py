"""Sentiment of English and Polish texts."""

LABELS = ("negative", "neutral", "positive")
# Served name and colour on the page of each label, by its name in checkpoints in lower case.
KNOWN_AS = {
    name: {"label": label, "tone": tone}
    for label, tone in zip(LABELS, ("red", "gray", "green"), strict=True)
    for name in (label, label[:3])
}
# A model that lacks one of these labels has another task.
ESSENTIAL = frozenset({"negative", "positive"})
