"""One package a task: its data, its lexicons and its behavioural tests."""
