"""Commands for people: setting up, trying out, importing. None of it is imported by the services."""
