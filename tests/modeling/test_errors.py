from __future__ import annotations

import pytest

from modeling.errors import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:a/b@c@host/db", "postgresql://***@host/db"),
        ("postgresql+psycopg2://host/db?user=u&password=p", "postgresql+psycopg2://host/db?***"),
        ("no http://user:token@one/a, and no https://two/b", "no http://***@one/a, and no https://two/b"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("sqlite:///relative@x/mlflow.db?mode=ro", "sqlite:///relative@x/mlflow.db?mode=ro"),
        ("models:/name@champion", "models:/name@champion"),
    ],
)
def test_addresses_are_masked_and_paths_are_whole(text: str, shown: str) -> None:
    assert masked(text) == shown
