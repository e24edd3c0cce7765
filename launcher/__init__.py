"""The operator's entry, standard library only: it must run before anything is installed."""
