"""A first contract from what a bureau already has: columns and samples in, a typed class out.

Nothing here reads or writes anything: bytes and columns come in, text goes out.
"""
