"""The JSON API of version 1: its calls, declared, and the OpenAPI document that is made from them."""
