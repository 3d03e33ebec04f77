"""Rows of the two older tables, read as those systems read them and said in the schedule language of this one. Pure."""
