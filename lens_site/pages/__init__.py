"""Pages for people, one module a page; every one is reached through ``access.person``."""
