"""All HTTP to agents, one small module a platform. Nothing here knows a row, a queue or Celery."""
