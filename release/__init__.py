"""From a model in the store to a running container: Bento, image, push, deployment, pipeline report."""
