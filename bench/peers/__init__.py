"""Other ways to do the same: each verifies the webhook, decides by the same twenty rules and posts signed notices."""
