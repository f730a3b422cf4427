"""MLflow's own client of its scoring server asks the service; it reads tables, so it needs the packages of export."""

from __future__ import annotations

import pytest

from tests.server import Server

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

TEXTS = ["What a wonderful evening!", "The worst film I have seen."]


def test_it_pings_and_invokes_with_a_table_or_an_array(server: Server) -> None:
    import numpy as np
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready()
    assert client.get_version() != ""
    for data in (pd.DataFrame({"text": TEXTS}), np.array(TEXTS)):
        predictions = client.invoke(data, params={"top_k": 1}).get_predictions(predictions_format="dataframe")
        assert predictions["label"].tolist() == ["positive", "negative"]
        assert [len(scores) for scores in predictions["scores"]] == [1, 1]


def test_it_raises_with_the_message_of_the_service(server: Server) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", server.port)
    with pytest.raises(Exception, match=r"dataframe_split.data\[1\] is empty"):
        client.invoke(pd.DataFrame({"text": ["a", " "]}))
