"""Probes: updates and directions of known effect, made from a model and prompts of the user's own. See README.md
here."""
