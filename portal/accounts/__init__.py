"""People, their API tokens and what they may use."""
