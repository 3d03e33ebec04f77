"""Tables that the packs share."""
