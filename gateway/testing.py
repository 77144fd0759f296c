"""PUBLIC: what plugin authors and our own tests use: signed requests, event factories, a way to run one action."""
