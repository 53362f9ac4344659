"""Models on disk: names, versions, digests, exchange. Nothing here executes what is in a model."""
