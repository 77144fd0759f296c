"""A model of the store, and machines that compare every store with it, step by step."""
