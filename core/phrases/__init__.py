"""Schedules in words, Chinese and English: read into columns, and said again."""
