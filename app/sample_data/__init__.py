"""The sample business: a few dozen customers, three months of their Stripe events, times relative to the end."""
