"""The sample business: a few dozen customers and three months of their Stripe events, with times relative to its end."""
