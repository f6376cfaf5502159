"""The HTTP face of a node: OpenAI's shapes over FastAPI."""
