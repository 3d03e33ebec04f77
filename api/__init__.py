"""The HTTP API on API_HOST:API_PORT: `python -m api` starts it, `api.app:app` is the ASGI application."""
