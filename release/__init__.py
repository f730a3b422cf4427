"""From a model in the store to a running container: Bento, image, push, deployment, summary of a pipeline run."""
