"""Scores files of any number of texts: the service's model and batching by length, without a server."""
