"""Finds actions: entry points of the group `gateway.actions`, and files in plugin folders."""
