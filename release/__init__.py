"""Releases a stored model: builds the Bento and the image, pushes and deploys it, and summarizes a pipeline run."""
