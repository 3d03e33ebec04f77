"""The assistant pack: answers of a model, notifications, and a knowledge base that is searched by meaning."""
