"""The operator console: pages rendered here, over the same functions as the API. It holds no rule of its own."""
