"""Repairs of adapters on directions and not on modules. See jobs/probe/README.md for the prompts they need."""
