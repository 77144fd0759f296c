"""Asks everything outside that the configuration talks of whether it is there, for `gateway doctor`."""
