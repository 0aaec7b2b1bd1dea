"""The laboratory: do the scores see harm, and do the repairs take it out? See README.md here."""
